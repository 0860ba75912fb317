"""Reading curves.csv: the scores of the runs that wrote it, and files that are not as they should be."""

from __future__ import annotations

import math

import numpy as np
import pytest

from l2o_cli.comparison.results import CURVE_COLUMNS, Entry, curve_rows, write_csv
from l2o_cli.errors import BadInput
from l2o_cli.runs.records import Run
from l2o_cli.scoring.curves import of_equal_length, read_curves
from l2o_cli.scoring.run_scores import score, summarize
from tests.scoring.made_curves import made

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
        make_run(rng.lognormal(size=500), 10, seed=1, validation=np.append(rng.lognormal(size=50), np.inf)),
        make_run(rng.lognormal(size=403), 7, seed=2),
        make_run(rng.lognormal(size=40), 4, seed=9, diverged_at=39),
    ]
    curves = written(tmp_path, runs)
    for run, curve in zip(runs, curves, strict=True):
        scores = score(run)
        assert (curve.problem, curve.optimizer, curve.trial, curve.seed) == (run.problem, run.optimizer, 3, run.seed)
        assert curve.diverged == (run.diverged_at is not None)
        assert (
            curve.final_loss("train") == scores["final_train_loss"] and curve.mean_log("train") == scores["mean_log_train_loss"]
        )
        assert curve.final_loss("validation") == scores["final_validation_loss"]
        np.testing.assert_array_equal(curve.steps, run.mean_losses(run.every)[0])
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


def test_runs_of_other_lengths_are_cut_to_a_common_one_and_that_is_said():
    short, long = made([9.0, *[2.0] * 30], every=10), made([9.0, *[3.0] * 30, *[1.0] * 70], optimizer="b", every=10)
    ended = made([9.0, 5.0, NAN], optimizer="c", every=10)  # diverged, and nothing was written after that
    late = made([9.0, *[3.0] * 50, *[NAN] * 50], optimizer="d", every=10)
    other = made([9.0, 1.0], problem="q")
    curves, said = of_equal_length([short, long, ended, late, other])
    assert said == ["p: runs of 300 and 1,000 steps are scored by their first 300 steps"]
    assert [curve.steps[-1] for curve in curves] == [300, 300, 20, 300, 10]
    assert [curve.final_loss("train") for curve in curves] == [2, 3, math.inf, 3, 1]
    assert of_equal_length([short, short]) == ([short, short], [])
    # Windows of 7 and of 10 steps end together at 70 and at 140.
    sevens = made([9.0, *[2.0] * 20], every=7)
    curves, said = of_equal_length([sevens, made([9.0, *[2.0] * 20], optimizer="b", every=10)])
    assert {int(curve.steps[-1]) for curve in curves} == {140}
    assert said[1] == "p: losses are means over windows of 7 and 10 steps"
    with pytest.raises(BadInput, match="the runs on 'p' have no step after the first at which all of them have a record"):
        of_equal_length([made([9.0, 2.0], every=7), made([9.0, 2.0, 1.0], optimizer="b", every=10)])


def test_a_test_loss_is_that_of_the_whole_run():
    one = made([9.0, 3.0, 1.0])
    one.losses["test"] = np.array([NAN, NAN, 0.5])
    assert one.final_loss("test") == 0.5 and one.until(10).final_loss("test") is None


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


def test_a_table_is_read_as_spreadsheets_leave_it(tmp_path):
    """A byte order mark, \r\n, quoted fields, empty lines, and whole numbers as floats."""
    rows = ['"p","o, ""x""",0.0,0.0,0,0,"1",', "", '"p","o, ""x""",0,0,5.0,1,0.5,', "", " "]
    (tmp_path / "curves.csv").write_bytes("\r\n".join(["\ufeff" + HEADER, *rows]).encode())
    [curve] = read_curves(tmp_path)
    assert (curve.problem, curve.optimizer, curve.trial, curve.seed) == ("p", 'o, "x"', 0, 0)
    assert isinstance(curve.seed, int) and curve.steps.tolist() == [0, 5] and curve.losses["train"].tolist() == [1, 0.5]


@pytest.mark.parametrize(
    "text, message",
    [
        (f"{HEADER}\np,o,0,0.5,0,0,1,\n", "line 2: seed '0.5' is no whole number"),
        (f"{HEADER}\np,o,0,,0,0,1,\n", "line 2: seed '' is no whole number"),
        (f'{HEADER}\n"p"x,o,0,0,0,0,1,\n', "line 2: cannot be read: "),
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
