import numpy as np
import pytest
import tensorflow as tf
from l2o_problems.quadratics import Quadratic

from l2o_cli.meta.estimators import ESTIMATORS
from l2o_cli.meta.objectives import MeasuredObjective
from l2o_cli.optimizers import Adam, Sgd
from l2o_cli.optimizers.imitation import DISTANCE, Imitating
from l2o_cli.rollout import Rollout
from l2o_cli.spec import Estimator, Objective

STEPS = 5


def run(student, teacher, steps=STEPS):
    optimizer = Imitating(student, teacher)
    weights = {name: tf.constant(value) for name, value in optimizer.init_weights(0).items()}
    rollout = Rollout(Quadratic(4), optimizer, maximum=steps, xla=False)
    start = rollout.start(weights, 0, 3)
    return start, *rollout(weights, start, steps)


def test_the_student_goes_its_own_way_beside_the_teacher():
    start, after, losses = run(Sgd(learning_rate=0.01), Adam(learning_rate=0.1))
    alone = Rollout(Quadratic(4), Sgd(), maximum=STEPS, xla=False)
    expected = alone({"learning_rate": tf.constant(0.01)}, start._replace(state={}), STEPS)
    np.testing.assert_allclose(losses, expected[1], rtol=1e-6)
    assert (after.state[DISTANCE].numpy() > 0.1).all()


def test_the_distance_of_one_step_by_hand():
    # Along the same line, three times as far: |s - t|^2 / |t|^2 = 4.
    _, after, _ = run(Sgd(learning_rate=0.03), Sgd(learning_rate=0.01), steps=1)
    np.testing.assert_allclose(after.state[DISTANCE], np.log(5.0), rtol=1e-4)


def test_equal_optimizers_are_no_distance_apart():
    _, after, _ = run(Adam(learning_rate=0.02), Adam(learning_rate=0.02))
    np.testing.assert_allclose(after.state[DISTANCE], 0.0, atol=1e-5)


def test_the_objective_counts_each_truncation_for_itself_and_leads_to_the_teacher():
    optimizer, problem = Imitating(Sgd(learning_rate=0.01), Sgd(learning_rate=0.03)), Quadratic(4)
    fields = {"terms": [{"weight": 0.0}], "imitation": {"teacher": "sgd", "weight": 2.0}}
    objective = MeasuredObjective(Objective.model_validate(fields), problem)
    estimate = ESTIMATORS["truncated_backpropagation"](problem, optimizer, objective, Estimator(), STEPS, xla=False)
    weights = {"learning_rate": tf.constant(0.01)}
    first = estimate(weights, estimate.start(weights, 0, 3), tf.constant(STEPS), 0)
    again = estimate(weights, first.particles, tf.constant(STEPS), 0)
    expected = 2.0 * np.log(1 + (0.02 / 0.03) ** 2)  # every step of the one is a third of the other's
    for result in (first, again):
        assert float(result.meta_loss) == pytest.approx(expected, rel=1e-4)
        assert float(result.gradient[0]) < 0
