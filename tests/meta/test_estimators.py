import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf
from l2o_problems.quadratics import Quadratic
from l2o_problems.two_dimensional import Rosenbrock

from l2o_cli.carry import start
from l2o_cli.meta.estimators import ESTIMATORS
from l2o_cli.meta.meta_gradient import global_norm
from l2o_cli.meta.objectives import MeasuredObjective
from l2o_cli.meta.truncation import packed, unpacked
from l2o_cli.optimizers import Sgd
from l2o_cli.optimizers.hierarchical_rnn import HierarchicalRNN
from l2o_cli.rollout import Rollout
from l2o_cli.spec import Estimator, Objective

STEPS = 6


def setting(problem, hidden=(2,), **options):
    """An optimizer with large steps, so that the objective depends visibly on every weight, and a carry at the start."""
    optimizer = HierarchicalRNN(hidden=hidden, initial_rate=(3e-2, 1e-1), **options)
    rng = np.random.default_rng(0)
    weights = {
        name: tf.constant(value + 0.2 * rng.standard_normal(np.shape(value)), tf.float32)
        for name, value in optimizer.init_weights(0).items()
    }
    return optimizer, weights, start(problem, optimizer, weights, 0, 3)


def estimator(problem, optimizer, maximum=STEPS, objective=None, xla=False, **options):
    """Without XLA: quick to build, and what it compiles to is compared with it below."""
    spec = Estimator(**options)
    measured = MeasuredObjective(objective or Objective(), problem)
    return ESTIMATORS[spec.name](problem, optimizer, measured, spec, maximum, xla)


def directional(estimate, weights, particles, direction, size):
    """Central difference of the meta-loss along `direction`."""

    def meta_loss(sign):
        moved = {name: value + sign * size * direction[name] for name, value in weights.items()}
        return float(estimate(moved, particles, tf.constant(STEPS), 0).meta_loss)

    return (meta_loss(1.0) - meta_loss(-1.0)) / (2 * size)


# Of each two of the three settings every combination is among the quick ones.
QUICK = {("quadratic", False, False), ("quadratic", True, True), ("rosenbrock", False, True), ("rosenbrock", True, False)}
SETTINGS = [
    pytest.param(
        problem,
        attention,
        carried,
        marks=[] if (problem.name, attention, carried) in QUICK else pytest.mark.slow,
        id=f"{problem.name}-{'attention' if attention else 'plain'}-from {'a carried state' if carried else 'the start'}",
    )
    for problem, attention, carried in itertools.product([Quadratic(4), Rosenbrock()], [False, True], [False, True])
]


@pytest.mark.parametrize(("problem", "attention", "carried"), SETTINGS)
def test_meta_gradient_equals_finite_differences(problem, attention, carried):
    optimizer, weights, carry = setting(problem, hidden=(3, 3, 2), attention=attention)
    if carried:
        carry, _ = Rollout(problem, optimizer, maximum=4, xla=False)(weights, carry, 4)
    estimate = estimator(problem, optimizer, maximum=STEPS + 2)
    particles = estimate.start(weights, 0, 3)._replace(carries=(carry,))
    gradient = unpacked(estimate(weights, particles, tf.constant(STEPS), 0).gradient, estimate.layout)
    rng = np.random.default_rng(1)
    for _ in range(4):
        direction = {name: rng.standard_normal(value.shape).astype(np.float32) for name, value in weights.items()}
        expected = directional(estimate, weights, particles, direction, 2e-3)
        actual = sum(float(tf.reduce_sum(gradient[name] * direction[name])) for name in weights)
        scale = float(global_norm(packed(gradient, estimate.layout)))
        assert actual == pytest.approx(expected, rel=0.03, abs=0.02 * scale)


def test_learned_initial_states_receive_a_gradient_only_at_the_start():
    problem = Quadratic(4)
    optimizer, weights, _ = setting(problem)
    estimate = estimator(problem, optimizer)
    result = estimate(weights, estimate.start(weights, 0, 3), tf.constant(STEPS), 0)
    gradient = unpacked(result.gradient, estimate.layout)
    assert float(tf.norm(gradient["parameter/initial"])) > 0
    later = unpacked(estimate(weights, result.particles, tf.constant(STEPS), 0).gradient, estimate.layout)
    assert float(tf.norm(later["parameter/initial"])) == 0
    assert float(tf.norm(later["parameter/input"])) > 0


def test_second_derivatives_matter_and_can_be_left_out():
    problem = Quadratic(4)
    optimizer, weights, _ = setting(problem)
    results = []
    for second in (True, False):
        estimate = estimator(problem, optimizer, second_derivatives=second)
        results.append(estimate(weights, estimate.start(weights, 0, 3), tf.constant(STEPS), 0))
    full, first_order = results
    assert float(full.meta_loss) == pytest.approx(float(first_order.meta_loss), rel=1e-6)
    # Directions are normalized, so only their turning tells of second derivatives: little, but far above rounding.
    readouts = [unpacked(result.gradient, estimate.layout)["readout"] for result in results]
    assert not np.allclose(*readouts, rtol=1e-3, atol=0)


@pytest.mark.parametrize("options", [{}, {"name": "pes"}], ids=["truncated_backpropagation", "pes"])
def test_compiled_equals_eager_graph(options):
    problem = Quadratic(4)
    optimizer, weights, _ = setting(problem, hidden=(3, 2))
    results = []
    for xla in (True, False):
        estimate = estimator(problem, optimizer, xla=xla, **options)
        results.append(estimate(weights, estimate.start(weights, 0, 3), tf.constant(STEPS), 7))
    compiled, plain = results
    assert float(compiled.meta_loss) == pytest.approx(float(plain.meta_loss), rel=1e-4)
    # A difference of two objectives, divided by sigma, has their rounding magnified.
    tolerance = 1e-3 if not options else 2e-2
    np.testing.assert_allclose(compiled.gradient, plain.gradient, atol=tolerance * float(plain.norm))


def test_run_time_length_equals_a_smaller_bound():
    problem = Quadratic(4)
    optimizer, weights, _ = setting(problem)
    results = []
    for maximum in (STEPS + 9, STEPS):
        estimate = estimator(problem, optimizer, maximum)
        results.append(estimate(weights, estimate.start(weights, 0, 3), tf.constant(STEPS), 0))
    long, exact = results
    np.testing.assert_allclose(long.meta_loss, exact.meta_loss, rtol=1e-5)
    np.testing.assert_allclose(long.gradient, exact.gradient, rtol=1e-4, atol=1e-6 * float(exact.norm))


@dataclasses.dataclass(frozen=True)
class Cliff(Quadratic):
    """A quadratic whose instance 0 has infinite loss, and infinite gradients, from its first step on."""

    def sample(self, seed, instances):
        task = super().sample(seed, instances)
        return task | {"wall": tf.constant([0.0] + [1.0] * (instances - 1))}

    def loss(self, params, task, batch):
        return super().loss(params, task, batch) / task["wall"]


def test_an_instance_that_diverges_is_counted_and_leaves_the_gradient_finite():
    problem = Cliff(4)
    optimizer, weights, _ = setting(problem)
    estimate = estimator(problem, optimizer)
    result = estimate(weights, estimate.start(weights, 0, 3), tf.constant(STEPS), 0)
    (carry,) = result.particles.carries
    assert result.diverged == 1
    assert carry.diverged.numpy().tolist() == [0, -1, -1]
    assert carry.step.numpy().tolist() == [0, STEPS, STEPS]
    assert np.isfinite(float(result.meta_loss)) and np.isfinite(float(result.norm))
    # The first step of the instance is the only one that meets the wall; what it makes of the gradient is reported, not hidden.
    assert np.isfinite(result.gradient).all()
    afterwards = estimate(weights, result.particles, tf.constant(STEPS), 0)
    assert int(afterwards.nonfinite) == 0 and float(afterwards.norm) > 0


def test_outside_xla_the_bits_do_not_depend_on_how_threads_run():
    problem = Rosenbrock()
    optimizer, weights, _ = setting(problem, hidden=(3, 3, 2))
    estimate = estimator(problem, optimizer)
    particles = estimate.start(weights, 0, 4)
    gradients = {estimate(weights, particles, tf.constant(STEPS), 0).gradient.numpy().tobytes() for _ in range(150)}
    assert len(gradients) == 1


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_estimators_are_functions_of_their_seed_and_count_what_diverges(name):
    problem = Cliff(4)
    optimizer, weights, _ = setting(problem)
    estimate = estimator(problem, optimizer, name=name)
    particles = estimate.start(weights, 0, 3)
    first, again, other = (estimate(weights, particles, tf.constant(STEPS), seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.gradient, again.gradient)
    tf.nest.map_structure(np.testing.assert_array_equal, first.particles, again.particles)
    assert np.array_equal(first.gradient, other.gradient) == (name == "truncated_backpropagation")
    assert first.diverged == 1
    assert np.isfinite(first.gradient).all() and float(first.norm) > 0
    scalars = {key for key in first.diagnostics if "/" not in key}
    assert scalars == set(estimate.diagnostics)


# An instance of f(x) = x^2 / 2 from x = 1 under gradient descent: x_t = (1 - rate)^t, whatever the problem's seed.
RATE, HORIZON = 0.2, 12


@dataclasses.dataclass(frozen=True)
class Parabola(Quadratic):
    @property
    def param_shapes(self):
        return {"x": (1,)}

    def initial_params(self, seed, task):
        return {"x": tf.ones([task["w"].shape[0], 1])}

    def loss(self, params, task, batch):
        return tf.square(params["x"][:, 0]) / 2


def descent(first, rates):
    """The mean loss over the steps from `first` on that are made with `rates`, from where x is after `first` steps at RATE."""
    x, losses = (1 - RATE) ** first, []
    for rate in rates:
        losses.append(x**2 / 2)
        x = x * (1 - rate)
    return np.mean(losses)


def slope(function, at, size=1e-5):
    return (function(at + size) - function(at - size)) / (2 * size)


def smoothed(function, at, sigma):
    """E function(at + sigma n), n ~ N(0, 1): Gauss-Hermite quadrature, exact for polynomials of this degree."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(30)
    return sum(weight * function(at + sigma * node) for node, weight in zip(nodes, weights, strict=True)) / np.sum(weights)


def sampled(name, sigma=0.05, truncation=HORIZON, repeats=40, instances=100, **options):
    """The mean meta-gradient of the rate over a run in truncations, and its standard error; samples [repeats]."""
    problem, optimizer = Parabola(1), Sgd(learning_rate=RATE)
    objective = Objective.model_validate({"scale": "loss"})
    estimate = estimator(problem, optimizer, truncation, objective, name=name, sigma=sigma, divergence=None, **options)
    weights = {"learning_rate": tf.constant(RATE)}
    samples = []
    for repeat in range(repeats):
        particles, parts = estimate.start(weights, 0, instances), []
        for part in range(HORIZON // truncation):
            result = estimate(weights, particles, tf.constant(truncation), 1000 * repeat + part)
            particles = result.particles
            parts.append(float(result.gradient[0]))
        samples.append(np.mean(parts))
    return np.mean(samples), np.std(samples, ddof=1) / np.sqrt(repeats), np.array(samples)


def whole(rate):
    return descent(0, [rate] * HORIZON)


@pytest.mark.parametrize("name", ["es", "full_es", "reparameterization", "combined"])
def test_mean_over_seeds_is_the_closed_form_of_the_smoothed_gradient(name):
    sigma = 0.05
    expected = slope(lambda rate: smoothed(whole, rate, sigma), RATE)
    mean, error, _ = sampled(name, sigma)
    assert abs(mean - expected) < 3 * error
    assert error < 0.2 * abs(expected)  # or the line above says nothing


@pytest.mark.parametrize("options", [{"shared": True, "pairs": 8}, {"difference": "sign"}, {"difference": "normalized"}])
def test_variants_of_es_point_the_same_way(options):
    mean, error, _ = sampled("es", repeats=30, instances=20, **options)
    assert mean < -5 * error  # a higher rate is better


def test_truncated_backpropagation_is_exact_over_the_whole_horizon():
    mean, error, _ = sampled("truncated_backpropagation", repeats=2, instances=2)
    assert error < 1e-6
    assert mean == pytest.approx(slope(whole, RATE), rel=1e-4)


def test_persistent_es_is_unbiased_under_truncation_where_others_are_not():
    sigma, truncation = 0.02, 3
    exact = slope(whole, RATE)
    parts = [
        slope(lambda rate, first=first: descent(first, [rate] * truncation), RATE) for first in range(0, HORIZON, truncation)
    ]
    biased = np.mean(parts)  # what is left of the derivative when the carried states are taken as given
    assert abs(biased - exact) > 0.3 * abs(exact)
    mean, error, _ = sampled("pes", sigma, truncation)
    assert abs(mean - exact) < 3 * error and error < 0.1 * abs(exact)
    mean, error, _ = sampled("truncated_backpropagation", sigma, truncation, repeats=2, instances=2)
    assert mean == pytest.approx(biased, rel=1e-3)


def test_persistent_es_carries_both_halves_and_adds_up_perturbations():
    problem = Quadratic(4)
    optimizer, weights, _ = setting(problem)
    estimate = estimator(problem, optimizer, name="pes")
    once = estimate(weights, estimate.start(weights, 0, 3), tf.constant(STEPS), 1)
    twice = estimate(weights, once.particles, tf.constant(STEPS), 2)
    plus, minus = twice.particles.carries
    assert not np.allclose(plus.params, minus.params)
    alone = estimate(weights, estimate.start(weights, 0, 3), tf.constant(STEPS), 2)
    np.testing.assert_allclose(twice.particles.drift, once.particles.drift + alone.particles.drift, rtol=1e-6)
