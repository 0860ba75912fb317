"""Meta-validation: before the first meta-step, and by an objective of its own."""

import csv

import pydantic
import pytest

from l2o_cli.meta.population import derive_seed
from l2o_cli.meta.run_tables import read_run
from l2o_cli.meta.trainer import _VALIDATION, Interrupted, Trainer
from l2o_cli.meta.validation import Validator, overall
from l2o_cli.reports.meta_training.validation import unit
from l2o_cli.spec import MetaTraining

SPEC = {
    "meta_steps": 6,
    "optimizer": {"name": "learned_rate"},
    "problems": [{"name": "quadratic", "options": {"dimension": 3}}],
    "families_per_step": 1,
    "instances": 2,
    "truncation": {"distribution": "constant", "maximum": 3},
    "horizon": {"distribution": "constant", "maximum": 9},
    "meta_optimizer": {"learning_rate": 0.1},
    "checkpoint_every": 4,
}
VALIDATION = {
    "problems": [{"name": "bowl"}, {"name": "quadratic", "options": {"dimension": 2}}],
    "every": 3,
    "steps": 10,
    "instances": 2,
    "start": True,
}


def spec(trained_on=None, **validation):
    return MetaTraining.model_validate(SPEC | {"validation": VALIDATION | validation, "objective": trained_on or {}})


def train(out, watch=lambda progress: None, stop_after=None, **options):
    trainer = Trainer.open(out=out, xla=False, **options)
    trainer.run(watch, lambda: trainer.state.meta_step == stop_after)
    return trainer


def rows(out):
    with (out / "validation.csv").open(newline="") as file:
        return [(int(row["meta_step"]), row["problem"], float(row["objective"])) for row in csv.DictReader(file)]


def start_score(trainer, objective):
    """The mean objective of the weights as they were drawn."""
    validation = trainer.spec.validation.model_copy(update={"objective": None})
    validator = Validator(validation, objective, trainer.optimizer, derive_seed(trainer.spec.seed, _VALIDATION), xla=False)
    return overall(validator.scores(trainer.optimizer.init_weights(0)))


def test_the_weights_at_the_start_are_validated_too(tmp_path):
    trainer = train(tmp_path / "run", spec=spec())
    found = rows(tmp_path / "run")
    assert [step for step, _, _ in found] == [0, 0, 3, 3, 6, 6]
    own = trainer.spec.objective
    assert sum(objective for _, _, objective in found[:2]) / 2 == pytest.approx(start_score(trainer, own), rel=1e-6)
    assert trainer.state.best_score < start_score(trainer, own)


def test_a_run_that_begins_again_has_no_row_twice(tmp_path):
    def fail(progress):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        train(tmp_path / "run", fail, spec=spec())
    assert [step for step, _, _ in rows(tmp_path / "run")] == [0, 0]
    train(tmp_path / "run", spec=None, resume=True)
    with pytest.raises(Interrupted):
        train(tmp_path / "stopped", spec=spec(), stop_after=4)
    train(tmp_path / "stopped", spec=None, resume=True)
    train(tmp_path / "whole", spec=spec())
    assert rows(tmp_path / "run") == rows(tmp_path / "stopped") == rows(tmp_path / "whole")


def test_a_run_may_go_back_to_its_start(tmp_path):
    changes = {"rollback": {"margin": 0.0, "patience": 1}, "every": 1}
    fast = SPEC["meta_optimizer"] | {"learning_rate": 20.0}  # the rate leaves every sensible range at once
    content = SPEC | {"meta_optimizer": fast, "ema": 0.0, "validation": VALIDATION | changes}
    trainer = train(tmp_path / "run", spec=MetaTraining.model_validate(content))
    assert trainer.state.rollbacks >= 1
    assert trainer.state.best_score < 0


@pytest.mark.parametrize("trained_on", [{"epsilon": 1e-3}, {"scale": "ratio"}, {"scale": "loss", "cap": 10}])
def test_an_objective_of_its_own_judges_whatever_is_trained_on(tmp_path, trained_on):
    trainer = train(tmp_path / "run", spec=spec(trained_on, objective={"scale": "ratio", "epsilon": 1e-3}))
    judge = trainer.spec.validation.objective
    start = sum(objective for _, _, objective in rows(tmp_path / "run")[:2]) / 2
    assert start == pytest.approx(start_score(trainer, judge), rel=1e-6)
    assert 0 < start <= 1
    assert unit(read_run(tmp_path / "run")) == "loss / initial loss"


def test_a_start_needs_problems():
    with pytest.raises(pydantic.ValidationError, match="start needs problems"):
        spec(problems=[])
