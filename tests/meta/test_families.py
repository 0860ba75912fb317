"""A family is asked by one message that can be sent, and answers with another."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from l2o_cli.meta.families import Families
from l2o_cli.spec import MetaTraining

SPEC = MetaTraining.model_validate(
    {
        "optimizer": {"name": "learned_rate"},
        "problems": [{"name": "quadratic", "options": {"dimension": 3}}, {"name": "rosenbrock"}],
        "estimator": {"name": "pes"},
        "families_per_step": 2,
        "instances": 3,
        "truncation": {"distribution": "uniform", "minimum": 2, "maximum": 4},
        "horizon": {"distribution": "uniform", "minimum": 3, "maximum": 12},
    }
)


def families():
    return Families(SPEC, SPEC.optimizer.make(), seed=1, perturbation_seed=2, xla=False)


def requests_at(asked, weights, meta_step):
    return asked.requests(np.random.default_rng(meta_step), weights, meta_step)


def assert_same(first, second):
    assert first[0].dtype == second[0].dtype == np.float32
    np.testing.assert_array_equal(first[0], second[0])
    assert replace(first[1], compile_seconds=0) == replace(second[1], compile_seconds=0)


@pytest.mark.parametrize("meta_step", [0, 2])
def test_a_request_that_was_sent_has_the_same_answer_elsewhere(meta_step):
    """Another `Families` in the same state, as another process has it, knows nothing but the message."""
    here, elsewhere = families(), families()
    weights = {name: np.asarray(value) for name, value in SPEC.optimizer.make().init_weights(0).items()}
    for step in range(meta_step):
        requests = requests_at(here, weights, step)
        gradient = sum(here.estimate(request)[0].sum() for request in requests)
        weights = {name: value + np.float32(1e-3 * np.sign(gradient)) for name, value in weights.items()}
        here.advance([request.family for request in requests], weights, step + 1)
    elsewhere.restore(here.snapshot(meta_step))
    for request in requests_at(here, weights, meta_step):
        sent = pickle.loads(pickle.dumps(request))
        answer = here.estimate(request)
        assert_same(answer, pickle.loads(pickle.dumps(elsewhere.estimate(sent))))
        assert_same(answer, here.estimate(request))  # asked again before it goes on
        gradient, record = answer
        assert np.any(gradient) and set(map(type, record.horizons)) <= {int}
        assert len(record.horizons) == record.replaced + (0 if meta_step else SPEC.instances)
