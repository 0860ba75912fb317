"""`LearnedOptimizer` on Keras's JAX and PyTorch backends: `KERAS_BACKEND` says which."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from l2o_cli import LearnedOptimizer

BACKEND = keras.backend.backend()
ROOT = Path(__file__).parents[3]


def network():
    model = keras.Sequential(
        [keras.layers.Input((5,)), keras.layers.Dense(8, "tanh"), keras.layers.BatchNormalization(), keras.layers.Dense(2)]
    )
    rng = np.random.default_rng(0)
    model.set_weights([0.5 * rng.standard_normal(value.shape) + (value.ndim == 1) for value in model.get_weights()])
    return model


def data(examples=64):
    x = np.random.default_rng(1).standard_normal((examples, 5)).astype(np.float32)
    return x, np.stack([np.sin(x[:, 0]), x[:, 1] * x[:, 2]], axis=1).astype(np.float32)


def fit(optimizer, epochs=3, model=None, **options):
    model = model or network()
    model.compile(optimizer, "mse", **options)
    return model, model.fit(*data(), batch_size=16, epochs=epochs, shuffle=False, verbose=0).history["loss"]


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("adam(learning_rate=0.01)", lambda: keras.optimizers.Adam(0.01)),
        ("momentum(learning_rate=0.01)", lambda: keras.optimizers.SGD(0.01, momentum=0.9)),
    ],
)
def test_hand_designed_rules_are_those_of_keras(name, theirs):
    np.testing.assert_allclose(fit(LearnedOptimizer(name))[1], fit(theirs())[1], rtol=1e-4)


@pytest.mark.parametrize("name", ["tensor_rnn", "hrnn", "adafactor_mlp:untrained", "hrnn+low_precision"])
def test_compiled_as_it_is_and_eagerly_it_trains_the_same(name):
    losses = fit(LearnedOptimizer(name, steps=12))[1]
    assert losses[-1] < losses[0] or name.endswith(":untrained")
    plain = fit(LearnedOptimizer(name, steps=12, jit_compile=False), run_eagerly=True)[1]
    np.testing.assert_allclose(plain, losses, rtol=2e-3)


def test_the_loss_is_seen():
    rule = "tensor_rnn"
    one, other = (LearnedOptimizer(rule, steps=12) for _ in range(2))
    assert one.reads_loss
    losses = fit(one)[1]

    other.scale_loss = lambda loss: keras.optimizers.Optimizer.scale_loss(other, loss)  # shows nothing
    with pytest.raises(ValueError, match="reads the loss: call scale_loss"):
        fit(other)
    assert np.isfinite(losses).all()


def test_weight_decay_clipping_accumulation_and_averages():
    options = {"weight_decay": 0.1, "global_clipnorm": 0.5, "use_ema": True, "gradient_accumulation_steps": 2}
    ours, theirs = LearnedOptimizer("adam(learning_rate=1.0)", 0.01, **options), keras.optimizers.AdamW(0.01, **options)
    np.testing.assert_allclose(fit(ours)[1], fit(theirs)[1], rtol=1e-3)
    assert np.isfinite(fit(LearnedOptimizer("tensor_rnn", gradient_accumulation_steps=2))[1]).all()


def test_a_schedule_is_followed():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.01, 4, 0.5)
    ours = fit(LearnedOptimizer("adam(learning_rate=1.0)", schedule))[1]
    np.testing.assert_allclose(ours, fit(keras.optimizers.Adam(schedule))[1], rtol=1e-4)


def test_a_saved_model_goes_on(tmp_path):
    whole = fit(LearnedOptimizer("tensor_rnn", steps=40), epochs=4)[1]
    model, first = fit(LearnedOptimizer("tensor_rnn", steps=40), epochs=2)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    rest = again.fit(*data(), batch_size=16, epochs=2, shuffle=False, verbose=0).history["loss"]
    np.testing.assert_allclose([*first, *rest], whole, rtol=1e-4)


@pytest.mark.skipif(BACKEND != "jax", reason="a loop of JAX's")
def test_in_a_loop_of_jax():
    import jax

    model, optimizer = network(), LearnedOptimizer("tensor_rnn", steps=12)
    optimizer.build(model.trainable_variables)
    x, y = data(16)

    def loss_of(trainable, others):
        predicted, others = model.stateless_call(trainable, others, x, training=True)
        return optimizer.scale_loss(ops.mean(ops.square(predicted - y))), others

    @jax.jit
    def step(trainable, others, state):
        (loss, others), gradients = jax.value_and_grad(loss_of, has_aux=True)(trainable, others)
        trainable, state = optimizer.stateless_apply(state, gradients, trainable)
        return trainable, others, state, loss

    values = [[variable.value for variable in group] for group in (model.trainable_variables, model.non_trainable_variables)]
    state, losses = [variable.value for variable in optimizer.variables], []
    for _ in range(12):
        *values, state, loss = step(*values, state)
        losses.append(float(loss))
    compiled = network()
    compiled.compile(LearnedOptimizer("tensor_rnn", steps=12), "mse")
    history = compiled.fit(x, y, batch_size=16, epochs=12, shuffle=False, verbose=0).history["loss"]
    np.testing.assert_allclose(losses, history, rtol=1e-3)


def test_tensorflow_is_not_imported():
    code = "import sys; from l2o_cli import LearnedOptimizer; LearnedOptimizer('hrnn'); print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=os.environ, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
