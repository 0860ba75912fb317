"""Reading curves.csv: the scores of the runs that wrote it, and files that are not as they should be."""

from __future__ import annotations

import math

import numpy as np
import pytest

from l2o_cli.errors import BadInput
from l2o_cli.evaluation.results import CURVE_COLUMNS, Entry, curve_rows, write_csv
from l2o_cli.evaluation.runs.records import Run
from l2o_cli.evaluation.scoring.curves import read_curves
from l2o_cli.evaluation.scoring.scores import score, summarize
from tests.evaluation.made_curves import made

NAN = math.nan


def make_run(losses, every, **fields):
    losses = np.array(losses, np.float32)
    records = -(-len(losses) // every) + 1
    fields = {"problem": "p", "optimizer": "o", "seed": 0, "validation": None, "diverged_at": None, **fields}
    return Run(trial=3, hyperparameters={}, every=every, losses=losses, seconds=np.linspace(0, 2, records), **fields)


def written(folder, runs):
    entries = [Entry(summarize([run]), [run], learned=False) for run in runs]
    write_csv(folder / "curves.csv", CURVE_COLUMNS, curve_rows(entries))
    return read_curves(folder)


def test_losses_are_those_of_the_runs(tmp_path):
    rng = np.random.default_rng(0)
    runs = [
        make_run(rng.lognormal(size=400), 4, validation=rng.lognormal(size=101)),
        make_run(rng.lognormal(size=400), 50, optimizer='a "quoted", name', seed=7),
        make_run([*rng.lognormal(size=30), *[NAN] * 370], 4, problem="q", diverged_at=30, validation=np.full(101, NAN)),
    ]
    curves = written(tmp_path, runs)
    for run, curve in zip(runs, curves, strict=True):
        scores = score(run)
        assert (curve.problem, curve.optimizer, curve.trial, curve.seed) == (run.problem, run.optimizer, 3, run.seed)
        assert curve.diverged == (run.diverged_at is not None)
        assert curve.final_loss("train") == pytest.approx(scores.final_train_loss, rel=1e-6)
        held_out = scores.final_validation_loss
        assert curve.final_loss("validation") == (None if held_out is None else pytest.approx(held_out, rel=1e-6))
        np.testing.assert_array_equal(curve.steps, run.record_steps)
    assert curves[2].last_finite_step == 28 and curves[0].last_finite_step == 400
    assert curves[1].final_loss("test") is None
    logs = np.log(runs[0].losses.astype(float).reshape(100, 4).mean(axis=1))
    assert curves[0].mean_log("train") == pytest.approx(logs.mean(), rel=1e-6)
    assert curves[0].mean_log("validation") == pytest.approx(np.log(runs[0].validation[1:]).mean(), rel=1e-6)
    assert curves[2].mean_log("train") == math.inf and curves[1].mean_log("validation") is None


def test_the_tail_takes_a_part_of_a_window(tmp_path):
    # 5 % of 500 steps are 25: two windows of 10 and half of the one before.
    curve = made([9, *[1.0] * 47, 2, 3, 4], every=10)
    assert curve.final_loss("train") == pytest.approx((5 * 2 + 10 * 3 + 10 * 4) / 25)


def test_the_loss_within_a_time(tmp_path):
    curve = made([9, 4, 3, 2, 1], every=10, pace=0.1, validation=[9, 8, 7, 6, 5])
    assert [curve.record_within(seconds) for seconds in (0, 0.9, 1, 2.5, 99)] == [0, 0, 1, 2, 4]
    assert [curve.final_loss("train", record) for record in (0, 2, 4)] == [9, 3, 1]
    assert curve.final_loss("validation", 2) == 7
    assert made([9, 4, NAN], validation=[1, 2, NAN]).final_loss("validation", 1) == math.inf


HEADER = ",".join(name for name in CURVE_COLUMNS if name != "test_loss")  # which need not be there


def test_a_column_for_test_losses_is_read(tmp_path):
    (tmp_path / "curves.csv").write_text(f"{HEADER},test_loss\np,o,0,0,0,0,1,,nan\np,o,0,0,5,1,0.5,,0.25\n")
    [curve] = read_curves(tmp_path)
    assert curve.final_loss("test") == 0.25 and curve.final_loss("validation") is None and curve.mean_log("test") is not None


@pytest.mark.parametrize(
    "text, message",
    [
        ("problem,optimizer\n", "lacks the column 'trial'"),
        ("", "lacks the column 'problem'"),
        (HEADER + "\n", "holds no runs"),
        (f"{HEADER}\np,o,0,0,0,0,1,\np,o,0,0,5,x,1,\n", "line 3: seconds 'x' is no number"),
        (f"{HEADER}\np,o,0,0,0,0,1\n", "line 2: 7 cells, expected 8"),
        (f"{HEADER}\np,o,0,0,0,0,1,\np,o,0,0,0,1,1,\n", "line 2: the steps of a run ascend"),
        (f"{HEADER}\np,o,0,0,0,0,1,\n", "line 2: the steps of a run ascend"),
        (f"{HEADER}\np,o,0,0,0,0,1,\np,o,0,0,5,nan,1,\n", "its seconds do not descend"),
        (f"{HEADER}\np,o,0,0,0,0,,\np,o,0,0,5,1,,\n", "train_loss is empty"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path, text, message):
    (tmp_path / "curves.csv").write_text(text)
    with pytest.raises(BadInput, match=message) as error:
        read_curves(tmp_path)
    assert str(tmp_path / "curves.csv") in str(error.value)


def test_no_file_is_said(tmp_path):
    with pytest.raises(BadInput, match=r"curves\.csv: cannot be read: No such file"):
        read_curves(tmp_path)
