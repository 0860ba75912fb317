"""The watchdog is silent on a healthy run, and says once what was planted in it."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from l2o_cli.meta import trainer
from l2o_cli.meta.meta_step import FamilyRecord, MetaStepRecord, UpdateRecord
from l2o_cli.meta.run_tables import read_table
from l2o_cli.meta.watchdog import RunWarning, Watchdog, no_progress
from l2o_cli.progress import MetaTrainingProgress
from l2o_cli.spec import MetaTraining

HEALTHY = Path(__file__).with_name("healthy_run.csv")  # of `l2o meta-train quick`, titles shortened
SCORES = (-1.693, -2.888, -2.692, -2.695, -2.645, -2.692)  # mean validation objectives of that run, every 50 meta-steps

FOUR = {"a": {}, "b": {}, "c": {}, "chaotic": {"gradient_norm": 1e12}}


@pytest.fixture(name="rows")
def _rows():
    return read_table(HEALTHY)


def validation(scores, every=50):
    return [
        {"meta_step": every * (index + 1), "problem": problem, "objective": score + offset}
        for index, score in enumerate(scores)
        for problem, offset in (("a", -1.0), ("b", 1.0))
    ]


def plant(rows, first, last, problem=None, **changes):
    """The rows with changes in meta-steps `first` to `last`, of one problem or of all; functions are of the row."""
    changed = []
    for row in rows:
        if first <= row["meta_step"] <= last and problem in (None, row["problem"]):
            row = row | {name: change(row) if callable(change) else change for name, change in changes.items()}
        changed.append(row)
    return changed


def kinds(warnings):
    return [warning.kind for warning in warnings]


def test_a_healthy_run_is_not_warned_of(rows):
    assert len(rows) == 600
    assert Watchdog().replay(rows, validation(SCORES)) == []


def test_an_explosion_of_the_combined_gradient_is_said_once(rows):
    (warning,) = Watchdog().replay(plant(rows, 101, 140, mean_norm=lambda row: 1e4 * row["mean_norm"]))
    assert warning.kind == "explosion" and warning.meta_step == 110 and "learning_rate" in warning.message
    assert "\n" not in warning.message and str(warning).startswith("meta-step 110: norm of the combined meta-gradient")


def test_what_comes_again_is_said_again(rows):
    worse = plant(plant(rows, 101, 120, mean_norm=1e6), 200, 220, mean_norm=float("nan"))
    assert [(one.kind, one.meta_step) for one in Watchdog().replay(worse)] == [("explosion", 110), ("explosion", 209)]


def test_a_single_chaotic_truncation_is_no_explosion(rows):
    assert Watchdog().replay(plant(rows, 150, 154, gradient_norm=1e29, mean_norm=1e10)) == []


@pytest.mark.parametrize("value", [lambda row: 25.0 + row["meta_loss"], float("inf")])
def test_a_family_whose_meta_loss_explodes_is_named(rows, value):
    (warning,) = Watchdog().replay(plant(rows, 200, 260, "quadratic", meta_loss=value))
    assert warning.kind == "explosion" and warning.message.startswith("quadratic: meta-loss ")


def test_gradients_that_explode_before_clipping(rows):
    """The combined one is clipped and shows nothing. One chaotic family of four is left to clipping."""
    chaotic = plant(rows, 101, 140, gradient_norm=lambda row: 1e6 * row["gradient_norm"])
    (warning,) = Watchdog().replay(chaotic)
    assert (warning.kind, warning.meta_step) == ("explosion", 110) and "greatest in " in warning.message
    four = [row | {"problem": problem, **changes} for row in rows for problem, changes in FOUR.items()]
    assert Watchdog().replay(four) == []


@pytest.mark.parametrize("norm", [0.0, 1e-9])
def test_a_vanishing_gradient(rows, norm):
    (warning,) = Watchdog().replay(plant(rows, 101, 300, mean_norm=norm, gradient_norm=norm))
    assert (warning.kind, warning.meta_step) == ("collapse", 110) and "nothing is learned" in warning.message


def test_families_that_are_all_left_out_are_no_collapse(rows):
    warnings = Watchdog().replay(plant(rows, 101, 130, mean_norm=0.0, gradient_norm=2e3))
    (warning,) = [one for one in warnings if one.kind != "explosion"]  # which it is too
    assert (
        warning.kind == "discarded"
        and warning.meta_step == 110
        and "discard_norm" in warning.message
        and "2e+03" in warning.message
    )


@pytest.mark.parametrize(
    "start, level, stuck", [(0.0, 0.0, True), (0.0, 10.0, True), (0.0, -13.8, False), (1.0, 0.0, False), (1.0, 1.0, True)]
)
def test_a_flat_meta_loss_counts_where_nothing_is_gained(start, level, stuck):
    rows = [{"meta_step": step, "problem": "bowl", "meta_loss": level} for step in range(1, 60)]
    warnings = Watchdog(start).replay(rows)
    assert kinds(warnings) == (["collapse"] if stuck else [])
    if stuck:
        assert warnings[0].meta_step == 20 and warnings[0].message.startswith("bowl: meta-loss stays at")


def test_where_runs_start_depends_on_the_objective():
    assert no_progress({"log": True, "epsilon": 1e-6}) == 0 and no_progress({"log": False}) == 1 and no_progress({}) == 0
    assert no_progress({"terms": [{"scale": "adam", "weight": 0.5}, {"scale": "log", "weight": 3.0}]}) == 0.5
    assert np.isnan(no_progress({"terms": [{"scale": "loss"}]}))


def test_a_family_whose_instances_all_diverge(rows):
    (warning,) = Watchdog().replay(plant(rows, 150, 160, "random_mlp", diverged=6))
    assert warning.kind == "divergence" and warning.message.startswith("random_mlp: all 6 instances")
    assert Watchdog().replay(plant(rows, 150, 160, "random_mlp", diverged=5)) == []


def test_nonfinite_entries_in_most_families(rows):
    assert Watchdog().replay(plant(rows, 150, 190, "quadratic", nonfinite_entries=8)) == []
    (warning,) = Watchdog().replay(plant(rows, 150, 190, nonfinite_entries=lambda row: len(row["problem"])))
    assert warning.kind == "non-finite" and "cluster_mlp (11)" in warning.message


@pytest.mark.parametrize(
    "scores, at",
    [
        ((-3.0, -2.8, -2.6, -2.4), [120]),
        ((-3.0, -2.8, -2.6, -2.4, -2.2, -2.0), [120]),  # one episode
        ((-3.0, -2.8, -2.6, -2.4, -3.0, -2.8, -2.6, -2.4), [120, 240]),
        ((-3.93, -2.71, -3.03, -4.75, -5.30), []),  # a first dip, as docs/meta-training.md tells of
        ((-3.0, -2.99, -2.98, -2.97), []),  # too little to speak of
        ((-3.0, -2.8, float("inf"), float("nan")), [120]),
    ],
)
def test_validation_that_gets_worse_and_worse(rows, scores, at):
    warnings = Watchdog().replay(rows, validation(scores, every=30))
    assert [(warning.kind, warning.meta_step) for warning in warnings] == [("validation", step) for step in at]


def test_rows_fed_again_bring_it_where_it_was(rows):
    """A resumed run: the rows of its tables, then its own."""
    worse = plant(plant(rows, 101, 140, mean_norm=1e6), 150, 200, "quadratic", diverged=6)
    scores = validation((-3.0, -2.8, -2.6, -2.4, -2.2))
    whole = Watchdog().replay(worse, scores)
    assert sorted(set(kinds(whole))) == ["divergence", "explosion", "validation"]
    for cut in (104, 125, 152, 200):
        resumed = Watchdog()
        before = resumed.replay(
            [row for row in worse if row["meta_step"] <= cut], [row for row in scores if row["meta_step"] <= cut]
        )
        after = []
        for step, group in itertools.groupby((row for row in worse if row["meta_step"] > cut), lambda row: row["meta_step"]):
            after += resumed.update(list(group)) + resumed.validation([row for row in scores if row["meta_step"] == step])
        assert before + after == whole


def test_older_tables_lack_columns(rows):
    known = ("meta_step", "problem", "meta_loss")
    assert Watchdog().replay([{name: row[name] for name in known} for row in rows]) == []


SMALL = {
    "meta_steps": 6,
    "optimizer": {"name": "learned_rate"},
    "problems": [{"name": "quadratic", "options": {"dimension": 3}}],
    "families_per_step": 1,
    "instances": 2,
    "truncation": {"distribution": "constant", "maximum": 4},
    "horizon": {"distribution": "constant", "maximum": 12},
    "validation": {"problems": [{"name": "quadratic", "options": {"dimension": 4}}], "every": 2, "steps": 4, "instances": 2},
}


def test_a_resumed_run_tells_the_watchdog_what_was_before(tmp_path, monkeypatch):
    """In each process it hears of every meta-step once, and what it says of new ones reaches the display."""
    heard = []

    class Spy(Watchdog):
        def update(self, rows):
            heard.append(rows[0]["meta_step"])
            return [*super().update(rows), RunWarning("explosion", rows[0]["meta_step"], "planted")]

        def validation(self, rows):
            if rows:
                heard.append(f"validation at {rows[0]['meta_step']:.0f}")
            return super().validation(rows)

    monkeypatch.setattr(trainer, "Watchdog", Spy)
    expected = [1, 2, "validation at 2", 3, 4, "validation at 4", 5, 6, "validation at 6"]
    told = []
    first = trainer.Trainer.open(MetaTraining.model_validate(SMALL), tmp_path / "run", xla=False)
    with pytest.raises(trainer.Interrupted):
        first.run(told.append, lambda: first.state.meta_step == 3)
    assert heard == expected[:4]
    heard.clear()
    trainer.Trainer.open(None, tmp_path / "run", resume=True, xla=False).run(told.append)
    assert heard == expected
    assert [str(warning) for record in told for warning in record.warnings] == [
        f"meta-step {step}: planted" for step in range(1, 7)
    ]


def update_record(meta_step):
    family = FamilyRecord(0, "bowl", 5, -1.0, 0.1, 0, 0, 0, 100, 0.0, (), {})
    return UpdateRecord(meta_step, (family,), np.ones((1, 3), np.float32), 0.1, False, 1e-3, 0.1)


def test_warnings_reach_the_terminal(capsys):
    display = MetaTrainingProgress(0, 10)
    warning = RunWarning("collapse", 3, "bowl[x]: " + "long " * 60)
    display(MetaStepRecord(update_record(3), None, (warning,)))
    assert f"l2o: warning: meta-step 3: bowl[x]: {'long ' * 60}".rstrip() in [
        line.rstrip() for line in capsys.readouterr().err.splitlines()
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"skipped": 1, "mean_norm": 0.0, "gradient_norm": 1e9}, ["no weight has moved", "1e+09", "discard_norm"]),
        ({"skipped": 1, "mean_norm": float("nan"), "gradient_norm": 0.0}, ["no weight has moved", "another objective"]),
        ({"skipped": 1, "mean_norm": 0.0, "diverged": 6}, ["diverge at once", "initial rate"]),
        ({"skipped": 0, "meta_loss": float("nan")}, ["every meta-loss is nan", "other problems"]),
    ],
)
def test_a_run_that_learns_nothing_is_told_of_at_its_first_meta_step(rows, changes, words):
    watchdog = Watchdog()
    first, *_ = watchdog.replay(plant(rows, 1, 30, **changes)[:60])
    assert (
        (first.kind, first.meta_step) == ("fruitless", 1) and rows[0]["problem"] in first.message
    ) or "problem" in first.message
    assert all(word in first.message for word in words) and len(str(first)) < 250
    assert all(word in watchdog.fault for word in words)
    watchdog.update(plant(rows, 31, 31, skipped=0)[60:62])
    assert watchdog.fault is None


def test_a_family_without_a_loss_among_others_is_told_of_at_its_first_draw(rows):
    name = rows[0]["problem"]
    warnings = Watchdog().replay(plant(rows, 1, 3, name, meta_loss=float("nan")))
    assert [(one.kind, one.meta_step) for one in warnings] == [("non-finite", 1)] and warnings[0].message.startswith(name)
