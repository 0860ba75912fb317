"""The hierarchical RNN against a second implementation: numpy, one instance, one tensor after another, from the paper's text."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from l2o_cli.optimizers import features
from l2o_cli.optimizers.hierarchical_rnn import HierarchicalRNN
from l2o_cli.optimizers.packing import Layout
from tests.optimizers.convergence import meta_trained
from tests.optimizers.hrnn_reference import INSTANCES, LAYOUT, NumpyReference

VARIANTS = {
    "default": {},
    "parameter level alone": {"hidden": (5,)},
    "two levels": {"hidden": (5, 3)},
    "attention": {"attention": True},
    "two time scales": {"time_scales": 2},
    "no dynamic scaling": {"dynamic_scaling": False},
    "no products": {"grad_products": False},
    "no relative moments": {"relative_log_moments": False},
    "rate relative to the tensor": {"relative_rate": "tensor"},
    "no relative rate": {"relative_rate": "off"},
    "extreme and absolute rates": {"extreme_rate": True, "absolute_rate": True},
    "no shortcut": {"gradient_shortcut": False},
    "no normalization": {"normalize_direction": False, "attention": True},
    "no rate momentum": {"rate_momentum": False},
    "bounded change of rate": {"rate_change_limit": 0.3},
    "multiple scale decays": {"multiple_scale_decays": True},
    "raw second moments": {"scale_by_raw_moment": True},
    "zero initial states": {"learned_initial_state": False},
    "rates of tensors": {"rate_level": "tensor", "absolute_rate": True, "extreme_rate": True},
    "rates of both": {"rate_level": "both", "rate_change_limit": 0.3, "relative_rate": "tensor"},
    "momentum shortcut": {"momentum_shortcut": True, "attention": True},
    "tensor features": {"tensor_features": True, "rate_level": "tensor"},
    "run features": {"run_features": True, "steps": 4},
    "features of a run of unknown length": {"run_features": True, "tensor_features": True, "hidden": (4, 3, 2)},
}


def perturbed(optimizer, seed=0):
    """Initial weights with noise on each of them, so that no zero hides a term."""
    rng = np.random.default_rng(seed)
    weights = optimizer.init_weights(seed)
    return {name: (value + 0.1 * rng.standard_normal(np.shape(value))).astype(np.float32) for name, value in weights.items()}


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_update_equals_numpy(options):
    optimizer = HierarchicalRNN(**{"hidden": (5, 4, 3), **options})
    weights = perturbed(optimizer)
    state = optimizer.init_state(weights, LAYOUT, INSTANCES, seed=3)
    references = [NumpyReference(optimizer, weights, state, instance) for instance in range(INSTANCES)]
    rng = np.random.default_rng(1)
    params = rng.standard_normal((INSTANCES, LAYOUT.parameters)).astype(np.float32)
    expected = params.astype(np.float64)
    for step in range(6):
        gradients = rng.standard_normal(params.shape).astype(np.float32) * 10.0 ** (step - 3)
        gradients[0, 2] = 0.0 if step < 3 else gradients[0, 2]  # a parameter whose gradients begin late
        loss = np.array([2.0 - 0.3 * step, 1.0 + step], np.float32)
        params, state = optimizer.update(weights, state, params, gradients, loss, np.full(INSTANCES, step), LAYOUT)
        expected = np.stack([r.update(row, *of) for r, row, *of in zip(references, expected, gradients, loss, strict=True)])
        assert np.isfinite(params).all()  # two NaNs would count as equal
        np.testing.assert_allclose(params, expected, rtol=2e-4, atol=2e-5)
        for instance, reference in enumerate(references):
            for name, leaf in state.items():
                np.testing.assert_allclose(np.asarray(leaf)[:, instance].T, reference.s[name], rtol=2e-3, atol=2e-4, err_msg=name)


def test_attended_point_is_ahead_of_the_parameters():
    optimizer = HierarchicalRNN(hidden=(4, 3, 2), attention=True, initial_rate=(1e-2, 1e-2))
    weights = optimizer.init_weights(0)
    state = optimizer.init_state(weights, LAYOUT, 1, seed=0)
    old = np.zeros((1, LAYOUT.parameters), np.float32)
    gradients = np.random.default_rng(0).standard_normal(old.shape).astype(np.float32)
    new, state = optimizer.update(weights, state, old, gradients, np.ones(1, np.float32), np.zeros(1, np.int32), LAYOUT)
    point = optimizer.evaluation_point(weights, state, new, LAYOUT)
    # Attention and update directions start equal and c = -1: phi - theta_old is e times theta_new - theta_old.
    np.testing.assert_allclose(np.asarray(point) - old, np.e * (np.asarray(new) - old), rtol=1e-5, atol=1e-7)


def test_first_nonzero_gradient_is_scaled_to_one_at_any_size():
    optimizer = HierarchicalRNN()
    weights = optimizer.init_weights(0)
    for size, idle in itertools.product((0.1, 1.0, 1e6), (0, 5)):
        state = optimizer.init_state(weights, LAYOUT, 1, seed=0)
        params = np.zeros((1, LAYOUT.parameters), np.float32)
        for step in range(idle + 1):
            gradients = np.full(params.shape, size if step == idle else 0.0, np.float32)
            _, state = optimizer.update(weights, state, params, gradients, np.ones(1, np.float32), np.array([step]), LAYOUT)
        scaled = features.scaled(state["momenta"], state["squares"])
        np.testing.assert_allclose(scaled, np.arcsinh(1.0), rtol=1e-3)


def test_features_are_invariant_to_the_scale_of_the_loss():
    optimizer = HierarchicalRNN(hidden=(4, 3, 2))
    weights = perturbed(optimizer)
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((8, 1, LAYOUT.parameters)).astype(np.float32)

    def run(factor):
        state = optimizer.init_state(weights, LAYOUT, 1, seed=0)
        params = np.zeros((1, LAYOUT.parameters), np.float32)
        for step, gradient in enumerate(gradients):
            params, state = optimizer.update(
                weights, state, params, factor * gradient, np.ones(1, np.float32), np.array([step]), LAYOUT
            )
        return np.asarray(params)

    np.testing.assert_allclose(run(1000.0), run(1.0), rtol=1e-4, atol=1e-6)


def test_steps_are_invariant_to_the_scale_of_params_and_initial_rate_together():
    """Params in other units: c theta with gradients g / c and rates that begin at c times the others is the same run."""
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((8, 1, LAYOUT.parameters)).astype(np.float32)

    def run(unit):
        optimizer = HierarchicalRNN(hidden=(4, 3, 2), initial_rate=(1e-4 * unit, 1e-2 * unit))
        weights = perturbed(HierarchicalRNN(hidden=(4, 3, 2)))
        state = optimizer.init_state(weights, LAYOUT, 1, seed=0)
        params = np.full((1, LAYOUT.parameters), unit, np.float32)
        for step, gradient in enumerate(gradients):
            loss, age = np.ones(1, np.float32), np.array([step])
            params, state = optimizer.update(weights, state, params, gradient / unit, loss, age, LAYOUT)
        return np.asarray(params) / unit

    assert np.abs(run(1.0) - 1).max() > 1e-3
    for unit in (2.0**-7, 100.0):
        np.testing.assert_allclose(run(unit), run(1.0), rtol=1e-4, atol=1e-6)


def test_extreme_gradients_leave_everything_finite():
    """Of three sizes, an instance each."""
    optimizer = HierarchicalRNN(attention=True)
    weights = optimizer.init_weights(0)
    state = optimizer.init_state(weights, LAYOUT, 3, seed=0)
    params = np.zeros((3, LAYOUT.parameters), np.float32)
    gradients = np.repeat(np.float32([[0.0], [1e-30], [1e30]]), LAYOUT.parameters, axis=1)
    for step in range(20):
        params, state = optimizer.update(weights, state, params, gradients, np.ones(3, np.float32), np.full(3, step), LAYOUT)
    for leaf in (params, *state.values()):
        assert np.isfinite(np.asarray(leaf)).all()


def test_initial_rates_lie_in_their_range_and_differ_between_tensors():
    low, high = 1e-5, 1e-1
    optimizer = HierarchicalRNN(initial_rate=(low, high))
    layout = Layout.of({"a": (500,), "b": (500,)})
    state = optimizer.init_state(optimizer.init_weights(0), layout, 40, seed=0)
    rates = np.exp(state["log_rate"][0])
    assert rates.min() >= low * 0.999 and rates.max() <= high * 1.001
    means = state["log_rate"][0].reshape(40, 2, 500).mean(-1)
    # Half of the range is the tensor's: a uniform variable of that width has this deviation.
    assert np.std(means) == pytest.approx(np.log(high / low) / 2 / np.sqrt(12), rel=0.2)
    within = state["log_rate"][0].reshape(40, 2, 500).std(-1)
    np.testing.assert_allclose(within, np.log(high / low) / 2 / np.sqrt(12), rtol=0.1)


def test_step_length_is_clipped_with_a_straight_through_gradient():
    from l2o_cli.optimizers.log_rates import clipped as clip

    values = tf.constant([-50.0, 0.5, 50.0])
    with tf.GradientTape() as tape:
        tape.watch(values)
        clipped = clip(values)
    np.testing.assert_allclose(clipped, [-33.0, 0.5, 33.0], rtol=1e-6)
    np.testing.assert_array_equal(tape.gradient(clipped, values), [1.0, 1.0, 1.0])


def test_compiled_update_equals_eager():
    optimizer = HierarchicalRNN(attention=True)
    weights = perturbed(optimizer)
    state = optimizer.init_state(weights, LAYOUT, INSTANCES, seed=3)
    rng = np.random.default_rng(1)
    params, gradients = (rng.standard_normal((INSTANCES, LAYOUT.parameters)).astype(np.float32) for _ in range(2))
    arguments = (weights, state, params, gradients, np.ones(INSTANCES, np.float32), np.array([0, 3]))
    eager = optimizer.update(*arguments, LAYOUT)
    compiled = tf.function(lambda *a: optimizer.update(*a, LAYOUT), jit_compile=True, autograph=False)(*arguments)
    assert all(np.isfinite(leaf).all() for leaf in tf.nest.flatten(compiled))
    tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), eager, compiled)


@pytest.mark.parametrize(
    "options",
    [{"hidden": ()}, {"hidden": (1, 2, 3, 4)}, {"time_scales": 0}, {"initial_rate": (1e-2, 1e-3)}, {"rate_change_limit": 0.0}],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        HierarchicalRNN(**options)


@pytest.mark.slow
def test_meta_training_makes_it_a_hundred_times_better():
    assert meta_trained("hrnn", meta_steps=600, minutes=2.0, learning_rate=3e-3).ratio < 0.01


def test_rates_of_tensors_are_not_compared_within_tensors():
    with pytest.raises(ValueError, match="relative_rate: tensor compares the rates within a tensor"):
        HierarchicalRNN(rate_level="tensor", relative_rate="tensor")
