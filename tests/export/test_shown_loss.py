"""Optimizers that read the loss, inside Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from l2o_cli import LearnedOptimizer
from l2o_cli.export.artifact import LoadedOptimizer
from l2o_cli.optimizers.lstm_mlp import LstmMlp
from tests.export.test_keras_optimizer import SEED, reference


def lstm_mlp(losses="both"):
    rule = LstmMlp(hidden=(4,), units=3, values=2, decays=(0.9,), losses=losses)
    return LoadedOptimizer("lstm_mlp", rule, rule.init_weights(0), None, "test")


@pytest.mark.parametrize(
    "compile",
    [{"jit_compile": True}, pytest.param({"jit_compile": False}, marks=pytest.mark.slow), {"run_eagerly": True}],
    ids=str,
)
@pytest.mark.parametrize("losses", ["training", "both"])
def test_each_step_is_that_of_rollout(losses, compile, load, train, network, data, same):
    """The loss of each step in turn: the first ones are alike, and the last ones are a fraction of them."""
    loaded = load(loss_power=0.5) if losses == "training" else lstm_mlp(losses)
    step = reference(loaded, data, network())
    model = train(LearnedOptimizer(loaded, seed=SEED, jit_compile=False), 1, **compile)
    for _ in range(5):
        same(model, step(), 1e-6)
        train(None, 1, model)
    same(model, step(), 1e-6)


def test_the_losses_change_the_steps(train):
    kernels = [
        train(LearnedOptimizer(lstm_mlp(losses), jit_compile=False), 4, run_eagerly=True).get_weights()[0]
        for losses in ("none", "training")
    ]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-5


def test_the_loss_is_the_one_before_its_scaling(load, train, same):
    loaded = load(loss_power=0.5)
    models = [train(LearnedOptimizer(loaded, jit_compile=False, loss_scale_factor=factor), 12) for factor in (None, 8.0)]
    same(*models, 1e-6)


def test_an_accumulated_loss_is_the_mean_over_its_minibatches(load, network, data, same):
    models = []
    for batch_size, steps in ((8, 4), (32, None)):
        model = network()
        optimizer = LearnedOptimizer(load(loss_power=0.5), jit_compile=False, gradient_accumulation_steps=steps)
        model.compile(optimizer, "mse", jit_compile=False)
        model.fit(*data, batch_size=batch_size, epochs=6, shuffle=False, verbose=0)
        models.append(model)
    same(*models, 1e-5)


def test_a_saved_model_goes_on_with_the_losses_it_has_seen(train, tmp_path, same):
    options = {"gradient_accumulation_steps": 2, "jit_compile": False}
    whole = train(LearnedOptimizer(lstm_mlp(), **options), 14)
    train(LearnedOptimizer(lstm_mlp(), **options), 7).save(tmp_path / "half.keras")
    loaded = keras.models.load_model(tmp_path / "half.keras")
    train(None, 7, loaded)
    same(loaded, whole)
    same(loaded.optimizer.variables, whole.optimizer.variables)


def test_a_loop_of_ones_own_shows_the_loss(load, train, network, data, same):
    model, optimizer = network(), LearnedOptimizer(load(loss_power=0.5), jit_compile=False)

    def step(shown=True):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(data[0]) - data[1]))
            loss = optimizer.scale_loss(loss) if shown else loss
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)

    compiled = tf.function(step)
    with pytest.raises(ValueError, match=r"^optimizer 'tiny' reads the loss: call scale_loss\(loss\) before apply[^\n]*$"):
        step(False)
    with pytest.raises(ValueError, match="reads the loss"):
        compiled(False)
    optimizer.scale_loss(tf.constant(1.0))  # would be a constant of the graph
    with pytest.raises(ValueError, match="in the same function"):
        tf.function(step)(False)
    for _ in range(4):
        step()
        compiled()
    with pytest.raises(ValueError, match="reads the loss"):  # the last step's loss is not taken again
        step(False)
    same(model, train(LearnedOptimizer(load(loss_power=0.5), jit_compile=False), 8), 1e-6)


def test_mixed_precision(load, train, data):
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        reader = LearnedOptimizer(load(loss_power=0.5), jit_compile=False, loss_scale_factor=16.0)
        model = train(reader, 1, auto_scale_loss=False)
        before = model.evaluate(*data, verbose=0)
        assert model.optimizer is reader and train(None, 60, model).evaluate(*data, verbose=0) < 0.8 * before
        with pytest.raises(ValueError, match="auto_scale_loss=False"):
            train(LearnedOptimizer(load(loss_power=0.5)), 1)
    finally:
        keras.mixed_precision.set_dtype_policy("float32")


def test_attention_does_not_go_with_reading_the_loss(load):
    with pytest.raises(ValueError, match="reads the loss at the params"):
        LearnedOptimizer(load(attention=True, loss_power=0.5))
