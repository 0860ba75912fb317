"""The Keras optimizer against `rollout`, against Keras's own Adam, and through Keras's features."""

from dataclasses import dataclass
from typing import ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf
from l2o_problems.base import Problem

from l2o_cli import LearnedOptimizer
from l2o_cli.carry import layout_of, start
from l2o_cli.export.artifact import LoadedOptimizer
from l2o_cli.export.attention import AttentionCallback
from l2o_cli.export.resolve import resolve
from l2o_cli.optimizers.elementwise import Adam
from l2o_cli.optimizers.hierarchical_rnn import HierarchicalRNN
from l2o_cli.optimizers.packing import pack, unpack
from l2o_cli.rollout import Stepping, rollout

SEED = 5


def adam(learning_rate=0.01, **options):
    rule = Adam(learning_rate=learning_rate)
    loaded = LoadedOptimizer("adam", rule, rule.init_weights(0), None, "test")
    return LearnedOptimizer(loaded, jit_compile=False, **options)


@dataclass(frozen=True, eq=False)
class Regression(Problem):
    """The network of the fixtures, written with the instance axis."""

    name: ClassVar[str] = "regression"
    data: tuple

    @property
    def param_shapes(self):
        return {"0": (3, 4), "1": (4,), "2": (4, 1), "3": (1,)}

    def sample(self, seed, instances):
        return {"zero": tf.zeros([instances, 1])}

    def initial_params(self, seed, task):
        return {name: tf.zeros([1, *shape]) for name, shape in self.param_shapes.items()}

    def loss(self, params, task, batch):
        x, y = self.data
        hidden = tf.tanh(tf.matmul(x[None], params["0"]) + params["1"][:, None])
        outputs = tf.matmul(hidden, params["2"]) + params["3"][:, None]
        return tf.reduce_mean(tf.square(outputs - y), axis=[1, 2])


def reference(loaded, data, model):
    """A function that makes one step of `rollout` from the parameters of `model`, and returns them as Keras lists them."""
    problem, rule, weights = Regression(data), loaded.optimizer, loaded.weights
    layout = layout_of(problem)
    params = pack({str(i): value[None] for i, value in enumerate(model.get_weights())}, layout)
    state = rule.init_state(weights, layout, 1, SEED)
    carry = start(problem, rule, weights, 0, 1)._replace(
        params=tf.constant(params), state={name: tf.convert_to_tensor(leaf) for name, leaf in state.items()}
    )

    def step():
        nonlocal carry
        carry, _ = rollout(Stepping(problem, rule), weights, carry, 1, maximum=1)
        return [value[0].numpy() for value in unpack(carry.params, layout).values()]

    return step


@pytest.mark.parametrize("options", [None, {}, {"attention": True}], ids=["adam", "tiny", "attention"])
def test_each_step_is_that_of_rollout(options, load, train, network, data, same):
    loaded = adam().loaded if options is None else load(**options)
    step = reference(loaded, data, network())
    model = train(LearnedOptimizer(loaded, seed=SEED), 1, callbacks=[AttentionCallback()])
    for _ in range(11):
        same(model, step(), 1e-5)
        train(None, 1, model, [AttentionCallback()])
    expected = step()
    same(model, expected, 1e-5)
    once = train(LearnedOptimizer(loaded, seed=SEED), 12, callbacks=[AttentionCallback()])
    same(once, expected, 1e-5)


@pytest.mark.parametrize(
    "text",
    [
        "adam(learning_rate=0.02)+weight_decay(rate=0.5,exclude_vectors=true)+averaging(decay=0.8)+clipping(norm=0.2)",
        "adam(learning_rate=0.02)+low_precision(keep=[mean])+schedule(warmup=3,steps=8)",
        "tiny(attention=true):untrained+regularization(l2=0.1)+schedule(kind=linear,steps=9)+low_precision",
    ],
)
def test_each_step_of_a_transformed_optimizer_is_that_of_rollout(text, train, network, data, same):
    loaded = resolve(text)
    step = reference(loaded, data, network())
    model = train(LearnedOptimizer(loaded, seed=SEED, jit_compile=False), 1, callbacks=[AttentionCallback()])
    for _ in range(11):
        same(model, step(), 1e-5)
        train(None, 1, model, [AttentionCallback()])
    same(model, step(), 1e-5)
    state = {variable.name.removeprefix("state_"): variable.dtype for variable in model.optimizer.variables}
    assert ("bfloat16" in state.values()) == ("low_precision" in text)


def test_each_step_of_a_run_of_known_length_is_that_of_rollout(train, network, data, same):
    found = resolve("tensor_rnn:untrained+orthogonalized+fan_in(power=0.5)+schedule(kind=linear)")
    told = LoadedOptimizer(found.label, found.optimizer.over(5), found.weights, None, "test")
    step = reference(told, data, network())
    model = train(LearnedOptimizer(found, steps=5, seed=SEED), 1)
    for _ in range(6):
        same(model, step(), 1e-5)
        train(None, 1, model)
    again = LearnedOptimizer.from_config(model.optimizer.get_config())
    assert (again.get_config()["steps"], again.loaded.optimizer) == (5, found.optimizer)
    with pytest.raises(ValueError, match="steps must be a whole number above 0, not 0"):
        LearnedOptimizer(found, steps=0)


def test_embeddings_are_known_by_the_names_of_their_layers():
    model = keras.Sequential([keras.layers.Embedding(9, 3), keras.layers.Flatten(), keras.layers.Dense(1)])
    model.build((None, 4))
    optimizer = LearnedOptimizer("sgd+fan_in(base=1)", jit_compile=False)
    optimizer.build(model.trainable_variables)
    before = [variable.numpy() for variable in model.trainable_variables]
    optimizer.apply([keras.ops.ones_like(variable) for variable in model.trainable_variables])
    moved = [(old - variable.numpy()).mean() for old, variable in zip(before, model.trainable_variables, strict=True)]
    np.testing.assert_allclose(np.array(moved) / moved[0], [1.0, 1 / 12, 1.0], rtol=1e-4)


KERAS_OPTIONS = [
    {},
    {"global_clipnorm": 0.1},
    {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 3},
    {"gradient_accumulation_steps": 2, "clipnorm": 0.1},
    {"loss_scale_factor": 8.0},
]
# They reach the update rule on the same ways as those above.
MORE_KERAS_OPTIONS = [
    {"clipnorm": 0.1},
    {"clipvalue": 0.05},
    {"use_ema": True, "ema_momentum": 0.9},
    {"gradient_accumulation_steps": 3},
]


@pytest.mark.parametrize(
    "options",
    [*KERAS_OPTIONS, *(pytest.param(options, marks=pytest.mark.slow) for options in MORE_KERAS_OPTIONS)],
    ids=lambda options: ",".join(options) or "plain",
)
def test_adam_is_keras_adam(options, train, same):
    ours = train(adam(**options), 50)
    theirs = train(keras.optimizers.Adam(0.01, **options), 50)
    same(ours, theirs, 2e-5)
    assert int(ours.optimizer.iterations) == int(theirs.optimizer.iterations)


def test_weight_decay_is_that_of_adamw(train, same):
    ours, theirs = adam(weight_decay=0.001), keras.optimizers.AdamW(0.01, weight_decay=0.1)
    for optimizer in (ours, theirs):
        optimizer.exclude_from_weight_decay(var_names=["bias"])
    same(train(ours, 50), train(theirs, 50), 2e-5)


def test_learning_rate_multiplies_the_update(train, same):
    decay = keras.optimizers.schedules.ExponentialDecay
    ours = train(LearnedOptimizer(adam().loaded, decay(1.0, 5, 0.5)), 20)
    same(ours, train(keras.optimizers.Adam(decay(0.01, 5, 0.5)), 20), 2e-5)
    model = train(adam(), 5)
    before = model.get_weights()
    model.optimizer.learning_rate = 0.0
    same(train(None, 3, model), before)


@pytest.mark.parametrize("name", [pytest.param("tiny", marks=pytest.mark.slow), "attention", "hrnn", "low_precision"])
def test_a_saved_model_goes_on_as_if_never_interrupted(name, load, train, tmp_path, same):
    optimizer = load(attention=name == "attention")
    if name == "hrnn":
        rule = HierarchicalRNN(hidden=(3, 2, 2))
        optimizer = LoadedOptimizer("hrnn", rule, rule.init_weights(1), None, "test")
    if name == "low_precision":
        optimizer = resolve("adam(learning_rate=0.01)+averaging(decay=0.8)+low_precision(keep=[square])")
    options = {"gradient_accumulation_steps": 2, "seed": SEED, "jit_compile": name != "hrnn"}
    whole = train(LearnedOptimizer(optimizer, **options), 14, callbacks=[AttentionCallback()])
    half = train(LearnedOptimizer(optimizer, **options), 7, callbacks=[AttentionCallback()])
    half.save(tmp_path / "half.keras")
    loaded = keras.models.load_model(tmp_path / "half.keras")
    same(loaded.optimizer.variables, half.optimizer.variables)
    train(None, 7, loaded, [AttentionCallback()])
    assert int(loaded.optimizer.iterations) == 7
    # Attention: the attended point is computed again by the loaded model, outside the compiled step.
    tolerance = 1e-6 if optimizer.optimizer.evaluates_elsewhere else 0.0
    same(loaded, whole, tolerance)
    same(loaded.optimizer.variables, whole.optimizer.variables, tolerance)


def test_a_model_saved_before_its_first_step_keeps_the_weights(load, network, train, tmp_path, same):
    model = network()
    model.compile(LearnedOptimizer(load(), seed=SEED), "mse", jit_compile=False)
    model.save(tmp_path / "new.keras")
    with pytest.warns(UserWarning, match="Skipping variable loading"):
        loaded = keras.models.load_model(tmp_path / "new.keras")
    same(train(None, 5, loaded), train(LearnedOptimizer(load(), seed=SEED), 5))


def test_a_configuration_is_the_whole_optimizer(load):
    given = LearnedOptimizer(load(attention=True), 0.5, seed=3, jit_compile=False, clipnorm=1.0, name="mine")
    made = keras.optimizers.deserialize(keras.optimizers.serialize(given))
    assert made.get_config() == given.get_config()
    assert made.loaded.optimizer == given.loaded.optimizer
    for name, value in given.loaded.weights.items():
        np.testing.assert_array_equal(made.loaded.weights[name], value)


@pytest.mark.parametrize("attention", [False, True])
def test_compiled_and_eager_agree(attention, load, train, same):
    ways = (
        (True, {"jit_compile": True}),
        (True, {"jit_compile": False}),
        (False, {"jit_compile": True}),
        (False, {"run_eagerly": True}),
    )
    loaded = load(attention=attention)
    runs = [train(LearnedOptimizer(loaded, seed=SEED, jit_compile=inner), 8, **outer) for inner, outer in ways]
    for run in runs[1:]:
        same(run, runs[0], 1e-5)


@pytest.mark.parametrize("optimizer", ["tiny", "hrnn"])
def test_fit_lowers_the_loss(optimizer, load, train, network, data):
    chosen = load(attention=True) if optimizer == "tiny" else "hrnn:untrained"
    model = network()
    model.compile(LearnedOptimizer(chosen), "mse")
    before = model.evaluate(*data, verbose=0)
    assert train(None, 300, model).evaluate(*data, verbose=0) < 0.95 * before


@pytest.mark.parametrize(
    ("options", "jit_compile"),
    [({}, True), ({"clipnorm": 0.05}, False), ({"gradient_accumulation_steps": 2}, False)],
    ids=["plain", "clipnorm", "accumulation"],
)
def test_embeddings_train_as_the_product_with_one_hot_rows_does(options, jit_compile, same):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 7, (40, 5)), rng.integers(0, 2, (40, 1)).astype(np.float32)
    table = rng.normal(size=(9, 3)).astype(np.float32)
    one_hot = np.eye(9, dtype=np.float32)[x]
    lookup, product = keras.layers.Embedding(9, 3), keras.layers.Dense(3, use_bias=False)
    models = []
    for first, inputs, optimizer in (
        (lookup, x, adam(**options)),
        (product, one_hot, keras.optimizers.Adam(0.01, **options)),
    ):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([first, keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(1)])
        model.build(inputs.shape)
        first.set_weights([table])
        model.layers[-1].set_weights([table[:3, :1], np.zeros(1)])
        model.compile(optimizer, "mse", jit_compile=jit_compile)
        model.fit(inputs, y, batch_size=10, epochs=3, shuffle=False, verbose=0)
        models.append(model)
    same(*models, 2e-5)


@pytest.mark.parametrize("attention", [False, True])
def test_a_variable_without_gradient_stays(attention, load):
    used, unused = keras.Variable(np.ones(3, np.float32)), keras.Variable(np.full(2, 5, np.float32))
    optimizer = LearnedOptimizer(load(attention=attention), weight_decay=0.1)
    optimizer.build([used, unused])
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        for _ in range(3):
            optimizer.apply([tf.ones(3), None], [used, unused])
    optimizer.finalize_variable_values([used, unused])
    np.testing.assert_array_equal(unused, 5)
    assert (np.asarray(used) < 0.9).all()


@pytest.mark.parametrize("attention", [False, True])
def test_steps_that_are_not_finite_are_left_out(attention, load, same):
    """Whatever comes between, a run is that without such steps, the first one and weight decay included."""

    def run(values, **options):
        variables = [keras.Variable(np.linspace(-1, 1, 6, dtype="float32").reshape(3, 2)), keras.Variable([0.5, -0.5])]
        optimizer = LearnedOptimizer(load(attention=attention), weight_decay=0.01, **options)
        optimizer.build(variables)
        optimizer.attend()
        for value in values:
            optimizer.apply([value * keras.ops.sin(3 * variables[0]), keras.ops.cos(variables[1])], variables)
        optimizer.finalize_variable_values(variables)
        state = [own for own in optimizer.variables if "state" in own.path]
        return [own.numpy() for own in (*variables, *state)], optimizer

    expected, _ = run([1.0, 2.0, 0.5])
    found, optimizer = run([np.nan, 1.0, np.inf, 2.0, np.nan, 0.5], skip_nonfinite=True)
    same(found, expected)
    assert optimizer.skipped == 3
    assert LearnedOptimizer.from_config(optimizer.get_config()).get_config() == optimizer.get_config()


def test_mixed_precision(load, train, data):
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        model = train(LearnedOptimizer(load(attention=True)), 1, callbacks=[AttentionCallback()])
        before = model.evaluate(*data, verbose=0)
        assert train(None, 60, model, [AttentionCallback()]).evaluate(*data, verbose=0) < 0.8 * before
    finally:
        keras.mixed_precision.set_dtype_policy("float32")


def test_during_fit_the_model_holds_the_attended_point_and_afterwards_the_params(load, train):
    seen = {}

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen["batch"] = self.model.get_weights()

        def on_epoch_end(self, epoch, logs=None):
            seen["epoch"] = self.model.get_weights()

    model = train(LearnedOptimizer(load(attention=True)), 4, callbacks=[AttentionCallback(), Look()])
    state = {variable.name: np.asarray(variable) for variable in model.optimizer.variables}
    flat = {key: np.concatenate([np.ravel(value) for value in values]) for key, values in seen.items()}
    final = np.concatenate([np.ravel(value) for value in model.get_weights()])
    np.testing.assert_array_equal(flat["epoch"], final)
    np.testing.assert_allclose(flat["batch"], final + state["state_offset"][0, 0], atol=1e-6)
    assert np.abs(flat["batch"] - final).max() > 1e-3


def test_validation_sees_the_params(load, train, data):
    model = train(LearnedOptimizer(load(attention=True)), 1)
    history = model.fit(*data, epochs=3, verbose=0, callbacks=[AttentionCallback()], validation_data=data).history
    assert history["val_loss"][-1] == pytest.approx(model.evaluate(*data, verbose=0), rel=1e-6)


def test_values_written_into_the_model_are_obeyed(load, train, same):
    """Even where training was interrupted and the model held the attended point."""
    model = train(LearnedOptimizer(load(attention=True)), 3)
    model.optimizer.attend()
    written = [value + 1 for value in model.get_weights()]
    model.set_weights(written)
    model.optimizer.finalize_variable_values(model.trainable_variables)
    same(model, written)


def test_what_cannot_be_right_is_refused(load, train, monkeypatch):
    with pytest.raises(ValueError, match="use_ema"):
        LearnedOptimizer(load(attention=True), use_ema=True)
    bounded = keras.Variable(np.ones(2, np.float32))
    bounded.constraint = keras.constraints.NonNeg()
    with pytest.raises(ValueError, match="constraint"):
        LearnedOptimizer(load(attention=True)).build([bounded])

    strategy = tf.distribute.get_strategy()
    monkeypatch.setattr(type(strategy), "num_replicas_in_sync", 2, raising=False)
    for refused in (LearnedOptimizer(load(attention=True)), LearnedOptimizer(load(), gradient_accumulation_steps=2)):
        with pytest.raises(NotImplementedError, match="gradient_accumulation_steps need one device"):
            refused.build([keras.Variable(np.ones(2, np.float32))])
