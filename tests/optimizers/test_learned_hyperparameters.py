"""Learned optimizers that are hand-designed ones with meta-trained hyperparameters."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from l2o_problems.quadratics import Bowl

from l2o_cli.meta.trainer import Trainer
from l2o_cli.optimizers.elementwise import Adam, Sgd
from l2o_cli.optimizers.learned_hyperparameters import LearnedAdam, LearnedRate, LearnedSchedule
from l2o_cli.optimizers.packing import Layout
from l2o_cli.rollout import Rollout, compiled_update
from l2o_cli.spec import MetaTraining
from tests.optimizers.convergence import meta_trained

LAYOUT = Layout.of({"kernel": (3, 2), "bias": ()})
INSTANCES, STEPS = 3, 6
LEARNED = {
    "rate": LearnedRate(initial_rate=0.03),
    "adam": LearnedAdam(initial_rate=0.02, initial_beta_1=0.8, initial_beta_2=0.99, initial_epsilon=1e-4),
    "schedule of adam": LearnedSchedule(knots=3, last_step=4, initial_rate=0.02),
    "schedule of sgd": LearnedSchedule(rule="sgd", knots=4, last_step=9),
}


@pytest.fixture(params=LEARNED.values(), ids=LEARNED)
def optimizer(request):
    return request.param


def given_gradients():
    rng = np.random.default_rng(5)
    return rng.standard_normal((STEPS, INSTANCES, LAYOUT.parameters)).astype(np.float32)


def follow(optimizer, weights, update=None, gradients=None):
    """Params after each of the given gradients, [STEPS, I, P], and the state."""
    update = update or optimizer.update
    state = {name: tf.constant(leaf) for name, leaf in optimizer.init_state(weights, LAYOUT, INSTANCES, 0).items()}
    params, path = tf.ones([INSTANCES, LAYOUT.parameters]), []
    for step, gradient in enumerate(given_gradients() if gradients is None else gradients):
        params, state = update(
            weights, state, params, tf.constant(gradient), tf.zeros([INSTANCES]), tf.fill([INSTANCES], step), LAYOUT
        )
        path.append(params)
    return tf.stack(path), state


def moved(optimizer):
    """Weights that are not the initial ones."""
    rng = np.random.default_rng(1)
    initial = optimizer.init_weights(0)
    return {name: np.float32(value + 0.3 * rng.standard_normal(np.shape(value))) for name, value in initial.items()}


def expected_sgd(rates):
    params, path = np.ones((INSTANCES, LAYOUT.parameters)), []
    for gradient, rate in zip(given_gradients().astype(np.float64), rates, strict=True):
        params = params - rate * gradient
        path.append(params)
    return np.stack(path)


def expected_adam(rates, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    params, path = np.ones((INSTANCES, LAYOUT.parameters)), []
    mean = square = np.zeros_like(params)
    for count, (gradient, rate) in enumerate(zip(given_gradients().astype(np.float64), rates, strict=True), 1):
        mean, square = beta_1 * mean + (1 - beta_1) * gradient, beta_2 * square + (1 - beta_2) * gradient**2
        unbiased = np.sqrt(1 - beta_2**count) / (1 - beta_1**count)
        params = params - rate * unbiased * mean / (np.sqrt(square) + epsilon)
        path.append(params)
    return np.stack(path)


def sigmoid(value):
    return 1 / (1 + np.exp(-np.float64(value)))


def test_a_learned_rate_is_that_of_gradient_descent():
    weights = moved(LearnedRate(initial_rate=0.03))
    path, _ = follow(LearnedRate(), weights)
    assert np.exp(weights["log_rate"]) != pytest.approx(0.03, rel=0.01)
    np.testing.assert_allclose(path, expected_sgd([np.exp(np.float64(weights["log_rate"]))] * STEPS), rtol=1e-5)


def test_learned_adam_is_adam_with_the_hyperparameters_that_its_weights_say():
    weights = moved(LearnedAdam())
    rate, epsilon = np.exp(np.float64(weights["log_rate"])), np.exp(np.float64(weights["log_epsilon"]))
    expected = expected_adam([rate] * STEPS, sigmoid(weights["logit_beta_1"]), sigmoid(weights["logit_beta_2"]), epsilon)
    path, _ = follow(LearnedAdam(), weights)
    np.testing.assert_allclose(path, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("learned", "same"),
    [
        (LEARNED["rate"], Sgd(0.03)),
        (LEARNED["adam"], Adam(0.02, 0.8, 0.99, 1e-4)),
        (LEARNED["schedule of adam"], Adam(0.02)),
        (LEARNED["schedule of sgd"], Sgd(0.001)),
    ],
)
def test_before_meta_training_they_are_the_hand_designed_ones(learned, same):
    path, _ = follow(learned, learned.init_weights(0))
    expected, _ = follow(same, same.init_weights(0))
    np.testing.assert_allclose(path, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["schedule of adam", "schedule of sgd"])
def test_the_schedule_is_linear_between_knots_on_a_logarithmic_axis(name):
    optimizer = LEARNED[name]
    weights = moved(optimizer)
    knots = np.linspace(0, np.log1p(optimizer.last_step), optimizer.knots)
    rates = np.exp(np.interp(np.log1p(np.arange(STEPS)), knots, weights["log_rates"][:, 0, 0].astype(np.float64)))
    path, _ = follow(optimizer, weights)
    expected = {"adam": expected_adam, "sgd": expected_sgd}[optimizer.rule](rates)
    np.testing.assert_allclose(path, expected, rtol=1e-5)
    far = np.array(optimizer.rate(weights, tf.constant([optimizer.last_step, 10**6])))
    np.testing.assert_allclose(far, np.exp(weights["log_rates"][-1, 0, 0]), rtol=1e-5)


def test_compiled_equals_eager(optimizer):
    weights = moved(optimizer)
    eager, _ = follow(optimizer, weights)
    compiled, _ = follow(optimizer, weights, compiled_update(optimizer))
    np.testing.assert_allclose(compiled, eager, rtol=1e-5)


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-8, 1e30])
def test_extreme_gradients_leave_steps_and_meta_gradients_finite(optimizer, size):
    weights = {name: tf.constant(value) for name, value in moved(optimizer).items()}
    with tf.GradientTape() as tape:
        tape.watch(weights)
        path, state = follow(optimizer, weights, gradients=size * given_gradients())
        total = tf.reduce_sum(tf.math.asinh(path))
    slopes = tape.gradient(total, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    for name, leaf in {"path": path, **state, **slopes}.items():
        assert np.isfinite(leaf).all(), name


@pytest.mark.parametrize("logit", [-100.0, 100.0])
def test_decays_close_to_their_bounds_are_no_trouble(logit):
    weights = {**LearnedAdam().init_weights(0), "logit_beta_1": np.float32(logit), "logit_beta_2": np.float32(logit)}
    path, _ = follow(LearnedAdam(), weights)
    assert np.isfinite(path).all()
    assert np.abs(path - 1).max() < 0.02  # a step is about as long as the rate, 0.001


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: LearnedRate(0.0), "initial_rate must be more than 0, not 0.0"),
        (lambda: LearnedAdam(initial_beta_2=1.0), "initial_beta_2 must be less than 1, not 1.0"),
        (lambda: LearnedAdam(initial_epsilon=-1.0), "initial_epsilon must be more than 0"),
        (lambda: LearnedSchedule(knots=1), "knots must be at least 2, not 1"),
        (lambda: LearnedSchedule(last_step=0), "last_step must be at least 1"),
        (lambda: LearnedSchedule(rule="rmsprop"), "rule must be one of adam, sgd, not 'rmsprop'"),
    ],
)
def test_wrong_options_are_named(make, complaint):
    with pytest.raises(ValueError, match=complaint):
        make()


BOWL = {
    "optimizer": {"name": "learned_rate"},
    "problems": [{"name": "bowl", "options": {"condition": 2.0}}],
    "families_per_step": 1,
    "instances": 8,
    "truncation": {"distribution": "constant", "maximum": 10},
    "horizon": {"distribution": "constant", "maximum": 20},
    "meta_optimizer": {"learning_rate": 0.1, "clip_norm": 1.0},
    "ema": 0.5,
}


@pytest.mark.slow
def test_a_rate_is_learned_that_is_good_for_a_bowl():
    """With curvatures 1 and 2 the best rate is 2/3, which multiplies errors by 1/3; from 0.001 that is 6.5 away in log_rate."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer.open(MetaTraining.model_validate(BOWL | {"meta_steps": 100}), Path(folder) / "run", xla=False)
        trainer.run(lambda progress: None)
    assert 0.4 < np.exp(trainer.state.best["log_rate"]) < 0.9
    rollout = Rollout(Bowl(condition=2.0), trainer.optimizer, maximum=20, xla=False)
    trained, untrained = (
        np.mean(rollout(weights, rollout.start(weights, 7, 32), 20)[1][-1])
        for weights in (trainer.state.best, trainer.optimizer.init_weights(0))
    )
    assert trained < untrained / 100


@pytest.mark.slow
@pytest.mark.parametrize("name", ["learned_adam", "learned_schedule"])
def test_meta_training_makes_losses_a_hundred_times_smaller(name):
    result = meta_trained(name, learning_rate=0.05, meta_steps=200, minutes=2)
    assert result.ratio < 0.01, result
