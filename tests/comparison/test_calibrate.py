"""`l2o calibrate` and the table it writes."""

from __future__ import annotations

import csv
import dataclasses
import math

import click.testing
import numpy as np
import pytest
from l2o_problems import adam_table
from l2o_problems.adam_table import COLUMNS, AdamRow, read_table
from l2o_problems.ensembles import ENSEMBLES
from l2o_problems.registry import PROBLEMS

from l2o_cli.commands.calibrate import calibrate as command
from l2o_cli.comparison.calibrate import Calibration, best_loss, calibrate, every_problem
from l2o_cli.errors import BadInput
from l2o_cli.export.resolve import resolve
from l2o_cli.runs.records import Run
from l2o_cli.spec import parse_problems
from l2o_cli.stages import Stages

STEPS = 40


def run(out, *problems, **options):
    return calibrate(Calibration(resolve("adam"), out, STEPS, problems=problems, **options), Stages(quiet=True))


def test_the_command_writes_a_table_and_goes_on_with_it(l2o, tmp_path, monkeypatch):
    options = ["calibrate", "--problem", "valley", "--steps", STEPS, "--seeds", 1]
    result = l2o(*options)
    assert (result.returncode, result.stdout) == (0, "wrote adam.csv: 1 problems\n"), result.stderr
    assert result.stderr.splitlines()[0] == f"valley: adam, tuning: 15 rates x 1 seeds of {STEPS} steps"
    with (tmp_path / "adam.csv").open(newline="") as file:
        [row] = csv.DictReader(file)
    assert tuple(row) == COLUMNS and (row["problem"], row["steps"], row["seeds"]) == ("valley", str(STEPS), "1")
    # Marked, so that it shows whether the row is kept.
    text = (tmp_path / "adam.csv").read_text().replace("valley,2,", "valley,7,")
    (tmp_path / "adam.csv").write_text(text)
    monkeypatch.chdir(tmp_path)
    more = [str(option) for option in [*options[1:], "--problem", "log_sum_exp", "--resume", "--quiet"]]
    result = click.testing.CliRunner().invoke(command, more)
    assert (result.exception, result.output) == (None, "wrote adam.csv: 2 problems\n")
    rows = read_table(tmp_path / "adam.csv")
    assert list(rows) == ["valley", "log_sum_exp"] and rows["valley"].parameters == 7


def test_rows_are_what_they_say(tmp_path):
    out = tmp_path / "new" / "adam.csv"
    [row] = run(out, "quadratic(dimension=2)")
    assert (row.problem, row.parameters, row.steps, row.seeds, row.diverged) == ("quadratic(dimension=2)", 2, STEPS, 2, 0)
    assert row.best_loss <= row.final_loss < 0.2 * row.initial_loss and row.step_milliseconds > 0
    assert row.edge == "" and 1e-3 < row.learning_rate < 10
    [again] = read_table(out).values()
    for name, value in dataclasses.asdict(row).items():
        assert getattr(again, name) == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value)


def test_two_names_of_one_problem_are_measured_once(tmp_path):
    first, second = run(tmp_path / "a.csv", "valley", "valley()", trials=1)
    assert dataclasses.replace(first, problem="valley()") == second


def test_a_row_of_another_problem_or_data_is_measured_anew(tmp_path):
    out = tmp_path / "a.csv"
    [row] = run(out, "valley", trials=1)
    for changed in (("Valley()", "Bowl()"), (",synthetic", ",other data"), ("Valley()", "")):
        out.write_text(out.read_text().replace(*changed).replace("valley,2,", "valley,7,"))
        [again] = run(out, "valley", trials=1, resume=True)
        assert again == dataclasses.replace(row, step_milliseconds=again.step_milliseconds)


def test_nothing_is_overwritten_or_mixed_unasked(tmp_path):
    out = tmp_path / "adam.csv"
    run(out, "valley", trials=1)
    before = out.read_text()
    with pytest.raises(BadInput, match="exists already"):
        run(out, "valley")
    with pytest.raises(BadInput, match=f"made with --steps {STEPS} --seeds 2"):
        run(out, "matyas", resume=True, seeds=1)
    assert out.read_text() == before
    out.write_text("a,b\n")
    with pytest.raises(BadInput, match="expected the columns problem,"):
        run(out, "matyas", resume=True)
    run(out, "matyas", overwrite=True, trials=1)
    assert list(read_table(out)) == ["matyas"]


def test_what_has_no_data_is_left_out_unless_asked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nothing"))
    monkeypatch.setattr("l2o_problems.data._loaded", {})
    chosen = {name: PROBLEMS[name]() for name in ("cifar10_mlp", "valley")}
    monkeypatch.setattr("l2o_cli.comparison.calibrate.every_problem", lambda: chosen)
    [row] = run(tmp_path / "adam.csv", trials=1)
    assert row.problem == "valley" and "warning: cifar10_mlp is left out: CIFAR-10: not on this" in capsys.readouterr().err


def test_every_problem_and_family_is_measured_and_titles_are_unambiguous():
    found = every_problem()
    assert found.keys() >= PROBLEMS.keys()
    for ensemble in ENSEMBLES:
        for family in parse_problems(ensemble):
            assert found[family.title] == family.make(), family.title


def test_best_loss_is_the_least_mean_of_a_window_until_divergence():
    losses = np.concatenate([np.arange(300, 100, -1.0), [np.nan] * 100]).astype(np.float32)
    one = Run(
        losses=losses,
        seconds=np.zeros(21),
        validation=None,
        diverged_at=200,
        problem="p",
        optimizer="adam",
        trial=0,
        hyperparameters={},
        seed=0,
        every=15,
    )
    # Windows of 3 steps: the last whole one has losses 105, 104, 103.
    assert best_loss(one) == pytest.approx(104)
    assert best_loss(dataclasses.replace(one, losses=np.array([5.0, *[np.nan] * 299], np.float32))) == np.inf


def test_the_packaged_table_can_be_read():
    table = adam_table._table()
    assert table == read_table(adam_table.TABLE) and len(table) > 130
    for title, row in table.items():
        assert row.problem == title and row.parameters > 0 and row.learning_rate > 0


def test_a_damaged_table_is_named(tmp_path):
    path = tmp_path / "adam.csv"
    row = AdamRow("valley", 2, 0.1, "", 1.0, 0.1, float("inf"), 0.01, 2, 10, 2, "Valley()", "synthetic")
    cells = [str(value) for value in dataclasses.astuple(row)]
    path.write_text("\n".join([",".join(COLUMNS), ",".join(cells)]))
    assert read_table(path) == {"valley": row}
    path.write_text("\n".join([",".join(COLUMNS), ",".join(["valley", "two", *cells[2:]])]))
    with pytest.raises(ValueError, match=r"adam.csv, line 2: .*'two'"):
        read_table(path)


def test_the_table_that_comes_with_l2o_is_of_problems_there_are():
    table, there = read_table(adam_table.TABLE), every_problem()
    assert len(table) > 130 and table.keys() <= there.keys()
    for title, row in table.items():
        assert row.parameters == sum(math.prod(shape) for shape in there[title].param_shapes.values()), title
        assert row.steps == 1000 and row.learning_rate > 0 and math.isfinite(row.best_loss) and row.step_milliseconds > 0, title
