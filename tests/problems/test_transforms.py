"""Transformations: what the optimizer sees of a problem, and what stays as it was."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_cli.optimizers.adam import Adam
from l2o_cli.rollout import concatenate, repeat, select, start
from l2o_cli.spec import make_problem
from problems.classifiers import RandomMlp
from problems.images import MnistConv
from problems.quadratics import Quadratic
from problems.random import as_seed, fold
from problems.transforms import GradientNoise, Rescale

MLP = RandomMlp(hidden=(5,), inputs=4, samples=40, batch_size=8)


def gradients_at(problem, params, task, batch):
    with tf.GradientTape() as tape:
        tape.watch(params)
        loss = problem.loss(params, task, batch)
    return loss, tape.gradient(loss, params)


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
        np.testing.assert_allclose(params[name] * scale[name], inner_params[name], rtol=1e-5)
    loss, gradients = gradients_at(problem, params, task, batch)
    inner_loss, inner_gradients = gradients_at(MLP, inner_params, inner_task, inner_batch)
    np.testing.assert_allclose(loss, inner_loss, rtol=1e-5)
    for name in params:
        np.testing.assert_allclose(gradients[name], inner_gradients[name] * scale[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("per", "different"), [("global", 1), ("tensor", 4), ("parameter", 5 * 4 + 5 + 5 * 2 + 2)])
def test_how_many_scales_an_instance_has(per, different):
    task = Rescale(MLP, per=per).sample(as_seed(1), 2)
    scales = [np.concatenate([task[f"scale/{name}"][i].numpy().ravel() for name in MLP.param_shapes]) for i in (0, 1)]
    assert [len(np.unique(own)) for own in scales] == [different, different]
    assert not np.intersect1d(*scales).size


def test_scales_are_log_uniform():
    task = Rescale(Quadratic(3), low=0.001, high=1000.0).sample(as_seed(1), 20000)
    logs = np.log10(task["scale/x"].numpy().ravel())
    np.testing.assert_allclose(np.histogram(logs, bins=6, range=(-3, 3))[0] / 20000, 1 / 6, atol=0.01)


def test_noise_has_its_deviation_in_every_entry_and_a_mean_of_zero():
    problem = GradientNoise(Quadratic(20), deviation=0.5)
    gradients = {"x": tf.fill([500, 20], 3.0)}
    noise = np.stack([problem.perturb(as_seed(seed), gradients)["x"].numpy() - 3 for seed in range(40)])
    np.testing.assert_allclose(noise.mean((0, 1)), 0, atol=0.015)
    np.testing.assert_allclose(noise.std((0, 1)), 0.5, rtol=0.03)
    flat = noise.reshape(40, -1)
    assert np.abs(np.corrcoef(flat) - np.eye(40)).max() < 0.05  # of other steps
    assert np.abs(np.corrcoef(noise.reshape(-1, 20).T) - np.eye(20)).max() < 0.05  # of other entries
    np.testing.assert_array_equal(problem.perturb(as_seed(1), gradients)["x"] - 3, noise[1])


def test_noise_leaves_the_loss_alone_and_differs_between_tensors():
    problem = GradientNoise(MLP, deviation=1.0)
    zeros = {name: tf.zeros([2, *shape]) for name, shape in MLP.param_shapes.items()}
    noise = problem.perturb(as_seed(1), zeros)
    assert {name: tuple(leaf.shape[1:]) for name, leaf in noise.items()} == dict(MLP.param_shapes)
    values = np.concatenate([leaf.numpy().ravel() for leaf in noise.values()])
    assert len(np.unique(values)) == len(values)
    task = MLP.sample(as_seed(1), 2)
    params, batch = MLP.initial_params(as_seed(2), task), MLP.batch(as_seed(3), task, "train")
    np.testing.assert_array_equal(problem.loss(params, task, batch), MLP.loss(params, task, batch))


def test_noises_add_up_whatever_lies_between():
    problem = GradientNoise(Rescale(GradientNoise(Quadratic(20), deviation=3.0)), deviation=4.0)
    noise = problem.perturb(as_seed(1), {"x": tf.zeros([2000, 20])})["x"].numpy()
    np.testing.assert_allclose(noise.std(), 5.0, rtol=0.02)


def test_everything_else_is_the_inner_problem():
    problem = GradientNoise(Rescale(MnistConv()))
    inner = MnistConv()
    assert (problem.xla, problem.held_out, problem.minimum) == (False, True, None)
    assert problem.source == inner.source and problem.param_shapes == inner.param_shapes
    assert Rescale(Quadratic(2)).minimum == 0.0 and Rescale(Quadratic(2)).xla and not Rescale(Quadratic(2)).held_out


def test_a_nested_task_is_flat_and_goes_through_a_carry():
    problem = Rescale(GradientNoise(Rescale(MLP, per="parameter")), per="tensor")
    optimizer = Adam()
    weights = optimizer.init_weights(0)
    first, second = (start(problem, optimizer, weights, seed, 2) for seed in (1, 2))
    assert all(isinstance(leaf, tf.Tensor) and leaf.shape[0] == 2 for leaf in first.task.values())
    assert {"inner/inner/inputs", "inner/scale/kernel0", "scale/kernel0"} <= set(first.task)
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
    ],
)
def test_wrong_options_are_named_in_one_line(make, kind, field):
    with pytest.raises(kind) as caught:
        make()
    assert field in str(caught.value) and "\n" not in str(caught.value)


def test_transformations_by_name_the_first_innermost():
    listed = [{"name": "rescale", "options": {"high": 20.0}}, {"name": "gradient_noise", "options": {"deviation": 2.0}}]
    assert make_problem("quadratic", {"dimension": 3}, listed) == GradientNoise(Rescale(Quadratic(3), high=20.0), deviation=2.0)
