"""Going back to the best weights, and ending when time is up."""

import csv
import math
import time

import numpy as np
import pytest
import tensorflow as tf

from l2o_cli.export.artifact import load_artifact
from l2o_cli.meta.meta_optimizer import WeightsInTraining
from l2o_cli.meta.state import State
from l2o_cli.meta.trainer import Interrupted, Trainer
from l2o_cli.spec import MetaOptimizer, MetaTraining, Rollback

SPEC = {
    "meta_steps": 10,
    "optimizer": {"name": "hrnn", "options": {"hidden": [2], "initial_rate": [0.01, 0.1]}},
    "estimator": {"name": "es"},
    "problems": [{"name": "quadratic", "options": {"dimension": 3}}],
    "instances": 3,
    "truncation": {"distribution": "constant", "maximum": 4},
    "horizon": {"distribution": "constant", "maximum": 12},
    "meta_optimizer": {"learning_rate": 0.3},  # far too high: validation gets worse soon
    "ema": 0.5,
    "validation": {
        "problems": [{"name": "quadratic", "options": {"dimension": 4}}],
        "every": 1,
        "steps": 5,
        "instances": 2,
        "rollback": {"margin": 0.0, "patience": 2},
    },
}


def as_arrays(leaves):
    return {name: np.array(leaf) for name, leaf in leaves.items()}


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name, leaf in first.items():
        np.testing.assert_array_equal(leaf, second[name], err_msg=name)


class NoFamilies:
    """Stands for those of a run."""

    restarts = 0

    def restore(self, leaves):
        assert not leaves
        self.restarts += 1

    def capture(self, meta_step):
        return dict


def test_the_state_of_the_best_validation_comes_back():
    weights = WeightsInTraining(MetaOptimizer(learning_rate=0.1), 0.9, {"a": np.ones((2, 3), np.float32), "b": np.zeros(2, "f")})
    state = State(weights, NoFamilies(), Rollback(margin=0.5, patience=2))
    rng = np.random.default_rng(0)
    least, kept, went_back = math.inf, {}, []
    # Bad is above 1.5; a row of bad ones is broken by one that is not, and by going back.
    for step, score in enumerate([2.0, 1.0, 1.6, 1.5, 1.6, math.nan, 1.6, 1.6, 1.4, 0.9]):
        weights.apply(tf.constant(rng.standard_normal((1, 8)), tf.float32), 0.1, step)
        if score < least:
            kept = as_arrays(weights.snapshot())
        best, rolled_back = state.judge(score)
        went_back.append(rolled_back)
        assert best == (score < least) and state.best_score == min(least, score)
        least = state.best_score
        if rolled_back:
            assert_same(as_arrays(weights.snapshot()), kept)
        else:
            assert np.any(as_arrays(weights.snapshot())["weights/a"] != kept["weights/a"]) or score == least
    assert went_back == [False, False, False, False, False, True, False, True, False, False]
    assert state.rollbacks == state.families.restarts == 2


def test_without_a_spec_nothing_is_kept():
    state = State(WeightsInTraining(MetaOptimizer(), 0.9, {"a": np.ones(2, np.float32)}), NoFamilies(), None)
    assert [state.judge(score) for score in (-1.0, 9.0, 9.0, 9.0, 9.0)] == [(True, False)] + 4 * [(False, False)]
    assert not any(name.startswith("rollback/") for name in state.capture()())


def test_a_spec_that_never_validates_cannot_roll_back():
    with pytest.raises(ValueError, match="rollback needs problems"):
        MetaTraining.model_validate(SPEC | {"validation": {"rollback": {}}})


class Watch:
    """Keeps when a run went back, and its weights when validation was best."""

    def __init__(self, trainer):
        self.trainer, self.best, self.rolled_back = trainer, {}, []

    def __call__(self, record):
        state = self.trainer.state
        weights = as_arrays(state.weights.snapshot())
        if record.validation.best:
            self.best = weights
        if record.validation.rolled_back:
            self.rolled_back.append(record.validation.meta_step)
            assert_same(weights, self.best)
            assert all(population.snapshot(state.meta_step) == {} for population in state.families.populations)


def final(trainer):
    return as_arrays({name: leaf for name, leaf in trainer.state.capture()().items() if name != "progress"})


def test_a_run_goes_back_and_a_resumed_one_does_the_same(tmp_path):
    trainer = Trainer.open(MetaTraining.model_validate(SPEC), tmp_path / "whole", xla=False)
    watch = Watch(trainer)
    trainer.run(watch)
    assert watch.rolled_back
    with (tmp_path / "whole" / "validation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["meta_step"]) for row in rows if row["rolled_back"] == "1"] == watch.rolled_back
    assert int(trainer.state.capture()()["rollback/counts"][1]) == len(watch.rolled_back)

    # Stopped between two bad validations.
    stop_at = watch.rolled_back[0] - 1
    again = Trainer.open(MetaTraining.model_validate(SPEC), tmp_path / "parts", xla=False)
    with pytest.raises(Interrupted):
        again.run(lambda progress: None, lambda: again.state.meta_step == stop_at)
    last = Trainer.open(None, tmp_path / "parts", resume=True, xla=False)
    last.run(lambda progress: None)
    assert_same(final(trainer), final(last))


def test_when_time_is_up_the_weights_so_far_are_written(tmp_path):
    changes = {"meta_steps": 3, "optimizer": {"name": "learned_rate"}, "validation": SPEC["validation"] | {"every": 2}}
    spec = MetaTraining.model_validate(SPEC | changes)
    trainer = Trainer.open(spec, tmp_path / "run", xla=False)
    trainer.run(lambda progress: None, until=time.monotonic())
    card = load_artifact(tmp_path / "run" / "artifact")
    told = card.card["meta_training"]
    assert (told["complete"], told["meta_steps"], told["meta_steps_planned"]) == (False, 1, 3)
    # Nothing was validated yet: the average as it is, not as it was at the start.
    assert_same(card.weights, as_arrays(trainer.state.weights.average))
    assert "best_validation_objective" not in told and "best_validation_objective" not in trainer.summary()

    again = Trainer.open(None, tmp_path / "run", resume=True, xla=False)
    assert again.state.meta_step == 1
    again.run(lambda progress: None, until=time.monotonic() + 1000)
    told = load_artifact(tmp_path / "run" / "artifact").card["meta_training"]
    assert (told["complete"], told["meta_steps"]) == (True, 3) and "best_validation_objective" in told
