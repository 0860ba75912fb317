"""Transformations: what the optimizer sees of a problem, and what stays as it was."""

import numpy as np
import pytest
import tensorflow as tf
from l2o_problems.classifiers import RandomMlp
from l2o_problems.quadratics import Quadratic
from l2o_problems.random import as_seed, fold
from l2o_problems.transforms import (
    DelayedGradients,
    GradientNoise,
    LossTransform,
    NormalizedGradients,
    ParameterNoise,
    RandomSubspace,
    ReducedPrecision,
    Rescale,
    ScaledInputs,
    SmallerBatches,
    SparseGradients,
    SumOfProblems,
)
from l2o_problems.two_dimensional import Rosenbrock

from l2o_cli.carry import concatenate, repeat, select, start
from l2o_cli.errors import BadInput
from l2o_cli.optimizers.elementwise import Adam, Sgd
from l2o_cli.rollout import Rollout
from l2o_cli.spec.names import make_problem

MLP = RandomMlp(hidden=(5,), inputs=4, samples=40, batch_size=8)
SIZE = 5 * 4 + 5 + 5 * 2 + 2


def gradients_at(problem, params, task, batch):
    with tf.GradientTape() as tape:
        tape.watch(params)
        loss = problem.loss(params, task, batch)
    return loss, tape.gradient(loss, params)


def perturbed(problem, gradients, seed, task=None, memory=None):
    task = problem.sample(as_seed(1), next(iter(gradients.values())).shape[0]) if task is None else task
    memory = problem.initial_memory(task, gradients) if memory is None else memory
    return problem.perturb(as_seed(seed), task, gradients, memory)


def quadratic(prefix, x, task):
    return 0.5 * np.linalg.norm(task[f"{prefix}w"] @ x - task[f"{prefix}y"]) ** 2


# A problem, and its loss in numpy.
GRADIENTS = {
    "rescale": (
        Rescale(Rescale(Quadratic(5), per="parameter")),
        lambda params, task: quadratic("inner/inner/", params["x"] / task["scale/x"] / task["inner/scale/x"], task),
    ),
    "subspace": (
        RandomSubspace(Quadratic(9), dimension=4),
        lambda params, task: quadratic("inner/", task["start/x"] + params["z"] @ task["directions"], task),
    ),
    "log": (
        LossTransform(Quadratic(5)),
        lambda params, task: np.log(quadratic("inner/", params["x"], task) + 1e-6) - np.log(1e-6),
    ),
    "square_root": (
        LossTransform(Quadratic(5), function="square_root", epsilon=0.1),
        lambda params, task: np.sqrt(quadratic("inner/", params["x"], task) + 0.1) - np.sqrt(0.1),
    ),
    "square": (
        LossTransform(Quadratic(5), function="square"),
        lambda params, task: quadratic("inner/", params["x"], task) ** 2,
    ),
    "saturated": (
        LossTransform(Rescale(Quadratic(5), low=4.0, high=4.0), function="saturated"),
        lambda params, task: 1 - 1 / (1 + quadratic("inner/inner/", params["x"] / 4, task)),
    ),
    "sum": (
        SumOfProblems((Quadratic(3), LossTransform(Quadratic(4), function="square"))),
        lambda params, task: quadratic("0/", params["0/x"], task) + quadratic("1/inner/", params["1/x"], task) ** 2,
    ),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_losses_and_gradients_against_numpy(name, check_loss, check_gradient):
    problem, loss = GRADIENTS[name]
    for check in (check_loss, check_gradient):
        check(problem, lambda problem, params, task, batch: loss(params, task))


@pytest.mark.parametrize("per", ["global", "tensor", "parameter"])
def test_rescale_changes_the_coordinates_and_nothing_else(per):
    problem = Rescale(MLP, low=0.01, high=100.0, per=per)
    task = problem.sample(as_seed(1), 3)
    scale = {name: task[f"scale/{name}"] for name in MLP.param_shapes}
    inner_task = MLP.sample(fold(as_seed(1), 0), 3)
    params, inner_params = problem.initial_params(as_seed(2), task), MLP.initial_params(as_seed(2), inner_task)
    batch, inner_batch = problem.batch(as_seed(3), task, "train"), MLP.batch(as_seed(3), inner_task, "train")
    np.testing.assert_array_equal(batch["inputs"], inner_batch["inputs"])
    for name in params:
        np.testing.assert_allclose(params[name] / scale[name], inner_params[name], rtol=1e-5)
    loss, gradients = gradients_at(problem, params, task, batch)
    inner_loss, inner_gradients = gradients_at(MLP, inner_params, inner_task, inner_batch)
    np.testing.assert_allclose(loss, inner_loss, rtol=1e-5)
    for name in params:
        np.testing.assert_allclose(gradients[name], inner_gradients[name] / scale[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("per", "different"), [("global", 1), ("tensor", 4), ("parameter", SIZE)])
def test_how_many_scales_an_instance_has(per, different):
    task = Rescale(MLP, per=per).sample(as_seed(1), 2)
    scales = [np.concatenate([task[f"scale/{name}"][i].numpy().ravel() for name in MLP.param_shapes]) for i in (0, 1)]
    assert [len(np.unique(own)) for own in scales] == [different, different]
    assert not np.intersect1d(*scales).size


def test_scales_are_log_uniform_or_fixed():
    task = Rescale(Quadratic(3), low=0.001, high=1000.0).sample(as_seed(1), 20000)
    logs = np.log10(task["scale/x"].numpy().ravel())
    np.testing.assert_allclose(np.histogram(logs, bins=6, range=(-3, 3))[0] / 20000, 1 / 6, atol=0.01)
    fixed = Rescale(Quadratic(3), low=350.0, high=350.0).sample(as_seed(1), 4)
    np.testing.assert_allclose(fixed["scale/x"], 350.0, rtol=1e-5)


def test_noise_has_its_deviation_in_every_entry_and_a_mean_of_zero():
    problem = GradientNoise(Quadratic(20), deviation=0.5)
    task = problem.sample(as_seed(1), 500)
    gradients = {"x": tf.fill([500, 20], 3.0)}
    noise = np.stack([perturbed(problem, gradients, seed, task)[0]["x"].numpy() - 3 for seed in range(40)])
    np.testing.assert_allclose(noise.mean((0, 1)), 0, atol=0.015)
    np.testing.assert_allclose(noise.std((0, 1)), 0.5, rtol=0.03)
    flat = noise.reshape(40, -1)
    assert np.abs(np.corrcoef(flat) - np.eye(40)).max() < 0.05  # of other steps
    assert np.abs(np.corrcoef(noise.reshape(-1, 20).T) - np.eye(20)).max() < 0.05  # of other entries
    assert np.abs(np.corrcoef(noise[:, :8].transpose(1, 0, 2).reshape(8, -1)) - np.eye(8)).max() < 0.15  # of other instances
    np.testing.assert_array_equal(perturbed(problem, gradients, 1, task)[0]["x"] - 3, noise[1])


def test_noise_leaves_the_loss_alone_and_differs_between_tensors():
    problem = GradientNoise(MLP, deviation=1.0)
    noise, _ = perturbed(problem, {name: tf.zeros([2, *shape]) for name, shape in MLP.param_shapes.items()}, 2)
    assert {name: tuple(leaf.shape[1:]) for name, leaf in noise.items()} == dict(MLP.param_shapes)
    values = np.concatenate([leaf.numpy().ravel() for leaf in noise.values()])
    assert len(np.unique(values)) == len(values)
    task = problem.sample(as_seed(1), 2)
    params, batch = problem.initial_params(as_seed(2), task), problem.batch(as_seed(3), task, "train")
    inner = problem.inner_task(task)
    np.testing.assert_array_equal(problem.loss(params, task, batch), MLP.loss(params, inner, batch))


def test_noises_add_up_whatever_lies_between():
    problem = GradientNoise(Rescale(GradientNoise(Quadratic(20), deviation=3.0)), deviation=4.0)
    noise = perturbed(problem, {"x": tf.zeros([2000, 20])}, 1)[0]["x"].numpy()
    np.testing.assert_allclose(noise.std(), 5.0, rtol=0.02)


def test_sparse_gradients_keep_an_entry_as_often_as_they_say():
    problem = SparseGradients(Quadratic(50), probability=0.9)
    gradients = {"x": tf.random.stateless_normal([300, 50], [1, 2])}
    kept = []
    for seed in range(20):
        sparse = perturbed(problem, gradients, seed)[0]["x"].numpy()
        kept.append(sparse != 0)
        np.testing.assert_array_equal(sparse[kept[-1]], gradients["x"].numpy()[kept[-1]])
    np.testing.assert_allclose(np.mean(kept), 0.1, atol=0.003)
    np.testing.assert_allclose(np.mean(kept, axis=(0, 1)), 0.1, atol=0.02)
    assert not np.array_equal(kept[0], kept[1])


@pytest.mark.parametrize("size", [1.0, 1e-30, 1e30])
def test_normalized_gradients_have_norm_one_and_their_direction(size):
    gradients = {name: size * tf.random.stateless_normal([3, *shape], [1, 2]) for name, shape in MLP.param_shapes.items()}
    whole, _ = perturbed(NormalizedGradients(MLP), gradients, 1)
    parts, _ = perturbed(NormalizedGradients(MLP, per="tensor"), gradients, 1)
    for instance in range(3):
        flat = np.concatenate([whole[name][instance].numpy().ravel() for name in whole])
        given = np.concatenate([gradients[name][instance].numpy().ravel() for name in whole]).astype(np.float64)
        np.testing.assert_allclose(flat, given / np.linalg.norm(given), rtol=1e-5)
        for name, part in parts.items():
            own = gradients[name][instance].numpy().astype(np.float64)
            np.testing.assert_allclose(part[instance], own / np.linalg.norm(own), rtol=1e-5)


def test_a_gradient_of_zero_stays_zero_when_normalized():
    for per in ("global", "tensor"):
        zero, _ = perturbed(NormalizedGradients(Quadratic(4), per=per), {"x": tf.zeros([2, 4])}, 1)
        np.testing.assert_array_equal(zero["x"], np.zeros([2, 4]))


def test_delayed_gradients_are_those_of_some_steps_ago():
    problem = DelayedGradients(DelayedGradients(Quadratic(2), delay=1), delay=2)
    task = problem.sample(as_seed(1), 1)
    memory, seen = None, []
    for step in range(6):
        gradients, memory = perturbed(problem, {"x": tf.fill([1, 2], float(step))}, step, task, memory)
        seen.append(float(gradients["x"][0, 1]))
    assert seen == [0, 0, 0, 0, 1, 2]


def test_delayed_descent_against_numpy():
    problem = DelayedGradients(Quadratic(4), delay=3)
    weights = Sgd(learning_rate=0.01).init_weights(0)
    rollout = Rollout(problem, Sgd(), maximum=20)
    carry = rollout.start(weights, 5, 2)
    after, losses = rollout(weights, rollout(weights, carry, 6)[0], 14)
    for instance in range(2):
        w, y = (carry.task[f"inner/{name}"][instance].numpy().astype(np.float64) for name in ("w", "y"))
        points = [carry.params[instance].numpy().astype(np.float64)]
        for step in range(20):
            old = points[max(0, step - 3)]
            points.append(points[-1] - 0.01 * w.T @ (w @ old - y))
        np.testing.assert_allclose(after.params[instance], points[-1], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(losses[-1, instance], 0.5 * np.linalg.norm(w @ points[-2] - y) ** 2, rtol=1e-4)


def test_parameter_noise_is_in_proportion_to_the_step():
    problem = ParameterNoise(MLP, scale=0.2)
    task = problem.sample(as_seed(1), 400)
    before = problem.initial_params(as_seed(2), task)
    after = {name: values + 3.0 * (index + 1) for index, (name, values) in enumerate(before.items())}
    moved = problem.displace(as_seed(3), task, before, after)
    for index, name in enumerate(before):
        noise = (moved[name] - after[name]).numpy()
        np.testing.assert_allclose(noise.std(), 0.2 * 3.0 * (index + 1), rtol=0.05)
        np.testing.assert_allclose(noise.mean(), 0, atol=0.05 * (index + 1))
    still = problem.displace(as_seed(3), task, before, before)
    tf.nest.map_structure(np.testing.assert_array_equal, still, before)


def test_parameter_noise_reaches_the_rollout():
    weights = Sgd(learning_rate=0.01).init_weights(0)

    def end(problem, task):
        rollout = Rollout(problem, Sgd(), maximum=5)
        carry = rollout.start(weights, 1, 2)._replace(params=tf.ones([2, 3]))
        return rollout(weights, carry._replace(task=task), 5)[0].params.numpy()

    noisy, calm = ParameterNoise(Quadratic(3), scale=0.5), ParameterNoise(Quadratic(3), scale=0.0)
    task = calm.sample(as_seed(1), 2)
    assert not np.allclose(end(noisy, noisy.sample(as_seed(1), 2)), end(calm, task))
    np.testing.assert_allclose(end(calm, task), end(Quadratic(3), calm.inner_task(task)), rtol=1e-5)


class ExactSlopes(Quadratic):
    """Its gradient is y in the first coordinates and x in the last three: nothing that a compiler could round in its own way."""

    def loss(self, params, task, batch):
        x = params["x"]
        return tf.reduce_sum(x[:, :-3] * task["y"][:, :-3], 1) + tf.reduce_sum(x[:, -3:] ** 2, 1) / 2


@pytest.mark.parametrize("xla", [True, False])
@pytest.mark.parametrize("mantissa", [1, 7, 22])
def test_reduced_precision_rounds_params_and_gradients_to_nearest_even(mantissa, xla):
    problem, half = ReducedPrecision(ExactSlopes(9), mantissa=mantissa), 2.0 ** -(mantissa + 1)
    halfway = tf.constant([[1.0, 1 + half, 1 + 3 * half]] * 3)
    task = problem.sample(as_seed(1), 3)
    task["inner/y"] = tf.concat([halfway, task["inner/y"][:, 3:]], 1)
    params = {"x": tf.concat([problem.initial_params(as_seed(2), task)["x"][:, :6], -halfway], 1)}
    loss, gradients = tf.function(gradients_at, jit_compile=xla, autograph=False)(problem, params, task, {})

    def rounded(values):
        fraction, exponent = np.frexp(np.asarray(values, np.float64))
        return np.ldexp(np.round(fraction * 2 ** (mantissa + 1)) / 2 ** (mantissa + 1), exponent)

    x, y = rounded(params["x"]), task["inner/y"].numpy().astype(np.float64)
    terms = np.concatenate([x[:, :-3] * y[:, :-3], x[:, -3:] ** 2 / 2], 1)
    np.testing.assert_allclose(loss, terms.sum(1), rtol=0, atol=1e-6 * np.abs(terms).sum())
    np.testing.assert_array_equal(gradients["x"], np.concatenate([rounded(y[:, :-3]), x[:, -3:]], 1))


def test_reduced_precision_is_bfloat16_at_seven_bits():
    values = tf.random.stateless_normal([1, 1000], [1, 2]) * 100
    problem = ReducedPrecision(SumOfProblems((Quadratic(1000),)), mantissa=7)
    seen = []
    object.__setattr__(problem.inner, "loss", lambda params, task, batch: seen.append(params["0/x"]) or tf.zeros([1]))
    problem.loss({"0/x": values}, {}, {})
    np.testing.assert_array_equal(seen[0], tf.cast(tf.cast(values, tf.bfloat16), tf.float32))


def test_smaller_batches_are_the_first_rows_and_held_out_data_stay_whole():
    problem = SmallerBatches(Rescale(MLP), batch_size=3)
    task = problem.sample(as_seed(1), 2)
    inner_task = Rescale(MLP).sample(fold(as_seed(1), 0), 2)
    for split in ("train", "validation"):
        batch, whole = problem.batch(as_seed(2), task, split), Rescale(MLP).batch(as_seed(2), inner_task, split)
        assert batch.keys() == whole.keys() == {"inputs", "labels"}
        for name in batch:
            np.testing.assert_array_equal(batch[name], whole[name][:, :3] if split == "train" else whole[name])


def test_scaled_inputs_are_scaled_in_every_split_and_nothing_else_is():
    inner = SumOfProblems((Quadratic(3), Rescale(MLP)))
    problem = ScaledInputs(inner, factor=10.0)
    task = problem.sample(as_seed(1), 2)
    for split in ("train", "validation", "test"):
        batch, plain = problem.batch(as_seed(2), task, split), inner.batch(as_seed(2), problem.inner_task(task), split)
        np.testing.assert_array_equal(batch.pop("1/inputs"), 10 * plain.pop("1/inputs").numpy())
        tf.nest.map_structure(np.testing.assert_array_equal, batch, plain)


def test_scaling_inputs_is_scaling_the_first_kernel():
    """The loss against a network of the plain inputs whose first kernel is `factor` times as large."""
    for inner in (MLP, make_problem("digits_mlp", {"hidden": (4,), "batch_size": 6})):
        problem = ScaledInputs(inner, factor=0.1)
        task = problem.sample(as_seed(1), 2)
        params, plain = problem.initial_params(as_seed(2), task), problem.inner_task(task)
        other = {**params, "kernel0": params["kernel0"] * 0.1}
        for split in ("train", "validation"):
            expected = inner.loss(other, plain, inner.batch(as_seed(3), plain, split))
            np.testing.assert_allclose(problem.loss(params, task, problem.batch(as_seed(3), task, split)), expected, rtol=1e-5)


def test_the_problems_of_a_sum_in_a_subspace_disturb_all_of_it():
    parts = ParameterNoise(GradientNoise(Quadratic(3))), DelayedGradients(GradientNoise(Quadratic(2)), delay=1)
    problem = RandomSubspace(SumOfProblems(parts), dimension=4)
    task = problem.sample(as_seed(1), 300)
    memory = problem.initial_memory(task, problem.initial_params(as_seed(2), task))
    gradients = {"z": tf.ones([300, 4])}
    now, memory = problem.perturb(as_seed(3), task, gradients, memory)
    later, _ = problem.perturb(as_seed(4), task, gradients, memory)
    np.testing.assert_array_equal(later["z"], now["z"])  # a step late
    np.testing.assert_allclose(np.mean(later["z"]), 1, atol=0.1)
    np.testing.assert_allclose(np.std(later["z"]), np.sqrt(2) * GradientNoise(Quadratic(3)).deviation, rtol=0.1)
    after = problem.displace(as_seed(5), task, {"z": tf.zeros([300, 4])}, gradients)
    np.testing.assert_allclose(np.std(after["z"]), ParameterNoise(Quadratic(3)).scale, rtol=0.1)


def test_a_random_subspace_goes_through_the_start_along_unit_directions():
    problem = RandomSubspace(MLP, dimension=3)
    task = problem.sample(as_seed(1), 2)
    inner_task = problem.inner_task(task)
    params = problem.initial_params(as_seed(2), task)
    assert params["z"].shape == (2, 3) and not np.any(params["z"])
    np.testing.assert_allclose(np.linalg.norm(task["directions"], axis=-1), 1, rtol=1e-5)
    batch = problem.batch(as_seed(3), task, "train")
    at_start = {name: task[f"start/{name}"] for name in MLP.param_shapes}
    np.testing.assert_array_equal(problem.loss(params, task, batch), MLP.loss(at_start, inner_task, batch))
    z = np.array([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]], np.float32)
    flat = np.einsum("id,idp->ip", z, task["directions"])
    parts = np.split(flat, np.cumsum([np.prod(shape) for shape in MLP.param_shapes.values()])[:-1], axis=1)
    moved = {name: at_start[name] + part.reshape(at_start[name].shape) for name, part in zip(at_start, parts, strict=True)}
    np.testing.assert_allclose(problem.loss({"z": tf.constant(z)}, task, batch), MLP.loss(moved, inner_task, batch), rtol=1e-4)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("log", lambda loss: np.log(loss + 1e-6) - np.log(1e-6)),
        ("square_root", lambda loss: np.sqrt(loss + 1e-6) - 1e-3),
        ("square", np.square),
        ("saturated", lambda loss: loss / (1 + loss)),
    ],
)
def test_loss_transforms(function, expected):
    problem = LossTransform(Quadratic(5), function=function)
    task = problem.sample(as_seed(1), 4)
    params = problem.initial_params(as_seed(2), task)
    inner = Quadratic(5).loss(params, problem.inner_task(task), {}).numpy().astype(np.float64)
    np.testing.assert_allclose(problem.loss(params, task, {}), expected(inner), rtol=1e-4)
    assert problem.minimum == 0.0 and not np.any(problem.lower_bound(task))


class Sunk(Quadratic):
    """A quadratic whose least value is below zero, by 7."""

    def loss(self, params, task, batch):
        return super().loss(params, task, batch) - 7.0

    def lower_bound(self, task):
        return tf.fill([task["y"].shape[0]], -7.0)


def test_a_loss_transform_starts_at_the_lower_bound():
    problem, plain = LossTransform(Sunk(5)), LossTransform(Quadratic(5))
    task = problem.sample(as_seed(1), 4)
    params = problem.initial_params(as_seed(2), task)
    np.testing.assert_allclose(problem.loss(params, task, {}), plain.loss(params, task, {}), rtol=1e-4)


def test_a_sum_is_the_sum_of_its_parts_side_by_side():
    parts = (GradientNoise(Quadratic(3), deviation=2.0), Rosenbrock(), MLP, Sunk(2))
    problem = SumOfProblems(parts)
    task = problem.sample(as_seed(1), 2)
    params, batch = problem.initial_params(as_seed(2), task), problem.batch(as_seed(3), task, "train")
    assert list(problem.param_shapes) == ["0/x", "1/x", *(f"2/{name}" for name in MLP.param_shapes), "3/x"]
    assert problem.held_out and problem.minimum is None and SumOfProblems(parts[:2]).minimum == 0.0

    def own(index, leaves):
        return {name[2:]: leaf for name, leaf in leaves.items() if name.startswith(f"{index}/")}

    losses = [part.loss(own(i, params), own(i, task), own(i, batch)) for i, part in enumerate(parts)]
    np.testing.assert_allclose(problem.loss(params, task, batch), np.sum(losses, axis=0), rtol=1e-5)
    np.testing.assert_allclose(problem.lower_bound(task), [-7.0, -7.0])
    _, gradients = gradients_at(problem, params, task, batch)
    noisy, memory = problem.perturb(as_seed(4), task, gradients, problem.initial_memory(task, params))
    assert memory == {} and list(noisy) == list(params)
    assert not np.any(noisy["0/x"] == gradients["0/x"])
    for name in list(params)[1:]:
        np.testing.assert_array_equal(noisy[name], gradients[name])


def test_two_summands_alike_are_drawn_apart():
    problem = SumOfProblems((Quadratic(3), Quadratic(3)))
    task = problem.sample(as_seed(1), 2)
    params = problem.initial_params(as_seed(2), task)
    assert not np.array_equal(task["0/w"], task["1/w"]) and not np.array_equal(params["0/x"], params["1/x"])


def test_everything_else_is_the_inner_problem():
    inner = make_problem("mnist_conv")
    problem = GradientNoise(Rescale(inner))
    assert (problem.xla, problem.held_out, problem.minimum) == (False, True, None)
    assert problem.source == inner.source and problem.param_shapes == inner.param_shapes
    assert Rescale(Quadratic(2)).minimum == 0.0 and Rescale(Quadratic(2)).xla and not Rescale(Quadratic(2)).held_out


def test_a_nested_task_is_flat_and_goes_through_a_carry():
    problem = Rescale(DelayedGradients(Rescale(MLP, per="parameter"), delay=2), per="tensor")
    optimizer = Adam()
    weights = optimizer.init_weights(0)
    first, second = (start(problem, optimizer, weights, seed, 2) for seed in (1, 2))
    assert all(isinstance(leaf, tf.Tensor) and leaf.shape[0] == 2 for leaf in (first.task | first.memory).values())
    assert {"inner/inner/inner/inputs", "inner/inner/scale/kernel0", "scale/kernel0"} <= set(first.task)
    assert first.memory["queue"].shape == (2, 2, SIZE)
    mixed = select(tf.constant([True, False]), first, second)
    joined = repeat(concatenate([first, second]), 2)
    for name, leaf in first.task.items():
        np.testing.assert_array_equal(mixed.task[name], [leaf[0], second.task[name][1]])
        np.testing.assert_array_equal(joined.task[name][::2], tf.concat([leaf, second.task[name]], 0))


@pytest.mark.parametrize(
    ("make", "kind", "field"),
    [
        (lambda: Rescale("quadratic"), TypeError, "rescale"),
        (lambda: GradientNoise(None), TypeError, "gradient_noise"),
        (lambda: Rescale(MLP, low=0.0), ValueError, "low"),
        (lambda: Rescale(MLP, low=2.0, high=1.0), ValueError, "high"),
        (lambda: Rescale(MLP, per="layer"), ValueError, "per"),
        (lambda: Rescale(MLP, scale=2.0), TypeError, "scale"),
        (lambda: GradientNoise(MLP, deviation=-1.0), ValueError, "deviation"),
        (lambda: GradientNoise(MLP, deviation="1e-3"), ValueError, "deviation"),
        (lambda: SparseGradients(MLP, probability=1.1), ValueError, "probability"),
        (lambda: DelayedGradients(MLP, delay=0), ValueError, "delay"),
        (lambda: NormalizedGradients(MLP, per="parameter"), ValueError, "per"),
        (lambda: ParameterNoise(MLP, scale=-1.0), ValueError, "scale"),
        (lambda: ReducedPrecision(MLP, mantissa=23), ValueError, "mantissa"),
        (lambda: RandomSubspace(MLP, dimension=0), ValueError, "dimension"),
        (lambda: SmallerBatches(MLP, batch_size=9), ValueError, "batch_size"),
        (lambda: SmallerBatches(Quadratic(3), batch_size=2), ValueError, "batch_size"),
        (lambda: ScaledInputs(MLP, factor=0.0), ValueError, "factor"),
        (lambda: ScaledInputs(Rescale(Quadratic(3)), factor=2.0), ValueError, "no inputs"),
        (lambda: ScaledInputs(make_problem("digits_autoencoder")), ValueError, "no inputs"),
        (lambda: LossTransform(MLP, function="exp"), ValueError, "function"),
        (lambda: LossTransform(MLP, epsilon=0.0), ValueError, "epsilon"),
        (lambda: SumOfProblems(()), ValueError, "problems"),
        (lambda: SumOfProblems((MLP, "quadratic")), ValueError, "problems[1]"),
    ],
)
def test_wrong_options_are_named_in_one_line(make, kind, field):
    with pytest.raises(kind) as caught:
        make()
    assert field in str(caught.value) and "\n" not in str(caught.value)


def test_transformations_by_name_the_first_innermost():
    listed = [{"name": "rescale", "options": {"high": 20.0}}, {"name": "gradient_noise", "options": {"deviation": 2.0}}]
    assert make_problem("quadratic", {"dimension": 3}, listed) == GradientNoise(Rescale(Quadratic(3), high=20.0), deviation=2.0)


def test_a_sum_by_name():
    noisy = {"name": "rosenbrock", "transforms": [{"name": "gradient_noise"}]}
    made = make_problem("sum", {"problems": [{"name": "quadratic", "options": {"dimension": 3}}, noisy]})
    assert made == SumOfProblems((Quadratic(3), GradientNoise(Rosenbrock())))
    for wrong, complaint in (({"name": "quadratik"}, "problems.1: unknown problem"), ({"nam": "x"}, "problems.1: expected name")):
        with pytest.raises(BadInput, match=complaint):
            make_problem("sum", {"problems": [{"name": "quadratic"}, wrong]})
