"""Keras models as problems, against Keras itself."""

import random

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from l2o_problems.keras_model import KerasProblem
from l2o_problems.random import as_seed, fold
from l2o_problems.transforms import ScaledInputs

from l2o_cli.carry import BATCH, layout_of, start
from l2o_cli.meta.estimators import TruncatedBackpropagation
from l2o_cli.meta.objectives import MeasuredObjective
from l2o_cli.optimizers import OPTIMIZERS
from l2o_cli.optimizers.packing import unpack
from l2o_cli.rollout import Rollout
from l2o_cli.spec import Estimator, Objective

N, B = 40, 8
RNG = np.random.default_rng(0)
NUMBERS = RNG.normal(size=(N, 6)).astype(np.float32)
IMAGES = RNG.random((N, 6, 6, 1), np.float32)
TOKENS = RNG.integers(0, 12, (N, 5))
LABELS = RNG.integers(0, 3, N)
TAGS = RNG.integers(0, 3, (N, 5))
VALUES = RNG.normal(size=N)
ENTROPY = "sparse_categorical_crossentropy"


def mlp():
    return keras.Sequential([keras.Input((6,)), layers.Dense(5, "tanh"), layers.Dense(3, "softmax")])


def two_inputs():
    first, second = keras.Input((6,), name="first"), keras.Input((6,), name="second")
    hidden = layers.Dense(4, "gelu")(layers.Concatenate()([first, second]))
    return keras.Model({"first": first, "second": second}, layers.Dense(1)(hidden))


def convolutional():
    return keras.Sequential(
        [layers.Conv2D(2, 3, activation="tanh"), layers.AveragePooling2D(2), layers.Flatten(), layers.Dense(3)]
    )


def normalized():
    # No bias before it: its gradient is nothing but rounding.
    dense = layers.Dense(5, use_bias=False)
    return keras.Sequential([dense, layers.BatchNormalization(), layers.ReLU(), layers.Dense(3, "softmax")])


def noisy():
    return keras.Sequential([layers.Dense(8, "relu"), layers.Dropout(0.5), layers.GaussianNoise(0.1), layers.Dense(3, "softmax")])


def embedded():
    return keras.Sequential(
        [layers.Embedding(12, 4, mask_zero=True), layers.GlobalAveragePooling1D(), layers.Dense(3, "softmax")]
    )


def tagger():
    """Predictions for each token; those of token 0 are masked."""
    return keras.Sequential([layers.Embedding(12, 4, mask_zero=True), layers.Dense(3, "softmax")])


def regularized():
    hidden = layers.Dense(
        5, "tanh", kernel_regularizer=keras.regularizers.L2(0.1), activity_regularizer=keras.regularizers.L1(0.1)
    )
    return keras.Sequential([hidden, layers.Dense(3, "softmax", bias_regularizer="l1")])


@keras.saving.register_keras_serializable()
class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden, self.last = layers.Dense(5, "tanh"), layers.Dense(3)

    def call(self, inputs):
        return self.last(self.hidden(inputs))


def recurrent():
    return keras.Sequential([layers.Embedding(12, 4), layers.LSTM(3), layers.Dense(3, "softmax")])


def attentive():
    tokens = keras.Input((5,))
    hidden = layers.Embedding(12, 4)(tokens)
    return keras.Model(tokens, layers.Dense(3, "softmax")(layers.Flatten()(layers.MultiHeadAttention(2, 2)(hidden, hidden))))


LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
CASES = {
    "mlp": (mlp, ENTROPY, (NUMBERS, LABELS)),
    "two_inputs": (two_inputs, "mse", ({"first": NUMBERS, "second": NUMBERS**2}, VALUES)),
    "convolutional": (convolutional, LOGITS, (IMAGES, LABELS)),
    "normalized": (normalized, ENTROPY, (NUMBERS, LABELS)),
    "noisy": (noisy, ENTROPY, (NUMBERS, LABELS)),
    "embedded": (embedded, ENTROPY, (TOKENS, LABELS)),
    "tagger": (tagger, ENTROPY, (TOKENS, TAGS)),
    "regularized": (regularized, ENTROPY, (NUMBERS, LABELS)),
    "recurrent": (recurrent, ENTROPY, (TOKENS, LABELS)),
    "attentive": (attentive, ENTROPY, (TOKENS, LABELS)),
    "subclassed": (Subclassed, LOGITS, (NUMBERS, LABELS)),
}


def make(case, **options):
    model, loss, data = CASES[case]
    held_out = (tf.nest.map_structure(lambda array: array[:13], data[0]), data[1][:13])
    return KerasProblem(model, loss, data, validation=held_out, test=held_out, **{"batch_size": B, "starts": 3, **options})


@pytest.fixture(scope="module", params=CASES, name="case")
def _case(request):
    return request.param, make(request.param)


def draw(problem, seed, instances):
    task = problem.sample(fold(seed, 0), instances)
    return task, problem.initial_params(fold(seed, 1), task), problem.batch(fold(seed, 2), task, "train")


def one(problem, seed=1):
    """The initial params of one instance and its training minibatch."""
    task, params, batch = draw(problem, seed, 1)
    return task, params, batch


def joined(*parts):
    return {name: tf.concat([part[name] for part in parts], 0) for name in parts[0]}


def keras_weights(model, params):
    """The params of one instance into the model."""
    for variable, values in zip(model.trainable_variables, params.values(), strict=True):
        variable.assign(values[0])


def test_shapes_and_seeds(case):
    _, problem = case
    first, again, other = (draw(problem, seed, 3) for seed in (1, 1, 2))
    assert {name: tuple(values.shape[1:]) for name, values in first[1].items()} == dict(problem.param_shapes)
    assert all(leaf.shape[0] == 3 for part in first for leaf in part.values())
    for mine, same in zip(tf.nest.flatten(first), tf.nest.flatten(again), strict=True):
        np.testing.assert_array_equal(mine, same)
    losses = [problem.loss(params, task, batch) for task, params, batch in (first, other)]
    assert losses[0].shape == (3,) and np.isfinite(losses).all() and not np.array_equal(*losses)
    assert problem.held_out and problem.source == f"Keras model keras_model, {N} training examples"


def test_instances_together_are_what_they_are_alone(case):
    _, problem = case
    draws = [draw(problem, seed, 1) for seed in (1, 2, 3)]
    task, params, batch = (joined(*parts) for parts in zip(*draws, strict=True))
    together = problem.batch(as_seed(9), task, "train")
    for name, leaf in problem.batch(as_seed(9), draws[1][0], "train").items():
        np.testing.assert_array_equal(together[name][1:2], leaf)
    for split in ("train", "validation"):
        if split != "train":
            batch = problem.batch(as_seed(0), task, split)
            draws = [(task, params, batch) for task, params, _ in draws]
        alone = [problem.loss(*nests)[0] for nests in ((params, task, batch) for task, params, batch in draws)]
        np.testing.assert_allclose(problem.loss(params, task, batch), alone, rtol=1e-5)


def test_gradients_are_dense_and_do_not_reach_the_neighbors(case):
    _, problem = case
    for instances in (1, 3):
        task, params, batch = draw(problem, 5, instances)
        with tf.GradientTape() as tape:
            tape.watch(params)
            loss = problem.loss(params, task, batch)[instances // 2]
        gradients = tape.gradient(loss, params)
        assert all(isinstance(gradient, tf.Tensor) for gradient in gradients.values())
    for gradient in gradients.values():
        assert np.any(gradient[1]) and not np.any(gradient[0]) and not np.any(gradient[2])


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in ("recurrent", "attentive"))) for name in CASES if name != "noisy"],
)
def test_twenty_steps_of_sgd_are_those_of_keras(name):
    problem, optimizer = make(name), OPTIMIZERS["sgd"]()
    weights = {"learning_rate": tf.constant(0.1)}
    begin = start(problem, optimizer, weights, 3, 1)
    after, losses = Rollout(problem, optimizer, maximum=20, xla=False)(weights, begin, 20)

    make_model, loss, data = CASES[name]
    model = make_model()
    if not model.built:
        model(data[0][:1])
    keras_weights(model, unpack(begin.params, layout_of(problem)))
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss=loss)
    expected = []
    for step in range(20):
        batch = {
            leaf: values[0].numpy()
            for leaf, values in problem.batch(fold(fold(begin.seed, step), BATCH), begin.task, "train").items()
        }
        inputs = {"first": batch["inputs/0"], "second": batch["inputs/1"]} if name == "two_inputs" else batch["inputs"]
        model.reset_metrics()
        expected.append(model.train_on_batch(inputs, batch["targets"]))
    np.testing.assert_allclose(losses[:, 0], np.ravel(expected), rtol=1e-5)
    assert losses[19, 0] != losses[0, 0]
    for variable, values in zip(model.trainable_variables, unpack(after.params, layout_of(problem)).values(), strict=True):
        np.testing.assert_allclose(values[0], variable, rtol=1e-4, atol=1e-6)


def backpropagated(problem, optimizer, xla):
    return TruncatedBackpropagation(problem, optimizer, MeasuredObjective(Objective(), problem), Estimator(), 5, xla)


@pytest.mark.parametrize(
    "name",
    [
        *("mlp", "convolutional"),
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("embedded", "normalized", "regularized", "noisy", "recurrent", "attentive")
        ),
    ],
)
def test_meta_gradient_is_that_of_differences(name):
    problem, optimizer = make(name), OPTIMIZERS["sgd"]()
    assert problem.xla == (name not in ("convolutional", "recurrent", "attentive"))
    assert problem.xla_on_gpu == (name not in ("recurrent", "attentive"))
    # Compiling takes most of the time: not for all.
    xla = name in ("mlp", "noisy")
    estimate = backpropagated(problem, optimizer, xla)
    particles = estimate.start({"learning_rate": tf.constant(0.3)}, 3, 2)
    rates = (0.298, 0.3, 0.302)
    low, middle, high = (estimate({"learning_rate": tf.constant(rate)}, particles, tf.constant(5), 0) for rate in rates)
    np.testing.assert_allclose(middle.gradient[0], (high.meta_loss - low.meta_loss) / 0.004, rtol=0.02)
    assert middle.nonfinite == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "two_inputs", "normalized", "embedded", "regularized"])
def test_meta_gradient_of_a_learned_optimizer_with_and_without_xla(name):
    problem, optimizer = make(name), OPTIMIZERS["hrnn"](hidden=(4, 3, 2))
    weights = {leaf: tf.convert_to_tensor(value) for leaf, value in optimizer.init_weights(0).items()}
    estimators = [backpropagated(problem, optimizer, xla) for xla in (True, False)]
    particles = estimators[0].start(weights, 3, 2)
    compiled, graph = (estimate(weights, particles, tf.constant(5), 0) for estimate in estimators)
    assert compiled.norm > 0 and compiled.nonfinite == 0
    np.testing.assert_allclose(compiled.meta_loss, graph.meta_loss, rtol=1e-4)
    np.testing.assert_allclose(compiled.norm, graph.norm, rtol=1e-3)


def test_random_layers_get_a_new_seed_with_each_minibatch_and_instance():
    problem = make("noisy", xla=False)
    task, params, batch = draw(problem, 1, 2)
    same = {name: tf.repeat(values[:1], 2, 0) for name, values in params.items()}
    batch = {name: leaf if name == "noise" else tf.repeat(leaf[:1], 2, 0) for name, leaf in batch.items()}
    first = problem.loss(same, task, batch)
    assert first[0] != first[1]
    np.testing.assert_array_equal(first, problem.loss(same, task, batch))
    noise = problem.batch(as_seed(8), task, "train")["noise"]
    assert not np.any(first == problem.loss(same, task, {**batch, "noise": noise}))


def test_two_random_layers_draw_from_different_seeds():
    class Same(layers.Layer):
        def call(self, inputs):
            return tf.abs(inputs[0] - inputs[1])

    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.Dense(1)(Same()([layers.Dropout(0.5)(inputs), layers.Dropout(0.5)(inputs)])))
    problem = KerasProblem(model, lambda targets, predictions: tf.abs(predictions), (NUMBERS, VALUES))
    task, params, batch = draw(problem, 1, 1)
    assert problem.loss(params, task, batch)[0] > 0


def test_whole_splits_are_without_noise_and_normalized_by_their_own_statistics():
    for name, training in (("noisy", False), ("normalized", True)):
        problem, model = make(name), CASES[name][0]()
        task, params, _ = draw(problem, 1, 1)
        model(NUMBERS)
        keras_weights(model, params)
        expected = np.mean(keras.losses.get(ENTROPY)(LABELS[:13], model(NUMBERS[:13], training=training)))
        for split in ("validation", "test"):
            batch = problem.batch(as_seed(4), task, split)
            assert batch["inputs"].shape == (1, 13, 6)
            np.testing.assert_allclose(problem.loss(params, task, batch), [expected], rtol=1e-5)


def test_a_normalization_that_is_used_twice():
    first, second = keras.Input((6,)), keras.Input((6,))
    shared = layers.BatchNormalization(momentum=0.9)
    model = keras.Model([first, second], layers.Dense(1)(layers.Concatenate()([shared(first), shared(second)])))
    problem = KerasProblem(model, "mse", ([NUMBERS, NUMBERS], VALUES))
    task, params, _ = draw(problem, 1, 1)
    expected = np.mean((model([NUMBERS, NUMBERS], training=True)[:, 0] - VALUES) ** 2)
    np.testing.assert_allclose(problem.loss(params, task, problem.batch(as_seed(4), task, "validation")), [expected], rtol=1e-5)


def test_the_model_keeps_its_own_values():
    model = normalized()
    model(NUMBERS)
    before = [variable.numpy() for variable in model.variables]
    problem = KerasProblem(model, ENTROPY, (NUMBERS, LABELS), batch_size=B)
    optimizer = OPTIMIZERS["sgd"]()
    run = Rollout(problem, optimizer, maximum=3, xla=False)
    weights = {"learning_rate": tf.constant(0.1)}
    run.held_out_loss(run(weights, run.start(weights, 0, 2), 3)[0])
    for variable, values in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, values)


def test_all_instances_of_a_model_start_at_its_values():
    model = mlp()
    problem = KerasProblem(model, ENTROPY, (NUMBERS, LABELS))
    params = draw(problem, 1, 4)[1]
    for variable, values in zip(model.trainable_variables, params.values(), strict=True):
        np.testing.assert_array_equal(values, np.repeat(variable[None], 4, 0))


def test_a_function_gives_each_tensor_several_starts_the_same_every_time():
    random.seed(5)
    state = random.getstate()
    problems = [make("mlp", starts=4) for _ in range(2)]
    assert random.getstate() == state
    params, again = (draw(problem, 7, 200)[1] for problem in problems)
    for name, values in params.items():
        np.testing.assert_array_equal(values, again[name])
    kernels = np.unique(params["0/kernel"], axis=0)
    assert len(kernels) == 4 and len(np.unique(params["2/kernel"], axis=0)) == 4
    assert not np.any(params["1/bias"])
    pairs = {
        (tuple(np.ravel(one)), tuple(np.ravel(two))) for one, two in zip(params["0/kernel"], params["2/kernel"], strict=True)
    }
    assert len(pairs) == 16
    # Glorot: uniform up to sqrt(6 / (fan in + fan out)).
    assert 0.8 < np.abs(kernels).max() / np.sqrt(6 / 11) <= 1


def test_losses_by_name_instance_and_function_are_one():
    model = two_inputs()
    data = ({"first": NUMBERS, "second": NUMBERS}, VALUES)
    losses = []
    for loss in ("mse", "MeanSquaredError", keras.losses.MeanSquaredError(), lambda t, p: (t - p[:, 0]) ** 2):
        problem = KerasProblem(model, loss, data, batch_size=B)
        task, params, batch = draw(problem, 1, 2)
        losses.append(problem.loss(params, task, batch))
    np.testing.assert_allclose(losses[1:], [losses[0]] * 3, rtol=1e-6)


def test_options():
    problem = make("mlp", lower_bound=-1.5, xla=False, name="my net")
    task = problem.sample(as_seed(1), 2)
    np.testing.assert_array_equal(problem.lower_bound(task), [-1.5, -1.5])
    assert not (problem.xla or problem.xla_on_gpu) and problem.name == "my net" and "my net" in problem.source
    assert problem.structure is problem and problem != make("mlp")
    alone = KerasProblem(mlp, ENTROPY, (NUMBERS, LABELS), batch_size=B, starts=1)
    assert not alone.held_out and alone.batch(as_seed(1), task, "test")["inputs"].shape == (1, N, 6)


class Broken(layers.Layer):
    def call(self, inputs):
        raise KeyError("first line\nsecond line")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": 3}, ["model", "3"]),
        ({"model": lambda: None}, ["model", "None"]),
        ({"model": keras.Sequential([keras.Input((6,)), layers.Flatten()])}, ["trainable"]),
        ({"model": keras.Sequential([layers.Dense(1, dtype="float64")])}, ["float32"]),
        ({"model": keras.Sequential([layers.Dense(1), Broken()])}, ["first line"]),
        ({"model": keras.Sequential([keras.Input((5,)), layers.Dense(3)])}, ["one example"]),
        ({"model": lambda: keras.Sequential([layers.Dense(random.randint(1, 100))])}, ["shapes", "function"]),
        ({"model": keras.Sequential([layers.Dense(3), layers.BatchNormalization(renorm=True, name="re")])}, ["'re'"]),
        ({"loss": "mean_squared"}, ["loss", "mean_squared"]),
        ({"loss": 1.0}, ["loss", "1.0"]),
        ({"loss": lambda targets, predictions: tf.argmax(predictions, -1)}, ["loss", "float32"]),
        ({"train": NUMBERS}, ["train", "targets"]),
        ({"train": (NUMBERS, LABELS[:-1])}, ["train", str(N - 1)]),
        ({"train": (NUMBERS, LABELS.astype(str))}, ["train", "targets"]),
        ({"train": (NUMBERS[:0], LABELS[:0])}, ["train", "at least one"]),
        ({"validation": (NUMBERS, LABELS)}, ["validation", "test"]),
        ({"validation": (NUMBERS, LABELS), "test": ([NUMBERS], LABELS)}, ["test", "inputs"]),
        ({"batch_size": 0}, ["batch_size"]),
        ({"starts": 0}, ["starts"]),
        ({"lower_bound": float("nan")}, ["lower_bound"]),
    ],
)
def test_wrong_arguments_are_named_in_one_line(arguments, words):
    with pytest.raises(ValueError) as caught:
        KerasProblem(**{"model": mlp, "loss": ENTROPY, "train": (NUMBERS, LABELS), **arguments})
    message = str(caught.value)
    assert all(word in message for word in words) and "\n" not in message, message


def test_inputs_that_are_numbers_can_be_scaled():
    assert [make(case).input_leaves for case in ("mlp", "embedded")] == [("inputs",), ()]
    inner = make("two_inputs")
    problem = ScaledInputs(inner, factor=3.0)
    task = problem.sample(as_seed(1), 2)
    batch, plain = problem.batch(as_seed(2), task, "train"), inner.batch(as_seed(2), problem.inner_task(task), "train")
    for name in plain:
        np.testing.assert_array_equal(batch[name], plain[name] * (3 if name in ("inputs/0", "inputs/1") else 1))
