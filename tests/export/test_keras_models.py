"""What people do with models and their optimizers, beside Keras's own Adam: freezing, loading, searching, layer-wise rates."""

import functools
import gc
import warnings
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from l2o_cli import LearnedOptimizer
from l2o_cli.errors import BadInput
from l2o_cli.export import backends
from l2o_cli.export.attention import AttentionCallback
from l2o_cli.export.packed_variables import float32
from l2o_cli.export.resolve import resolve
from l2o_cli.optimizers import OPTIMIZERS
from l2o_cli.optimizers.elementwise import Adam

OURS = functools.partial(LearnedOptimizer, "adam(learning_rate=0.01)", jit_compile=False)
KERAS = functools.partial(keras.optimizers.Adam, 0.01)


def deep(frozen=()):
    """A 3-4-4-1 network, always with the same initial parameters, some of its layers frozen."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((3,)), *(keras.layers.Dense(units, name=f"d{units}{i}") for i, units in enumerate((4, 4, 1)))]
    )
    for index in frozen:
        model.layers[index].trainable = False
    return model


def skips(action):
    """What an action returns that passes over the variables of an optimizer and says so in one line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = action()
    (said,) = [str(warning.message) for warning in caught if "Skipping variable loading" in str(warning.message)]
    assert "\n" not in said
    return result


def test_freezing_a_layer_and_going_on(train, tmp_path, same):
    models = []
    for make in (OURS, KERAS):
        model, optimizer = deep(), make()
        model.compile(optimizer, "mse")
        train(None, 5, model)
        model.layers[1].trainable = False
        kept = model.layers[1].get_weights()
        model.compile(optimizer, "mse")  # with the state that it has
        train(None, 5, model)
        same(model.layers[1].get_weights(), kept)
        path = tmp_path / f"{optimizer.name}.keras"
        model.save(path)
        loaded = skips(lambda path=path: keras.models.load_model(path))
        same(loaded, model)
        assert int(loaded.optimizer.iterations) == 0
        models += [model, train(None, 5, loaded)]
    same(models[0], models[2], 2e-5)
    same(models[1], models[3], 2e-5)


@pytest.mark.slow
def test_a_frozen_layer_is_not_moved_by_attention(load, train):
    model, optimizer = deep(), LearnedOptimizer(load(attention=True), jit_compile=False)
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(self.model.layers[1].get_weights())

    model.compile(optimizer, "mse")
    train(None, 3, model, [AttentionCallback()])
    model.layers[1].trainable = False
    kept = model.layers[1].get_weights()
    model.compile(optimizer, "mse")
    train(None, 3, model, [AttentionCallback(), Look()])
    for values in (*seen, model.layers[1].get_weights()):
        for value, before in zip(values, kept, strict=True):
            np.testing.assert_array_equal(value, before)


def test_weights_of_a_model_that_is_frozen_otherwise(train, tmp_path, same):
    for make in (OURS, KERAS):
        source, target = deep(frozen=[0]), deep()
        for model in (source, target):
            model.compile(make(), "mse")
            train(None, 3, model)
        source.save_weights(tmp_path / "some.weights.h5")
        skips(lambda target=target: target.load_weights(tmp_path / "some.weights.h5"))
        same(target, source)
        assert int(target.optimizer.iterations) == 3


def test_a_state_is_for_variables_of_its_shapes(same):
    """Also where it is as long in all, and from files of before, which do not tell the shapes."""
    made = []
    for shapes in ([(2, 3), (3,)], [(2, 3), (3,)], [(3, 2), (3,)], [(2, 3), (4,)]):
        variables = [keras.Variable(np.ones(shape, np.float32)) for shape in shapes]
        optimizer = OURS()
        optimizer.build(variables)
        optimizer.apply([tf.ones(shape) for shape in shapes], variables)
        made.append(optimizer)
    store = {}
    made[0].apply([tf.ones((2, 3)), tf.zeros(3)])
    made[0].save_own_variables(store)
    old = {key: value for key, value in store.items() if key.isdecimal()}
    for given in (store, old):
        made[1].load_own_variables(given)
        same(made[1].variables, made[0].variables)
    for optimizer, given in ((made[2], store), (made[3], store), (made[3], old)):
        before = [np.asarray(variable) for variable in optimizer.variables]
        skips(lambda optimizer=optimizer, given=given: optimizer.load_own_variables(given))
        same(before, optimizer.variables)


def decayed(model):
    """Which of the variables of a model its optimizer, without gradients so far, makes smaller."""
    before = model.get_weights()
    model.optimizer.apply([tf.zeros(variable.shape) for variable in model.trainable_variables], model.trainable_variables)
    return [not np.array_equal(old, new) for old, new in zip(before, model.get_weights(), strict=True)]


@pytest.mark.parametrize("by", ["name", "layer", "variable"])
def test_exclusions_from_weight_decay(by, tmp_path):
    """Names are looked for in those of the layers too, as Keras's own optimizers do, which forget it all when saved."""
    for make in (OURS, KERAS) if by == "layer" else (OURS,):
        model = deep()
        for layer in model.layers:
            layer.bias.assign(np.ones(layer.bias.shape))
        optimizer = make(weight_decay=0.5)
        given = {
            "name": {"var_names": ["bias"]},
            "layer": {"var_names": ["d41"]},
            "variable": {"var_list": [model.layers[0].kernel]},
        }
        optimizer.exclude_from_weight_decay(**given[by])
        model.compile(optimizer, "mse")
        optimizer.build(model.trainable_variables)
        model.save(tmp_path / "model.keras")
        expected = {"name": [1, 0] * 3, "layer": [1, 1, 0, 0, 1, 1], "variable": [0, 1, 1, 1, 1, 1]}[by]
        assert decayed(model) == [bool(one) for one in expected]
        loaded = keras.models.load_model(tmp_path / "model.keras")
        if make is OURS:
            assert decayed(loaded) == [bool(one) for one in expected]
        loaded.optimizer.exclude_from_weight_decay(var_names=["d1"])
        assert decayed(loaded) == [True] * 4 + [False] * 2


@pytest.mark.parametrize("text", ["adam(learning_rate=0.01)", "hrnn(attention=true,hidden=[3,2]):untrained"])
def test_variables_without_entries(text):
    results = []
    for shapes in ([(2, 3)], [(0, 3), (2, 3), (0,)], [(0, 3)], []):
        variables = [keras.Variable(np.ones(shape, np.float32)) for shape in shapes]
        optimizer = LearnedOptimizer(text, jit_compile=False)
        optimizer.build(variables)
        for _ in range(2):
            optimizer.apply([tf.ones(shape) for shape in shapes], variables)
        optimizer.finalize_variable_values(variables)
        results.append([np.asarray(variable) for variable in variables if np.size(variable)])
    np.testing.assert_array_equal(results[0], results[1])
    assert (results[0][0] < 1).all() and results[2:] == [[], []]


@pytest.fixture(params=["float64"])
def floatx(request):
    keras.config.set_floatx(request.param)
    yield request.param
    keras.config.set_floatx("float32")


QUICK = ("adam", "hrnn", "lstm_mlp")  # the others take as long again


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(name + ":untrained" * cls.learned, marks=[pytest.mark.slow] * (name not in QUICK))
        for name, cls in OPTIMIZERS.items()
    ],
)
@pytest.mark.parametrize("floatx", ["float64", pytest.param("float16", marks=pytest.mark.slow)], indirect=True)
def test_any_default_type_of_keras(text, floatx):
    """The same as with float32, but for the rounding of the params."""
    results = []
    for dtype in (floatx, "float32"):
        keras.config.set_floatx(dtype)
        variable = keras.Variable(np.linspace(0.5, 1, 6).reshape(3, 2), dtype=dtype)
        optimizer = LearnedOptimizer(text, jit_compile=False)
        for _ in range(2):
            optimizer.scale_loss(tf.constant(1.0))
            optimizer.apply([tf.ones((3, 2), dtype)], [variable])
        assert keras.config.floatx() == dtype
        results.append(np.asarray(variable, np.float64))
    np.testing.assert_allclose(*results, rtol=2e-3 if floatx == "float16" else 1e-6)


def test_a_type_is_the_users_again_after_an_error(floatx):
    with pytest.raises(ZeroDivisionError), float32():
        assert keras.config.floatx() == "float32"
        raise ZeroDivisionError
    assert keras.config.floatx() == floatx


@pytest.mark.parametrize("number", [20, 3000])
def test_long_texts_are_no_paths(number):
    text = "adam" + "".join(f"+clipping(value={value})" for value in range(1, number))
    with pytest.raises(BadInput, match="already around"):
        resolve(text)
    assert resolve("adam(learning_rate=0.1" + " " * number + ")").optimizer == Adam(0.1)
    for nothing in ("x" * number * 20, "./" + "x" * number * 20, "a/" * number * 20, "a\0b", "x" * number * 20 + ":untrained"):
        with pytest.raises(BadInput):
            resolve(nothing)


def test_models_one_after_the_other_share_one_compiled_update_and_leave_nothing(train):
    backends.compiled_update_of.cache_clear()
    references = []
    for _ in range(3):
        model = deep()
        model.compile(LearnedOptimizer("adam(learning_rate=0.02)"), "mse")
        train(None, 2, model)
        references += [weakref.ref(model), weakref.ref(model.optimizer)]
    del model
    keras.utils.clear_session()
    gc.collect()
    assert [reference() for reference in references] == [None] * 6
    assert backends.compiled_update_of.cache_info().misses == 1
    optimizer = LearnedOptimizer("adam(learning_rate=0.02)")
    optimizer.build(deep().trainable_variables)
    assert backends.compiled_update_of.cache_info().misses == 1 and len(optimizer._update._traces) == 1
    LearnedOptimizer("adam(learning_rate=0.03)").build([keras.Variable(np.ones(3, np.float32))])
    assert backends.compiled_update_of.cache_info()[1:] == (2, backends.KEPT, 2)


def test_layer_wise_rates(train, data, same, tmp_path):
    """As docs/optimizers.md shows them."""
    kinds = {
        "ours": lambda rate: LearnedOptimizer("adam(learning_rate=1.0)", rate, jit_compile=False),
        "keras": lambda rate: keras.optimizers.Adam(rate),
    }
    models = []
    for make in kinds.values():
        model, by_layer = deep(), keras.optimizers.OptimizerMap(make(0.03))
        by_layer[".*d4.*"] = make(0.001)
        model.compile(keras.optimizers.MultiOptimizer(by_layer), "mse")
        models.append(train(None, 10, model))
    same(*models, 2e-5)
    models[0].save(tmp_path / "rates.keras")
    loaded = keras.models.load_model(tmp_path / "rates.keras")
    same(loaded.optimizer.variables, models[0].optimizer.variables)
    same(train(None, 5, loaded), train(None, 5, models[1]), 2e-5)


@pytest.mark.slow
def test_layer_wise_rates_with_attention(load, train, data):
    model = deep()
    by_layer = keras.optimizers.OptimizerMap(LearnedOptimizer(load(attention=True), jit_compile=False))
    by_layer[".*d4.*"] = LearnedOptimizer(load(attention=True), 0.1, jit_compile=False)
    model.compile(keras.optimizers.MultiOptimizer(by_layer), "mse")
    history = model.fit(*data, epochs=3, verbose=0, callbacks=[AttentionCallback()], validation_data=data).history
    assert history["val_loss"][-1] == pytest.approx(model.evaluate(*data, verbose=0), rel=1e-6)
