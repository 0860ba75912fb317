"""What losses are normalized by: the row of the same problem, measured on the same data, whatever the title says."""

from __future__ import annotations

import dataclasses

import pytest
from l2o_problems.adam_table import TABLE, adam_of, adam_row, find_adam, read_table
from l2o_problems.quadratics import Quadratic

from l2o_cli.comparison.calibrate import every_problem
from l2o_cli.comparison.plan import described
from l2o_cli.comparison.results import write_yaml
from l2o_cli.reports.cells import notes
from l2o_cli.scoring.results_folder import read_results
from l2o_cli.spec import ProblemSpec, parse_problems
from l2o_cli.spec.names import make_problem
from tests.scoring.made_curves import made, write

EMBEDDED = "MNIST, 5,000 embedded digits (4000/500/500)"
WHOLE = "MNIST, tensorflow-datasets 3.0.1 (55000/5000/10000)"


@dataclasses.dataclass(frozen=True)
class Mine(Quadratic):
    """A problem of one's own, with the options of another."""


def test_every_row_says_which_problem_and_data_it_belongs_to():
    there, known, table = every_problem(), {}, read_table(TABLE)
    assert table
    for title, row in table.items():
        assert row.identity == there[title].identity and row.source, title
        numbers = dataclasses.astuple(dataclasses.replace(row, problem="", step_milliseconds=0))
        assert known.setdefault((row.identity, row.source), numbers) == numbers, title


def test_different_problems_have_different_identities():
    seen = {}
    for title, problem in every_problem().items():
        assert seen.setdefault(problem.identity, problem) == problem, title
    assert len(seen) == len(set(every_problem().values()))


def test_options_decide_not_how_they_are_written():
    [written] = parse_problems("image_mlp(data=mnist, batch_size=64) + rescale(low=0.1, high=10)")
    rescaled = make_problem("mnist_mlp", {}, [{"name": "rescale", "options": {"low": 0.1, "high": 10.0}}])
    assert written.make().identity == rescaled.identity
    row = adam_row(make_problem("mnist_mlp"))
    assert row is not None
    assert adam_row(make_problem("image_mlp")) == row == adam_row(make_problem("mnist_mlp", {"hidden": [64]}))
    for options in ({"batch_size": 32}, {"hidden": [65]}, {"activation": "tanh"}):
        assert adam_of(make_problem("mnist_mlp", options)).why == "not in the table of tuned Adam"
    assert adam_row(written.make()) is None


def test_other_data_have_no_row():
    identity = make_problem("mnist_mlp").identity
    assert find_adam(identity, EMBEDDED).row is not None
    assert find_adam(identity, WHOLE) == (None, f"tuned Adam was measured on other data: {EMBEDDED}")


def test_a_problem_of_ones_own_has_no_identity():
    assert Mine(20).identity is None and Quadratic(20).identity == "Quadratic(dimension=20)"
    assert make_problem("sum", {"problems": [Mine(3), Quadratic(3)]}).identity is None
    assert adam_of(Mine(20)).why == "no record says which problem it is"


CURVES = [made([2.5, 1.0, 0.1], optimizer=name, problem="digits_mlp", seed=seed) for name in ("a", "b") for seed in (0, 1)]


def scored(folder, problem):
    """The normalized losses and notes of a folder whose record says that `digits_mlp` is this problem."""
    write(folder, CURVES)
    if problem is not None:
        write_yaml(folder / "evaluation.yaml", {"problems": {"digits_mlp": described(problem)}})
    scoring = read_results(folder).scoring
    return [run["normalized_loss"] for run in scoring.runs], "\n".join(notes(scoring))


def test_a_quadratic_called_digits_mlp_is_not_normalized_by_the_row_of_that(tmp_path):
    losses, said = scored(tmp_path, make_problem("digits_mlp"))
    row = adam_row(make_problem("digits_mlp"))
    assert losses[0] == pytest.approx((0.1 - row.best_loss) / (row.initial_loss - row.best_loss)) and "normalized" not in said
    losses, said = scored(tmp_path, ProblemSpec(name="quadratic", label="digits_mlp", options={"dimension": 3}).make())
    assert losses == [None] * 4 and "normalized_loss leaves out: digits_mlp (not in the table of tuned Adam)" in said


def test_a_title_alone_is_no_reference(tmp_path):
    losses, said = scored(tmp_path, None)
    assert losses == [None] * 4 and "normalized_loss leaves out: digits_mlp (no record says which problem it is)" in said
    assert "equal_time" not in said
