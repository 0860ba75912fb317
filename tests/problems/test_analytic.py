"""Quadratics, norms, chains, matrix multiplication and sparse softmax: formulas, minima and what is special to each."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from l2o_problems.chains import DependencyChain, MinMaxWell, OutwardSnake
from l2o_problems.classifiers import SparseSoftmax
from l2o_problems.matmul import MatrixMultiplication, products_of_units
from l2o_problems.quadratics import Bowl, Norm, ProjectionQuadratic, Quadratic, SumOfQuadratics
from l2o_problems.random import as_seed
from l2o_problems.two_dimensional import Ackley, LogSumExp, Michalewicz


def bowl(problem, params, task, batch):
    cosine, sine = np.cos(problem.angle), np.sin(problem.angle)
    x, y = np.array([[cosine, -sine], [sine, cosine]]) @ params["x"]
    return 0.5 * (problem.condition * x**2 + y**2)


def norm(problem, params, task, batch):
    residual = np.abs(task["w"] @ params["x"] - task["y"]) + 1e-6
    return np.sum(residual**problem.power) ** (1 / problem.power)


def rows_of(problem, batch):
    """The examples of a minibatch without the padding: `batch_size` of them, or all of the data."""
    count = int(batch["weights"].sum())
    assert set(batch["weights"][:count]) == {1} and count in (problem.batch_size, len(batch["weights"]))
    return batch["inputs"][:count]


def projection_quadratic(problem, params, task, batch):
    return sum((x * a) ** 2 for row in rows_of(problem, batch) for x, a in zip(params["x"], row, strict=True))


def sum_of_quadratics(problem, params, task, batch):
    return sum(np.sum((params["x"] - a) ** 2) - np.sum(a**2) for a in rows_of(problem, batch))


def dependency_chain(problem, params, task, batch):
    x = params["x"]
    return x[0] ** 2 + sum(x[i] ** 2 / (x[i - 1] ** 2 + 1e-6) for i in range(1, len(x)))


def outward_snake(problem, params, task, batch):
    x, total = params["x"], 0.0
    for b in rows_of(problem, batch):
        total += b[0] / (np.linalg.norm(x) + 1e-6)
        total += sum(((x[i] - np.pi * np.cos(x[i - 1])) * b[i]) ** 2 for i in range(1, len(x)))
    return total


def min_max_well(problem, params, task, batch):
    squares = np.sort(params["x"] ** 2)
    return squares[-1] + 1 / squares[0] - 2 + 1e-12


def matrix_multiplication(problem, params, task, batch):
    """The residual of numpy's least squares, without a ridge, over the matrices themselves."""
    size = problem.size
    units = [unit.reshape(size, size) for unit in np.eye(size**2)]
    rows = [(first.ravel() @ params["a"]) * (second.ravel() @ params["b"]) for first in units for second in units]
    wanted = [(first @ second).ravel() for first in units for second in units]
    return np.sum((rows @ np.linalg.lstsq(np.array(rows), np.array(wanted), rcond=None)[0] - wanted) ** 2)


def sparse_softmax(problem, params, task, batch):
    total, examples = 0.0, rows_of(problem, batch)
    labels = batch["labels"][: len(examples)]
    for ids, label in zip(examples, labels, strict=True):
        logits = sum(params["embedding"][identity] for identity in ids) @ params["kernel"] + params["bias"]
        total += np.log(np.sum(np.exp(logits))) - logits[label]
    return total / len(labels) + problem.l2 * np.mean([np.sum(values**2) for values in params.values()])


CASES = {
    "bowl": (Bowl(condition=0.1), bowl),
    "bowl turned": (Bowl(condition=5.0, angle=0.7), bowl),
    "norm 1": (Norm(dimension=6, power=1.0), norm),
    "norm 2.5": (Norm(dimension=6, power=2.5), norm),
    "projection": (ProjectionQuadratic(dimension=4, samples=30, batch_size=7), projection_quadratic),
    "sum": (SumOfQuadratics(dimension=4, samples=30, batch_size=7), sum_of_quadratics),
    "chain": (DependencyChain(dimension=5), dependency_chain),
    "snake": (OutwardSnake(dimension=5, samples=30, batch_size=7), outward_snake),
    "well": (MinMaxWell(dimension=6), min_max_well),
    "matmul 2": (MatrixMultiplication(), matrix_multiplication),
    "matmul 3": (MatrixMultiplication(size=3, products=20), matrix_multiplication),
    "softmax": (SparseSoftmax(l2=0.1), sparse_softmax),
    "softmax of 3": (SparseSoftmax(features=4, classes=3, context=2, samples=40, batch_size=9), sparse_softmax),
    "softmax one-hot": (SparseSoftmax(one_hot=True), sparse_softmax),
}


@pytest.fixture(params=CASES, name="case")
def _case(request):
    return CASES[request.param]


@pytest.mark.parametrize("split", ["train", "test"])
def test_loss(case, split, check_loss):
    check_loss(*case, split)


def test_gradient_against_differences_in_float64(case, check_gradient):
    check_gradient(*case)


def values_and_gradients(problem, params, task, batch):
    with tf.GradientTape() as tape:
        tape.watch(params)
        loss = problem.loss(params, task, batch)
    return loss.numpy(), {name: gradient.numpy() for name, gradient in tape.gradient(loss, params).items()}


# The sum of absolute values is linear but for its kinks.
CURVED = [case[0] for name, case in CASES.items() if name not in ("norm 1", "matmul 3")] + [LogSumExp(), Michalewicz(), Ackley()]


@pytest.mark.parametrize("problem", CURVED, ids=lambda problem: problem.name)
def test_second_derivatives_compiled_in_a_loop(problem):
    task = problem.sample(as_seed(1), 2)
    params, batch = problem.initial_params(as_seed(2), task), problem.batch(as_seed(3), task, "train")

    def steepness(params):
        with tf.GradientTape() as tape:
            tape.watch(params)
            loss = problem.loss(params, task, batch)
        return tf.add_n([tf.reduce_sum(tf.square(gradient)) for gradient in tape.gradient(loss, params).values()])

    def slope(params, function):
        with tf.GradientTape() as tape:
            tape.watch(params)
            value = function(params)
        return tape.gradient(value, params)

    def looped(params):
        body = lambda index, total: (index + 1, total + steepness(params))  # noqa: E731
        return tf.while_loop(lambda index, _: index < 2, body, (0, 0.0), maximum_iterations=2)[1]

    compiled = tf.function(lambda: slope(params, looped), jit_compile=True, autograph=False)()
    for name, expected in slope(params, steepness).items():
        assert np.isfinite(expected).all() and np.abs(expected).max() > 0
        np.testing.assert_allclose(compiled[name], 2 * expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_quadratic_is_zero_at_its_solution_and_norms_least():
    for problem in (Quadratic(6), Norm(6, power=1.0), Norm(6, power=2.0), Norm(6, power=3.5)):
        task = problem.sample(as_seed(0), 5)
        # In float32 no solution is exact: one is made so.
        solution = np.round(np.linalg.solve(task["w"], task["y"].numpy()[..., None])[..., 0], 3).astype(np.float32)
        task["y"] = tf.linalg.matvec(task["w"], solution)
        loss, gradients = values_and_gradients(problem, {"x": tf.constant(solution)}, task, {})
        np.testing.assert_allclose(loss, problem.minimum, rtol=1e-5)
        np.testing.assert_array_equal(gradients["x"], 0)
        for offset in np.random.default_rng(0).normal(size=(50, 5, 6)) * np.logspace(-7, 0, 50)[:, None, None]:
            moved = {"x": tf.constant(solution + offset, tf.float32)}
            assert (problem.loss(moved, task, {}).numpy() >= problem.minimum * (1 - 1e-5)).all()


def test_a_norm_of_a_high_power_is_nearly_the_largest_residual_and_does_not_overflow():
    problem = Norm(5, power=200.0)
    task = problem.sample(as_seed(0), 4)
    params = {"x": 1e3 * problem.initial_params(as_seed(1), task)["x"]}
    loss, gradients = values_and_gradients(problem, params, task, {})
    largest = np.abs(np.einsum("inm,im->in", task["w"], params["x"]) - task["y"]).max(1)
    np.testing.assert_allclose(loss, largest, rtol=5 ** (1 / 200) - 1)
    assert np.isfinite(gradients["x"]).all() and (np.abs(gradients["x"]).max(1) > 0.1).all()


@pytest.mark.parametrize(("condition", "angle"), [(0.1, 0.0), (5.0, 0.0), (5.0, np.pi / 4)])
def test_a_bowl_has_the_condition_number_and_the_angle_asked_for(condition, angle):
    problem = Bowl(condition=condition, angle=angle)
    circle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    points = np.stack([np.cos(circle), np.sin(circle)], 1)
    loss = problem.loss({"x": tf.constant(points, tf.float32)}, problem.sample(as_seed(0), 400), {}).numpy()
    np.testing.assert_allclose([loss.min(), loss.max()], np.sort([0.5, 0.5 * condition]), rtol=1e-5)
    across = np.array([np.cos(angle), -np.sin(angle)])  # the direction of the curvature `condition`
    extreme = points[loss.argmax() if condition > 1 else loss.argmin()]
    np.testing.assert_allclose(abs(extreme @ across), 1, rtol=1e-6)


@pytest.mark.parametrize("problem", [ProjectionQuadratic(3, 50, 8), SumOfQuadratics(3, 50, 8)], ids=lambda p: p.name)
def test_data_are_standard_normal_with_their_negatives_and_least_at_the_origin(problem):
    task = problem.sample(as_seed(1), 400)
    data = task["inputs"].numpy()
    np.testing.assert_array_equal(data[:, :25], -data[:, 25:])
    np.testing.assert_allclose(np.cov(data.reshape(-1, 3).T), np.eye(3), atol=0.05)
    whole = problem.batch(as_seed(0), task, "validation")
    np.testing.assert_array_equal(whole["inputs"], data)
    origin = {"x": tf.zeros([400, 3])}
    for batch in (whole, problem.batch(as_seed(5), task, "train")):
        np.testing.assert_array_equal(problem.loss(origin, task, batch), 0)
    np.testing.assert_allclose(values_and_gradients(problem, origin, task, whole)[1]["x"], 0, atol=1e-4)
    for scale in (1e-4, 1e-2, 1.0, 10.0):
        params = {"x": scale * problem.initial_params(as_seed(3), task)["x"]}
        assert problem.loss(params, task, whole).numpy().min() > 0


def test_the_lower_bound_of_a_sum_of_quadratics_is_reached_and_never_passed():
    problem = SumOfQuadratics(dimension=3, samples=50, batch_size=8)
    task = problem.sample(as_seed(1), 200)
    bound = problem.lower_bound(task).numpy()
    data = task["inputs"].numpy()
    longest = data[np.arange(200), np.sum(data**2, 2).argmax(1)]
    worst = {"inputs": tf.repeat(longest[:, None], 8, axis=1), "weights": task["weights"]}
    np.testing.assert_allclose(problem.loss({"x": tf.constant(longest)}, task, worst), bound, rtol=1e-5)
    below_zero = 0
    for seed in range(20):
        batch = problem.batch(as_seed(seed), task, "train")
        least = {"x": tf.reduce_mean(batch["inputs"], axis=1)}  # the minimizer of this minibatch
        loss = problem.loss(least, task, batch).numpy()
        assert (loss >= bound).all()
        below_zero += (loss < 0).sum()
    assert below_zero == 20 * 200


def test_minibatches_are_padded_to_a_power_of_two_and_the_padding_counts_for_nothing():
    problem, other = ProjectionQuadratic(3, 50, 5), ProjectionQuadratic(3, 50, 8)
    task = problem.sample(as_seed(1), 4)
    assert {name: leaf.shape for name, leaf in task.items()} == {n: v.shape for n, v in other.sample(as_seed(1), 4).items()}
    batch, params = problem.batch(as_seed(2), task, "train"), problem.initial_params(as_seed(3), task)
    changed = tf.concat([batch["inputs"][:, :5], 7 + batch["inputs"][:, 5:]], axis=1)
    np.testing.assert_array_equal(problem.loss(params, task, batch), problem.loss(params, task, {**batch, "inputs": changed}))
    np.testing.assert_array_equal(tf.reduce_sum(batch["weights"], 1), 5)


def test_a_dependency_chain_is_least_at_the_origin_and_steep_beside_it():
    problem = DependencyChain(dimension=4)
    task = problem.sample(as_seed(1), 2)
    loss, gradients = values_and_gradients(problem, {"x": tf.zeros([2, 5])}, task, {})
    assert problem.minimum == 0 and not loss.any() and not gradients["x"].any()
    # The pull on a parameter is the stronger, the closer to 0 the one before it is.
    chain = tf.constant([[1.0, 0.1, 0.1, 0.1, 0.1], [1e-3, 0.1, 0.1, 0.1, 0.1]])
    before, after = values_and_gradients(problem, {"x": chain}, task, {})[1]["x"][:, 1]
    assert before < 0 < 1e4 < after


def test_the_outward_snake_falls_to_zero_along_its_valley():
    problem = OutwardSnake(dimension=6, samples=40, batch_size=20)
    task = problem.sample(as_seed(1), 5)
    assert problem.minimum == 0 and set(np.unique(task["inputs"])) == {0.0, 1.0}
    valley = [np.float32([1, 10, 1e3, 1e5, 1e7])]
    for _ in range(5):
        valley.append(np.pi * np.cos(valley[-1]))
    task = {name: tf.repeat(leaf[:1], 5, axis=0) for name, leaf in task.items()}
    batch = problem.batch(as_seed(1), task, "train")
    loss = problem.loss({"x": tf.constant(np.stack(valley, 1), tf.float32)}, task, batch).numpy()
    assert (np.diff(loss) < 0).all() and 0 < loss[-1] < 1e-5


def test_the_outward_snake_has_finite_derivatives_at_the_origin():
    problem = OutwardSnake(dimension=3, samples=10, batch_size=5)
    task = problem.sample(as_seed(1), 2)
    loss, gradients = values_and_gradients(problem, {"x": tf.zeros([2, 3])}, task, problem.batch(as_seed(0), task, "train"))
    assert np.isfinite(loss).all() and np.isfinite(gradients["x"]).all() and gradients["x"].any()


def test_the_well_has_a_gradient_in_two_entries():
    problem = MinMaxWell(dimension=12)
    task = problem.sample(as_seed(1), 50)
    params = problem.initial_params(as_seed(2), task)
    size = np.abs(params["x"].numpy())
    gradient = values_and_gradients(problem, params, task, {})[1]["x"]
    assert (np.count_nonzero(gradient, axis=1) == 2).all()
    rows = np.arange(50)
    assert gradient[rows, size.argmin(1)].all() and gradient[rows, size.argmax(1)].all()


def test_the_well_is_least_where_all_entries_are_one():
    problem = MinMaxWell(dimension=4)
    corners = np.float32(list(itertools.product([-1, 1], repeat=4)))
    np.testing.assert_array_equal(problem.loss({"x": tf.constant(corners)}, {}, {}), np.float32(problem.minimum))
    offsets = np.random.default_rng(0).normal(size=(5000, 4)) * np.logspace(-9, 0, 5000)[:, None]
    assert problem.loss({"x": tf.constant(1 + offsets, tf.float32)}, {}, {}).numpy().min() >= np.float32(problem.minimum)


# Strassen's seven products: coefficients of the entries 11, 12, 21, 22 of each factor.
STRASSEN = (
    ((1, 0, 0, 1), (1, 0, 0, 1)),
    ((0, 0, 1, 1), (1, 0, 0, 0)),
    ((1, 0, 0, 0), (0, 1, 0, -1)),
    ((0, 0, 0, 1), (-1, 0, 1, 0)),
    ((1, 1, 0, 0), (0, 0, 0, 1)),
    ((-1, 0, 1, 0), (1, 1, 0, 0)),
    ((0, 1, 0, -1), (0, 0, 1, 1)),
)


def naive(size):
    """The size^3 products of an entry (p, q) and an entry (q, r)."""
    unit = np.eye(size**2)
    return [(unit[p * size + q], unit[q * size + r]) for p, q, r in itertools.product(range(size), repeat=3)]


@pytest.mark.parametrize(("size", "algorithm"), [(2, STRASSEN), (2, naive(2)), (3, naive(3))])
def test_algorithms_for_the_product_of_matrices_cost_nothing(size, algorithm):
    problem = MatrixMultiplication(size=size, products=len(algorithm))
    a, b = (np.float32([product[factor] for product in algorithm]).T[None] for factor in (0, 1))
    assert problem.minimum == 0
    np.testing.assert_allclose(problem.loss({"a": tf.constant(a), "b": tf.constant(b)}, {}, {}), 0, atol=1e-7)
    # One product less, or a wrong one, costs at least something of an entry.
    broken = {"a": tf.constant(np.roll(a, 1, axis=2)), "b": tf.constant(b)}
    assert problem.loss(broken, {}, {}).numpy()[0] > 0.5


def test_products_of_units():
    size = 3
    units = np.eye(9).reshape(9, 3, 3)
    for first, second in itertools.product(range(9), repeat=2):
        np.testing.assert_array_equal(products_of_units(size)[first, second], (units[first] @ units[second]).ravel())


def test_matrix_multiplication_does_not_depend_on_the_lengths_of_the_columns():
    problem = MatrixMultiplication(size=2, products=6)
    task = problem.sample(as_seed(0), 3)
    params = problem.initial_params(as_seed(1), task)
    np.testing.assert_allclose(tf.norm(params["a"], axis=1), 1, rtol=1e-5)
    scaled = {name: values * tf.constant([1e-3, 1, 5, 30, 2, 1e3]) for name, values in params.items()}
    np.testing.assert_allclose(problem.loss(scaled, task, {}), problem.loss(params, task, {}), rtol=1e-4)


def test_degenerate_algorithms_have_finite_gradients():
    problem = MatrixMultiplication(size=2, products=7)
    params = problem.initial_params(as_seed(1), problem.sample(as_seed(0), 3))
    twice = {name: tf.concat([values[:, :, :1], values[:, :, :6]], axis=2) for name, values in params.items()}
    none = {name: tf.concat([tf.zeros([3, 4, 1]), values[:, :, :6]], axis=2) for name, values in params.items()}
    for degenerate in (twice, none, {name: tf.zeros_like(values) for name, values in params.items()}):
        loss, gradients = values_and_gradients(problem, degenerate, {}, {})
        assert np.isfinite(loss).all() and all(np.isfinite(gradient).all() for gradient in gradients.values())
    np.testing.assert_allclose(loss, 8)  # without products nothing is left but the answers, n^3 ones


def test_which_algorithms_are_known():
    known = {(size, k): MatrixMultiplication(size, k).minimum for size in (2, 3) for k in range(size**2, size**3 + 1)}
    assert {key for key, value in known.items() if value == 0} == {(2, 7), (2, 8), *((3, k) for k in range(23, 28))}
    assert MatrixMultiplication(4, 63).minimum is None and MatrixMultiplication(4, 64).minimum == 0


def test_labels_are_the_noisy_parity_of_the_ids():
    clean, noisy = (SparseSoftmax(classes=3, samples=2000, label_noise=noise).sample(as_seed(1), 5) for noise in (0.0, 0.25))
    parity = clean["inputs"].numpy().sum(2) % 3
    np.testing.assert_array_equal(clean["labels"], parity)
    assert set(np.unique(clean["inputs"])) == {0, 1, 2}
    off = (noisy["labels"].numpy() - parity) % 3
    np.testing.assert_allclose(np.bincount(off.ravel(), minlength=3) / off.size, [0.75, 0.25, 0], atol=0.015)


def test_lookup_and_one_hot_are_the_same_function():
    lookup, one_hot = SparseSoftmax(), SparseSoftmax(one_hot=True)
    task = lookup.sample(as_seed(1), 4)
    params, batch = lookup.initial_params(as_seed(2), task), lookup.batch(as_seed(3), task, "train")
    for name, shape in lookup.param_shapes.items():
        many = lookup.initial_params(as_seed(4), lookup.sample(as_seed(1), 4000))[name]
        np.testing.assert_allclose(np.std(many), 1.2 / np.sqrt(shape[0]), rtol=0.03)
    first, second = (values_and_gradients(problem, params, task, batch) for problem in (lookup, one_hot))
    for one, two in zip(tf.nest.flatten(first), tf.nest.flatten(second), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)
