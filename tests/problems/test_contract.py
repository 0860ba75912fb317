"""What every problem owes its users, whatever it is."""

import copy
import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf
from l2o_problems.base import SAMPLED, Problem
from l2o_problems.random import as_seed, fold
from l2o_problems.registry import PROBLEMS
from l2o_problems.transforms import TRANSFORMS
from l2o_problems.transforms.sharing import AnyTestFunction
from l2o_problems.two_dimensional import FUNCTIONS

RESCALE, NOISE = TRANSFORMS["rescale"], TRANSFORMS["gradient_noise"]

CASES = {
    "quadratic": PROBLEMS["quadratic"](dimension=5),
    "bowl": PROBLEMS["bowl"](angle=0.3),
    "norm": PROBLEMS["norm"](dimension=5, power=1.0),
    "norm_3": PROBLEMS["norm"](dimension=4, power=3.0),
    "projection_quadratic": PROBLEMS["projection_quadratic"](dimension=5, samples=40, batch_size=10),
    "sum_of_quadratics": PROBLEMS["sum_of_quadratics"](dimension=5, samples=40, batch_size=10),
    "rosenbrock": PROBLEMS["rosenbrock"](),
    "ackley": PROBLEMS["ackley"](),
    "beale": PROBLEMS["beale"](),
    "booth": PROBLEMS["booth"](),
    "branin": PROBLEMS["branin"](),
    "log_sum_exp": PROBLEMS["log_sum_exp"](),
    "matyas": PROBLEMS["matyas"](),
    "michalewicz": PROBLEMS["michalewicz"](),
    "styblinski_tang": PROBLEMS["styblinski_tang"](),
    "valley": PROBLEMS["valley"](),
    "saddle": PROBLEMS["saddle"](),
    "any_test_function": AnyTestFunction(3),
    "dependency_chain": PROBLEMS["dependency_chain"](dimension=5),
    "outward_snake": PROBLEMS["outward_snake"](dimension=5, samples=40, batch_size=10),
    "min_max_well": PROBLEMS["min_max_well"](dimension=5),
    "matrix_multiplication": PROBLEMS["matrix_multiplication"](),
    "sparse_softmax": PROBLEMS["sparse_softmax"](),
    "sparse_softmax_one_hot": PROBLEMS["sparse_softmax"](classes=3, one_hot=True),
    "logistic_regression": PROBLEMS["logistic_regression"](batch_size=20, samples=100),
    "separable": PROBLEMS["logistic_regression"](features=4, batch_size=20, samples=60, separable=True, l2=0.0),
    "random_mlp": PROBLEMS["random_mlp"](hidden=(8, 5), inputs=6, batch_size=10, samples=80, activation="relu"),
    "random_mlp_3": PROBLEMS["random_mlp"](hidden=(6,), inputs=4, classes=3, batch_size=10, samples=80),
    "cluster_mlp": PROBLEMS["cluster_mlp"](hidden=(6,), inputs=5, classes=3, batch_size=10, samples=80),
    "softmax_regression": PROBLEMS["cluster_mlp"](hidden=(), inputs=5, classes=3, batch_size=10, samples=80),
    "residual_mlp": PROBLEMS["cluster_mlp"](
        **{"hidden": (4, 4), "inputs": 5, "classes": 3, "batch_size": 10, "samples": 80, "activation": "gelu"},
        **{"normalization": "batch", "residual": True, "label_noise": 0.2, "dead_inputs": 0.4, "input_decades": 1.0},
    ),
    "regression_mlp": PROBLEMS["regression_mlp"](hidden=(6,), inputs=5, targets=2, batch_size=10, samples=80),
    "low_rank_autoencoder": PROBLEMS["low_rank_autoencoder"](hidden=(3,), inputs=5, rank=2, batch_size=10, samples=80),
    "markov_mlp": PROBLEMS["markov_mlp"](hidden=(4,), embedding=3, length=2, batch_size=10, symbols=9, samples=80, order=2),
    "markov_rnn": PROBLEMS["markov_rnn"](hidden=4, embedding=3, length=4, batch_size=3, symbols=9, samples=80),
    "markov_transformer": PROBLEMS["markov_transformer"](width=4, length=4, batch_size=3, symbols=9, samples=80),
    "digits_mlp": PROBLEMS["digits_mlp"](hidden=(12,), batch_size=16),
    "mnist_mlp": PROBLEMS["mnist_mlp"](hidden=(8,), batch_size=8),
    "mnist_conv": PROBLEMS["mnist_conv"](channels=(2, 3), batch_size=4),
    "image_mlp_batch": PROBLEMS["image_mlp"](data="digits", hidden=(6, 5), normalization="batch", batch_size=8),
    "image_mlp_layer": PROBLEMS["image_mlp"](data="digits", hidden=(6, 5), normalization="layer", batch_size=8),
    "image_conv": PROBLEMS["image_conv"](data="digits", channels=(3,), kernels=(3,), strides=(2,), batch_size=4),
    "image_resnet": PROBLEMS["image_resnet"](data="digits", widths=(3,), batch_size=4),
    "image_autoencoder": PROBLEMS["image_autoencoder"](data="digits", hidden=(6,), batch_size=8),
    "image_autoencoder_entropy": PROBLEMS["image_autoencoder"](data="digits", hidden=(6,), criterion="cross_entropy"),
    "image_mlp_shrunk": PROBLEMS["image_mlp"](data="digits", hidden=(6,), batch_size=8, side=3, activation="linear"),
    "image_completion": PROBLEMS["image_completion"](data="digits", hidden=(6,), batch_size=8),
    "tabular_mlp": PROBLEMS["tabular_mlp"](hidden=(6,), batch_size=8),
    "word_mlp": PROBLEMS["word_mlp"](vocabulary=40, embedding=3, hidden=5, batch_size=8),
    "char_rnn": PROBLEMS["char_rnn"](hidden=5, embedding=3, length=4, batch_size=3),
    "char_lstm": PROBLEMS["char_rnn"](cell="lstm", hidden=4, embedding=3, length=3, batch_size=3),
    "transformer": PROBLEMS["transformer"](layers=1, width=4, length=4, batch_size=3),
    "rescaled": RESCALE(PROBLEMS["random_mlp"](samples=50, batch_size=10), per="tensor"),
    "noisy": NOISE(RESCALE(RESCALE(PROBLEMS["quadratic"](dimension=4)), per="parameter"), deviation=0.5),
    "subspace": TRANSFORMS["random_subspace"](PROBLEMS["random_mlp"](hidden=(4,), samples=50, batch_size=10), dimension=3),
    "sum_in_subspace": TRANSFORMS["random_subspace"](
        PROBLEMS["sum"]((NOISE(PROBLEMS["quadratic"](dimension=3)), PROBLEMS["bowl"]()))
    ),
    "displaced": TRANSFORMS["parameter_noise"](PROBLEMS["random_mlp"](hidden=(4,), samples=50, batch_size=10), scale=0.3),
    "rounded": TRANSFORMS["reduced_precision"](PROBLEMS["norm"](dimension=4)),
    "sparse": TRANSFORMS["sparse_gradients"](PROBLEMS["quadratic"](dimension=20), probability=0.5),
    "normalized": TRANSFORMS["normalized_gradients"](NOISE(PROBLEMS["quadratic"](dimension=4)), per="tensor"),
    "delayed": TRANSFORMS["delayed_gradients"](TRANSFORMS["delayed_gradients"](NOISE(PROBLEMS["norm"](dimension=4))), delay=3),
    "smaller": TRANSFORMS["smaller_batches"](PROBLEMS["random_mlp"](samples=50, batch_size=10), batch_size=4),
    "scaled_inputs": TRANSFORMS["scaled_inputs"](PROBLEMS["random_mlp"](samples=50, batch_size=10), factor=3.0),
    "logarithm": TRANSFORMS["loss_transform"](PROBLEMS["sum_of_quadratics"](dimension=5, samples=40, batch_size=10)),
    "sum": PROBLEMS["sum"]((PROBLEMS["ackley"](), NOISE(PROBLEMS["quadratic"](dimension=3)), PROBLEMS["random_mlp"](samples=50))),
}


# Other options of a family, whose code is that of another case.
VARIANTS = {
    "norm_3",
    "random_mlp_3",
    "softmax_regression",
    "digits_mlp",
    "mnist_mlp",
    "image_autoencoder_entropy",
    "image_mlp_shrunk",
}


# Every step sees the same of them: there is nothing to draw.
WITHOUT_MINIBATCHES = {function.name for function in FUNCTIONS} | {
    *("quadratic", "bowl", "norm", "norm_3", "dependency_chain", "min_max_well", "matrix_multiplication", "any_test_function"),
    *("noisy", "rounded", "sparse", "normalized", "delayed", "sum_in_subspace"),
}


def cases(wanted):
    """The names of the cases for which `wanted(name, problem)` is true."""
    return [
        pytest.param(name, marks=pytest.mark.slow) if name in VARIANTS else name
        for name, problem in CASES.items()
        if wanted(name, problem)
    ]


def of(wanted):
    """For a test of some cases alone, so that it never passes without having looked."""
    return pytest.mark.parametrize("problem", cases(wanted), indirect=True)


with_minibatches = of(lambda name, problem: name not in WITHOUT_MINIBATCHES)


@pytest.fixture(params=cases(lambda name, problem: True), name="problem")
def _problem(request):
    return CASES[request.param]


def drawn_anew(problem, seed, instances):
    task = problem.sample(fold(seed, 0), instances)
    return task, problem.initial_params(fold(seed, 1), task), problem.batch(fold(seed, 2), task, "train")


draw = functools.cache(drawn_anew)  # several tests look at one draw, which takes longer than to look


def joined(*leaves):
    return {name: tf.concat([leaf[name] for leaf in leaves], 0) for name in leaves[0]}


def test_every_registered_family_is_a_case():
    """Named problems are partials of a family; the images of some are not on every machine."""
    assert {getattr(make, "func", make) for make in PROBLEMS.values()} <= {type(problem) for problem in CASES.values()}


def test_shapes(problem):
    task, params, batch = draw(problem, 3, 4)
    assert {name: tuple(values.shape[1:]) for name, values in params.items()} == dict(problem.param_shapes)
    assert all(leaf.shape[0] == 4 for leaf in (*task.values(), *params.values(), *batch.values()))
    assert all(isinstance(leaf, tf.Tensor) for leaf in task.values())
    assert problem.loss(params, task, batch).shape == (4,)
    for split in ("validation", "test"):
        assert problem.loss(params, task, problem.batch(as_seed(0), task, split)).shape == (4,)


def test_is_described(problem):
    assert problem.name and problem.summary and problem.source
    assert "\n" not in problem.summary + problem.source
    again = dataclasses.replace(problem)
    assert again is not problem and again == problem and hash(again) == hash(problem)


def test_a_seed_gives_the_same_bits_and_another_seed_others(problem):
    first, again, other = draw(problem, 4, 2), drawn_anew(problem, 4, 2), drawn_anew(problem, 12, 2)
    for one, two in zip(tf.nest.flatten(first), tf.nest.flatten(again), strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(problem.loss(first[1], first[0], first[2]), problem.loss(other[1], other[0], other[2]))


@pytest.mark.slow
def test_starts_finite_and_above_the_lower_bound_a_thousand_times(problem):
    @tf.function(autograph=False)
    def start(seed):
        task, params, batch = drawn_anew(problem, seed, 20)
        with tf.GradientTape() as tape:
            tape.watch(params)
            loss = problem.loss(params, task, batch)
        return loss, problem.lower_bound(task), tape.gradient(loss, params)

    for seed in range(50):
        loss, bound, gradients = start(as_seed(seed))
        assert all(np.isfinite(leaf).all() for leaf in (loss, bound, *gradients.values())), seed
        assert bound.shape == (20,)
        # The saddle has no bound; see there.
        assert (loss.numpy() >= bound.numpy()).all() or problem.name == "saddle", seed


def with_options(problem, **options):
    """`problem` with fields that are not checked."""
    other = copy.copy(problem)
    for name, value in options.items():
        object.__setattr__(other, name, value)
    return other


def without_sampled_options(value):
    """A problem in which nothing can be done with a sampled option, nor with one of the problems within it."""
    if isinstance(value, tuple):
        return tuple(map(without_sampled_options, value))
    if not isinstance(value, Problem):
        return value
    options = {field.name: (field.metadata, getattr(value, field.name)) for field in dataclasses.fields(value)}
    return with_options(
        value,
        **{name: ... if metadata == SAMPLED else without_sampled_options(own) for name, (metadata, own) in options.items()},
    )


@of(lambda name, problem: without_sampled_options(problem) != problem)
def test_sampled_options_are_in_the_task_and_nowhere_else(problem):
    other = without_sampled_options(problem)
    assert other.structure == problem.structure
    task, params, batch = draw(problem, 4, 2)

    def values(problem):
        gradients, memory = problem.perturb(as_seed(1), task, params, problem.initial_memory(task, params))
        moved = problem.displace(as_seed(2), task, params, gradients)
        splits = [problem.batch(as_seed(3), task, split) for split in ("train", "validation")]
        return problem.loss(params, task, batch), problem.lower_bound(task), memory, moved, splits

    for one, two in zip(tf.nest.flatten(values(problem)), tf.nest.flatten(values(other)), strict=True):
        np.testing.assert_array_equal(one, two)


@of(lambda name, problem: dataclasses.fields(problem))
def test_every_other_option_is_part_of_the_structure(problem):
    for field in dataclasses.fields(problem):
        same = with_options(problem, **{field.name: ...}).structure == problem.structure
        assert same == (field.metadata == SAMPLED), field.name


def test_instances_together_are_what_they_are_alone(problem):
    draws = [draw(problem, seed, 1) for seed in (1, 2, 3)]
    alone = [problem.loss(params, task, batch)[0] for task, params, batch in draws]
    task, params, batch = (joined(*parts) for parts in zip(*draws, strict=True))
    np.testing.assert_allclose(problem.loss(params, task, batch), alone, rtol=2e-5, atol=1e-6)


def test_gradient_of_an_instance_does_not_reach_its_neighbors(problem):
    task, params, batch = draw(problem, 3, 4)
    with tf.GradientTape() as tape:
        tape.watch(params)
        loss = problem.loss(params, task, batch)[1]
    gradients = tape.gradient(loss, params)
    assert any(np.any(gradient[1]) for gradient in gradients.values())
    for gradient in gradients.values():
        assert not np.any(gradient[0]) and not np.any(gradient[2:])


@with_minibatches
def test_a_minibatch_does_not_depend_on_the_neighbors(problem):
    first, second = (problem.sample(as_seed(seed), 2) for seed in (1, 2))
    together = problem.batch(as_seed(9), joined(first, second), "train")
    alone = problem.batch(as_seed(9), second, "train")
    assert alone and alone.keys() == together.keys()
    for name, leaf in alone.items():
        np.testing.assert_array_equal(together[name][2:], leaf)


def test_perturbations_do_not_depend_on_the_neighbors(problem):
    draws = [draw(problem, seed, 1)[:2] for seed in (1, 2)]
    task, params = (joined(*parts) for parts in zip(*draws, strict=True))
    gradients = {name: 1.0 + values for name, values in params.items()}

    def perturbed(task, params, gradients):
        memory = problem.initial_memory(task, params)
        for step in range(3):
            gradients, memory = problem.perturb(as_seed(step), task, gradients, memory)
        return gradients, memory, problem.displace(as_seed(7), task, params, gradients)

    together = perturbed(task, params, gradients)
    own = {name: leaf[1:] for name, leaf in gradients.items()}
    alone = perturbed(*draws[1], own)
    for one, two in zip(tf.nest.flatten(together), tf.nest.flatten(alone), strict=True):
        np.testing.assert_allclose(one[1:], two, rtol=1e-6, atol=1e-6)  # a gradient of 1 and its noise may cancel


@with_minibatches
def test_minibatches_change_with_the_seed_and_differ_between_instances(problem):
    task = problem.sample(as_seed(1), 2)
    batch, later = (problem.batch(as_seed(seed), task, "train") for seed in (1, 2))
    drawn = batch.keys() - {"weights"}
    assert any(name.rpartition("/")[2] == "inputs" for name in drawn)
    for name in drawn:
        assert not np.array_equal(batch[name][0], later[name][0])
        assert not np.array_equal(batch[name][0], batch[name][1])


@pytest.mark.parametrize("name", sorted(WITHOUT_MINIBATCHES))
def test_the_others_have_no_minibatches(name):
    problem = CASES[name]
    task = problem.sample(as_seed(1), 2)
    assert [problem.batch(as_seed(1), task, split) for split in ("train", "validation", "test")] == [{}, {}, {}]
    assert not problem.held_out and problem.input_leaves == ()


@with_minibatches
def test_held_out_splits_are_whole_and_whatever_the_seed(problem):
    task = problem.sample(as_seed(1), 2)
    for split in ("validation", "test"):
        one, two = (problem.batch(as_seed(seed), task, split) for seed in (1, 2))
        assert one and one.keys() == two.keys()
        for name, leaf in one.items():
            np.testing.assert_array_equal(leaf, two[name])


def test_compiled_equals_eager(problem):
    def values(seed, task, params):
        batch = problem.batch(fold(seed, 2), task, "train")
        with tf.GradientTape() as tape:
            tape.watch(params)
            loss = problem.loss(params, task, batch)
        gradients, memory = problem.perturb(
            fold(seed, 3), task, tape.gradient(loss, params), problem.initial_memory(task, params)
        )
        return batch, loss, gradients, memory, problem.displace(fold(seed, 4), task, params, gradients)

    task, params, _ = draw(problem, 4, 2)
    compiled = tf.function(values, jit_compile=True if problem.xla else None, autograph=False)
    eager, graph = values(as_seed(4), task, params), compiled(as_seed(4), task, params)
    for one, two in zip(tf.nest.flatten(eager), tf.nest.flatten(graph), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-5 * max(1.0, np.abs(one).max()))


@pytest.mark.parametrize(
    ("name", "options", "field"),
    [
        ("quadratic", {"dimension": 0}, "dimension"),
        ("quadratic", {"dimension": 2.5}, "dimension"),
        ("bowl", {"condition": 0.0}, "condition"),
        ("bowl", {"angle": float("inf")}, "angle"),
        ("norm", {"power": 0.5}, "power"),
        ("norm", {"dimension": 0}, "dimension"),
        ("projection_quadratic", {"samples": 7}, "samples"),
        ("sum_of_quadratics", {"dimension": 0}, "dimension"),
        ("sum_of_quadratics", {"batch_size": 0}, "batch_size"),
        ("dependency_chain", {"dimension": 0}, "dimension"),
        ("outward_snake", {"dimension": 1}, "dimension"),
        ("outward_snake", {"samples": 0}, "samples"),
        ("min_max_well", {"dimension": 0}, "dimension"),
        ("matrix_multiplication", {"size": 1}, "size"),
        ("matrix_multiplication", {"products": 3}, "products"),
        ("matrix_multiplication", {"products": 9}, "products"),
        ("sparse_softmax", {"label_noise": -0.1}, "label_noise"),
        ("sparse_softmax", {"label_noise": 1.1}, "label_noise"),
        ("sparse_softmax", {"classes": 1}, "classes"),
        ("sparse_softmax", {"context": 0}, "context"),
        ("sparse_softmax", {"features": 0}, "features"),
        ("sparse_softmax", {"l2": -1.0}, "l2"),
        ("logistic_regression", {"features": 1}, "features"),
        ("logistic_regression", {"separation": -1.0}, "separation"),
        ("logistic_regression", {"separation": 0.0, "separable": True}, "separation"),
        ("logistic_regression", {"l2": float("nan")}, "l2"),
        ("logistic_regression", {"label_noise": 1.5}, "label_noise"),
        ("random_mlp", {"hidden": 8}, "hidden"),
        ("random_mlp", {"hidden": (8, 0)}, "hidden[1]"),
        ("random_mlp", {"classes": 1}, "classes"),
        ("random_mlp", {"activation": "swish"}, "activation"),
        ("random_mlp", {"normalization": "group"}, "normalization"),
        ("random_mlp", {"residual": 1}, "residual"),
        ("random_mlp", {"residual": True, "hidden": (8, 4)}, "residual"),
        ("random_mlp", {"dead_inputs": 1.5}, "dead_inputs"),
        ("cluster_mlp", {"label_noise": 1.5}, "label_noise"),
        ("cluster_mlp", {"input_decades": 7.0}, "input_decades"),
        ("regression_mlp", {"noise": -1.0}, "noise"),
        ("regression_mlp", {"targets": 0}, "targets"),
        ("regression_mlp", {"teacher": (4, 0)}, "teacher[1]"),
        ("regression_mlp", {"teacher_activation": "swish"}, "teacher_activation"),
        ("low_rank_autoencoder", {"rank": 21}, "rank"),
        ("low_rank_autoencoder", {"condition": 0.5}, "condition"),
        ("markov_mlp", {"embedding": 0}, "embedding"),
        ("markov_mlp", {"order": 3}, "order"),
        ("markov_mlp", {"order": 2, "symbols": 2000}, "symbols"),
        ("markov_rnn", {"mixing": 1.1}, "mixing"),
        ("markov_rnn", {"length": 0}, "length"),
        ("markov_rnn", {"branches": 0}, "branches"),
        ("markov_transformer", {"zipf": -1.0}, "zipf"),
        ("markov_transformer", {"heads": 3}, "heads"),
        ("random_mlp", {"samples": True}, "samples"),
        ("digits_mlp", {"batch_size": 0}, "batch_size"),
        ("mnist_mlp", {"activation": None}, "activation"),
        ("mnist_conv", {"kernels": (3,)}, "kernels"),
        ("mnist_conv", {"channels": (0, 8)}, "channels[0]"),
        ("image_mlp", {"data": "cifar"}, "data"),
        ("image_mlp", {"normalization": "group"}, "normalization"),
        ("image_conv", {"strides": (1,)}, "strides"),
        ("image_conv", {"strides": (1, 0)}, "strides[1]"),
        ("image_resnet", {"widths": ()}, "widths"),
        ("image_resnet", {"blocks": 0}, "blocks"),
        ("image_resnet", {"normalization": "none"}, "normalization"),
        ("image_autoencoder", {"criterion": "absolute"}, "criterion"),
        ("image_autoencoder", {"hidden": (0,)}, "hidden[0]"),
        ("image_mlp", {"side": 0}, "side"),
        ("image_conv", {"side": 29}, "side"),
        ("image_resnet", {"data": "digits", "side": 14}, "side"),
        ("image_autoencoder", {"side": 7.5}, "side"),
        ("image_completion", {"side": 1}, "side"),
        ("image_completion", {"hidden": ()}, "hidden"),
        ("tabular_mlp", {"data": "digits"}, "data"),
        ("tabular_mlp", {"standardized": 1}, "standardized"),
        ("tabular_mlp", {"hidden": (0,)}, "hidden[0]"),
        ("word_mlp", {"vocabulary": 4119}, "vocabulary"),
        ("word_mlp", {"vocabulary": 1}, "vocabulary"),
        ("word_mlp", {"context": 0}, "context"),
        ("word_mlp", {"embedding": 2.0}, "embedding"),
        ("word_mlp", {"data": "mnist"}, "data"),
        ("char_rnn", {"cell": "rnn"}, "cell"),
        ("char_rnn", {"embedding": 0}, "embedding"),
        ("char_rnn", {"length": 0}, "length"),
        ("char_rnn", {"batch_size": 0}, "batch_size"),
        ("char_rnn", {"data": "mnist"}, "data"),
        ("transformer", {"heads": 3}, "heads"),
        ("transformer", {"layers": 0}, "layers"),
        ("transformer", {"feed_forward": 0.5}, "feed_forward"),
    ],
)
def test_wrong_options_are_named_in_one_line(name, options, field):
    with pytest.raises(ValueError) as caught:
        PROBLEMS[name](**options)
    assert field in str(caught.value) and "\n" not in str(caught.value)
