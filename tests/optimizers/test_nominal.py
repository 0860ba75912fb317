"""The nominal term beside a learned correction, against float64 numpy."""

from itertools import pairwise

import numpy as np
import pytest
import tensorflow as tf

from l2o_cli.optimizers.elementwise import Adam
from l2o_cli.optimizers.hierarchical_rnn import HierarchicalRNN
from l2o_cli.optimizers.learned_hyperparameters import LearnedRate
from l2o_cli.optimizers.packing import Layout
from l2o_cli.optimizers.transforms.nominal import Nominal
from l2o_cli.rollout import compiled_update
from l2o_cli.spec import MetaTraining
from l2o_cli.spec.building import make_optimizer
from tests.optimizers.convergence import meta_trained

LAYOUT = Layout.of({"kernel": (3, 2), "bias": (4,), "scale": ()})
INSTANCES, STEPS = 3, 5
HRNN = HierarchicalRNN(hidden=(4, 3))
VARIANTS = {
    "adam": Nominal(LearnedRate(0.1), initial_rate=0.05, initial_gain=0.5),
    "momentum": Nominal(LearnedRate(0.1), "momentum", (0.5, 0.9), precondition="normalized", initial_rate=0.05),
    "one mean": Nominal(LearnedRate(0.1), decays=(0.9,), square_decay=0.99, precondition="none", initial_gain=1.0),
}


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS)
def optimizer(request):
    return request.param


def given_gradients():
    return np.random.default_rng(5).standard_normal((STEPS, INSTANCES, LAYOUT.parameters)).astype(np.float32)


def follow(optimizer, weights, update=None, gradients=None):
    """Params after each of the given gradients, [STEPS, I, P], and the state."""
    update = update or optimizer.update
    state = {name: tf.convert_to_tensor(leaf) for name, leaf in optimizer.init_state(weights, LAYOUT, INSTANCES, 0).items()}
    params, path = tf.ones([INSTANCES, LAYOUT.parameters]), []
    for step, gradient in enumerate(given_gradients() if gradients is None else gradients):
        steps = tf.fill([INSTANCES], step)
        params, state = update(weights, state, params, tf.constant(gradient), tf.ones([INSTANCES]), steps, LAYOUT)
        path.append(params)
    return tf.stack(path), state


def moved(optimizer):
    """Weights that are not the initial ones."""
    rng = np.random.default_rng(1)
    initial = optimizer.init_weights(0)
    return {name: np.float32(value + 0.3 * rng.standard_normal(np.shape(value))) for name, value in initial.items()}


def by_tensor(values):
    """The root mean square over its tensor at each parameter, [I, P]."""
    edges = np.cumsum([0, *LAYOUT.sizes])
    roots = [np.sqrt(np.mean(values[:, a:b] ** 2, axis=1, keepdims=True)) for a, b in pairwise(edges)]
    return np.concatenate([np.repeat(root, size, axis=1) for root, size in zip(roots, LAYOUT.sizes, strict=True)], axis=1)


def expected(optimizer, weights):
    """The formulas of the docstring, around gradient descent."""
    weights = {name: np.float64(value) for name, value in weights.items()}
    exponentials = np.exp(weights["nominal/mixture"][:, 0, 0])
    shares = exponentials / exponentials.sum()
    params, path = np.ones((INSTANCES, LAYOUT.parameters)), []
    history = []
    for gradient in given_gradients().astype(np.float64):
        history.insert(0, gradient)

        def mean(values, decay):
            powers = decay ** np.arange(len(values))
            return np.tensordot(powers / powers.sum(), values, 1)

        square = mean([entry**2 for entry in history], optimizer.square_decay)
        nominal = sum(share * mean(history, decay) for share, decay in zip(shares, optimizer.decays, strict=True))
        if optimizer.kind == "adam":
            nominal = nominal / (np.sqrt(square) + 1e-7)
        correction = -np.exp(weights["log_rate"]) * gradient
        if optimizer.precondition == "root_square":
            correction = correction / np.sqrt(square + 1e-6)
        elif optimizer.precondition == "normalized":
            correction = correction / by_tensor(correction)
        rate, gain = np.exp(weights["nominal/log_rate"]), np.exp(weights["nominal/log_gain"])
        params = params - rate * nominal + gain * correction
        path.append(params)
    return np.stack(path)


def test_update_equals_the_formula(optimizer):
    weights = moved(optimizer)
    path, _ = follow(optimizer, weights)
    np.testing.assert_allclose(path, expected(optimizer, weights), rtol=2e-5, atol=1e-6)


def test_without_a_correction_it_is_adam():
    optimizer = Nominal(HRNN, decays=(0.9,), initial_gain=1e-30)
    path, _ = follow(optimizer, optimizer.init_weights(0))
    adam, _ = follow(Adam(), Adam().init_weights(0))
    np.testing.assert_allclose(path, adam, rtol=1e-6)


def test_with_a_gain_of_one_and_hardly_a_nominal_term_it_is_the_inner_optimizer():
    optimizer = Nominal(HRNN, precondition="none", initial_rate=1e-30, initial_gain=1.0)
    weights = optimizer.init_weights(0)
    path, state = follow(optimizer, weights)
    alone, inner = follow(HRNN, HRNN.init_weights(0))
    np.testing.assert_allclose(path, alone, rtol=1e-6)
    for name, leaf in inner.items():
        np.testing.assert_allclose(state[name], leaf, rtol=1e-4, atol=1e-6)
    assert set(state) - set(inner) == {"nominal/means", "nominal/square"}


def test_compiled_equals_eager(optimizer):
    weights = moved(optimizer)
    eager, _ = follow(optimizer, weights)
    compiled, _ = follow(optimizer, weights, compiled_update(optimizer))
    np.testing.assert_allclose(compiled, eager, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-8, 1e30])
@pytest.mark.parametrize("precondition", ["root_square", "normalized", "none"])
@pytest.mark.parametrize("inner", [LearnedRate(), HRNN], ids=["rate", "hrnn"])
def test_extreme_gradients_leave_steps_and_meta_gradients_finite(inner, precondition, size):
    optimizer = Nominal(inner, precondition=precondition)
    weights = {name: tf.constant(value) for name, value in moved(optimizer).items()}
    with tf.GradientTape() as tape:
        tape.watch(weights)
        path, state = follow(optimizer, weights, gradients=size * given_gradients()[:3])
        total = tf.reduce_sum(tf.math.asinh(path))
    slopes = tape.gradient(total, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    for name, leaf in {"path": path, **state, **{f"slope {name}": leaf for name, leaf in slopes.items()}}.items():
        assert np.isfinite(leaf).all(), name


def test_a_spec_has_it_as_a_transformation_with_weights_of_its_own():
    content = {
        "optimizer": {
            "name": "hrnn",
            "options": {"hidden": [4]},
            "transforms": [{"name": "nominal", "options": {"precondition": "none", "decays": [0.9]}}],
        },
        "problems": [{"name": "quadratic"}],
        "meta_optimizer": {"stages": [{"trainable": ["nominal/*"]}]},
    }
    optimizer = MetaTraining.model_validate(content).optimizer.make()
    assert optimizer == Nominal(HierarchicalRNN(hidden=(4,)), precondition="none", decays=(0.9,))
    assert optimizer.learned
    assert {name for name in optimizer.init_weights(0) if name.startswith("nominal/")} == {
        "nominal/log_rate",
        "nominal/log_gain",
        "nominal/mixture",
    }


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Nominal(Adam()), "'adam' is not learned"),
        (lambda: Nominal(HierarchicalRNN(attention=True)), "'hrnn' takes them elsewhere"),
        (lambda: Nominal(HRNN, decays=()), "decays must have at least one entry"),
        (lambda: Nominal(HRNN, decays=(0.9, 1.0)), "decays must be less than 1, not 1.0"),
        (lambda: Nominal(HRNN, square_decay=-0.1), "square_decay must be"),
        (lambda: Nominal(HRNN, initial_rate=0.0), "initial_rate must be more than 0"),
        (lambda: Nominal(HRNN, initial_gain=-1.0), "initial_gain must be"),
    ],
)
def test_wrong_options_are_named(make, complaint):
    with pytest.raises(ValueError, match=complaint):
        make()


def test_it_is_found_by_name():
    inner = make_optimizer("learned_rate")
    assert make_optimizer("learned_rate", transforms=[{"name": "nominal"}]) == Nominal(inner)


@pytest.mark.slow
def test_a_few_meta_steps_make_it_better():
    settings = {"dimension": 4, "steps": 40, "meta_steps": 20, "learning_rate": 0.3, "xla": False, "instances": 8, "ema": 0.5}
    result = meta_trained("learned_rate", None, [{"name": "nominal", "options": {"initial_rate": 0.003}}], **settings)
    assert result.ratio < 0.5, result


@pytest.mark.slow
def test_meta_training_makes_losses_a_hundred_times_smaller():
    around = [{"name": "nominal", "options": {"precondition": "none"}}]
    result = meta_trained("hrnn", {"hidden": [8]}, around, learning_rate=0.03, meta_steps=400, minutes=2)
    assert result.ratio < 0.01, result
