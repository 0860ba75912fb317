"""The tiers of tuning in comparisons: each chooses what it should on the tuning seeds, and counts what it tried."""

from __future__ import annotations

import csv
import json
from collections import defaultdict

import click.testing
import numpy as np
import pytest
import scipy.stats
import yaml

from l2o_cli.commands.compare import compare as command
from l2o_cli.comparison.cell import Cell, Terms
from l2o_cli.comparison.run_cell import choose
from l2o_cli.comparison.tuning.tiers import Choice, Tier
from l2o_cli.export.resolve import resolve
from l2o_cli.optimizers.search_spaces import nadamw_list, sample
from l2o_cli.reports.comparison.curve_plots import entry_label
from l2o_cli.reports.drawing import styles
from l2o_cli.spec.names import make_problem
from l2o_cli.stages import Stages

STEPS, SEEDS, TUNING_SEEDS, SEED = 20, 2, 2, 5
PROBLEMS = ("quadratic", "booth")
GLOBALS = {"adam (global)": 3, "adam (global:random:adam4p:6)": 6}  # settings that are tried, before extensions
LOCALS = {
    "sgd": 3,
    "adam": 3,
    "adam (random:adam8p:7)": 7,
    "nadamw (list)": 10,
    "nadamw (list:2)": 2,
}
DEFAULTS = ("adam (defaults)", "lbfgs (defaults)")


def invoke(*arguments):
    result = click.testing.CliRunner().invoke(command, [str(argument) for argument in arguments])
    if result.exception:
        raise result.exception
    return result


def run(out, *arguments):
    sizes = ["--steps", STEPS, "--seeds", SEEDS, "--tuning-seeds", TUNING_SEEDS, "--seed", SEED, "--trials", 3, "--every", 10]
    return invoke(*arguments, *sizes, "--no-xla", "--no-report", "--optimizer", "sgd", "--out", out)


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """All tiers on two problems: (folder, rows by problem and optimizer, stderr)."""
    out = tmp_path_factory.mktemp("tiers") / "out"
    baselines = ["sgd", "adam:defaults", "adam:global", "adam:sweep", "random:adam8p:7", "list", "list:2"]
    baselines += ["lbfgs:defaults", "global:random:adam4p:6"]
    result = run(out, "--problems", ",".join(PROBLEMS), "--baselines", ",".join(baselines), "--json")
    rows = {(row["problem"], row["optimizer"]): row for row in json.loads(result.stdout)}
    return out, rows, result.stderr


def medians(out):
    """{optimizer: {problem: {trial: median final training loss}}} of tuning.csv, inf for a diverged run."""
    losses = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for row in read(out / "tuning.csv"):
        if row["seed"]:
            losses[row["optimizer"]][row["problem"]][int(row["trial"])].append(float(row["final_train_loss"]))
            assert (row["final_train_loss"] == "inf") == (row["diverged_at"] != "")
    for of_problem in losses.values():
        for of_trial in of_problem.values():
            assert all(len(of_seeds) == TUNING_SEEDS for of_seeds in of_trial.values())
    return {
        label: {name: {trial: np.median(some) for trial, some in trials.items()} for name, trials in of_problem.items()}
        for label, of_problem in losses.items()
    }


def test_the_best_on_the_tuning_seeds_is_reported(compared):
    out, rows, _ = compared
    found = medians(out)
    assert found.keys() >= {*LOCALS, *GLOBALS}
    for label, of_problem in found.items():
        if label in LOCALS:
            assert set(of_problem) == set(PROBLEMS)
            best = {name: min(losses, key=losses.get) for name, losses in of_problem.items()}
        else:
            table = np.array([[of_problem[name][trial] for name in PROBLEMS] for trial in range(len(of_problem[PROBLEMS[0]]))])
            ranks = scipy.stats.rankdata(table, axis=0).mean(axis=1)
            trials = np.flatnonzero(ranks == ranks.min())
            rate = {
                int(row["trial"]): float(row["learning_rate"]) for row in read(out / "tuning.csv") if row["optimizer"] == label
            }
            best = dict.fromkeys(PROBLEMS, int(min(trials, key=rate.get) if label == "adam (global)" else trials[0]))
        for name, trial in best.items():
            said = {int(row["trial"]) for row in read(out / "scores.csv") if (row["problem"], row["optimizer"]) == (name, label)}
            assert said == {trial}, label
            lines = [row for row in read(out / "tuning.csv") if (row["problem"], row["optimizer"]) == (name, label)]
            assert {int(line["trial"]) for line in lines if line["chosen"] == "1"} == {trial}
            [rate] = {float(line["learning_rate"]) for line in lines if line["chosen"] == "1"}
            assert rows[name, label]["hyperparameters"]["learning_rate"] == pytest.approx(rate, rel=1e-6)


def test_the_number_of_trials_is_the_same_everywhere(compared):
    out, rows, _ = compared
    record = {(one["problem"], one["optimizer"]): one for one in yaml.safe_load((out / "compare.yaml").read_text())["tuning"]}
    assert set(record) == {(name, label) for name in PROBLEMS for label in (*LOCALS, *GLOBALS, *DEFAULTS)}
    tried = {label: {name: len(of) for name, of in of_problem.items()} for label, of_problem in medians(out).items()}
    for (name, label), one in record.items():
        lines = [row for row in read(out / "tuning.csv") if (row["problem"], row["optimizer"]) == (name, label)]
        in_scores = [row for row in read(out / "scores.csv") if (row["problem"], row["optimizer"]) == (name, label)]
        expected = tried[label][name] if label in LOCALS else 1
        assert {int(row["trials"]) for row in lines + in_scores} == {expected} == {one["trials"]} == {rows[name, label]["trials"]}
        assert one["tried"] == (0 if label in DEFAULTS else tried[label][name]) and one["runs"] == one["tried"] * TUNING_SEEDS
        assert {row["tier"] for row in lines} == {one["tier"]} and one["hyperparameters"] == rows[name, label]["hyperparameters"]
        least = {**LOCALS, **GLOBALS}.get(label, 0)
        assert one["tried"] >= least if one["tier"] in ("sweep", "global") else one["tried"] == least
        assert len(lines) == max(1, one["runs"])
    assert all(rows[name, "sgd (defaults)"]["trials"] == 0 for name in PROBLEMS)


def test_seeds_are_never_shared(compared):
    tuning = {row["seed"] for row in read(compared[0] / "tuning.csv")}
    reported = {row["seed"] for row in read(compared[0] / "scores.csv")}
    assert reported == {str(SEED + index) for index in range(SEEDS)} and len(tuning - {""}) == TUNING_SEEDS
    assert not tuning & reported


@pytest.mark.parametrize(
    "label, settings",
    [
        ("adam (random:adam8p:7)", sample("adam8p", SEED, 7, STEPS)),
        ("adam (global:random:adam4p:6)", sample("adam4p", SEED, 6, STEPS)),
        ("nadamw (list:2)", nadamw_list()[:2]),
        ("nadamw (list)", nadamw_list()),
    ],
)
def test_the_settings_are_those_of_the_space(compared, label, settings):
    rows = [row for row in read(compared[0] / "tuning.csv") if row["optimizer"] == label]
    assert {int(row["trial"]) for row in rows} == set(range(len(settings)))
    for row in rows:
        written = dict(part.split("=") for part in row["hyperparameters"].split())
        for name, value in settings[int(row["trial"])].items():
            assert float(written[name]) == pytest.approx(value, rel=1e-5)


def test_one_setting_for_all_problems_and_its_cost(compared):
    out, rows, stderr = compared
    for label in GLOBALS:
        assert len({str(rows[name, label]["hyperparameters"]) for name in PROBLEMS}) == 1
        runs = sum(row["optimizer"] == label for row in read(out / "tuning.csv"))
        tried = runs // len(PROBLEMS) // TUNING_SEEDS
        note = f"{label}: one setting for 2 problems together, the best mean rank of {tried}; choosing it took {runs} runs"
        assert note in stderr.splitlines()


def test_the_plan_is_printed_first_and_holds(compared):
    out, _, stderr = compared
    lines = stderr.splitlines()
    assert lines[0] == f"plan: 2 problems, runs of {STEPS} steps"
    assert "  adam (defaults): 4 runs to report" in lines
    assert lines[len(DEFAULTS) + len(LOCALS) + len(GLOBALS) + 2].startswith("  in all ")
    assert "  adam (random:adam8p:7): 7 settings on each problem in 28 runs, then 4 runs to report" in lines
    assert sum(row["optimizer"] == "adam (random:adam8p:7)" for row in read(out / "tuning.csv")) == 28


def test_the_same_request_chooses_the_same(compared, tmp_path):
    baselines = "global:random:adam4p:6,adam:global"
    result = run(tmp_path / "out", "--problems", ",".join(PROBLEMS), "--baselines", baselines, "--quiet")
    assert result.stderr == ""
    again = (tmp_path / "out" / "tuning.csv").read_text().splitlines()
    first = (compared[0] / "tuning.csv").read_text().splitlines()
    assert len(again) > 36 and set(again) <= set(first)


def test_tiers_of_the_option_are_those_of_baselines_without_one(tmp_path):
    baselines = ["--baselines", "adam,sgd:defaults,sgd:sweep:1", "--tuning", "defaults,global"]
    rows = json.loads(run(tmp_path, "--problems", "booth", *baselines, "--json").stdout)
    trials = {row["optimizer"]: row["trials"] for row in rows}
    assert list(trials) == ["sgd", "adam (defaults)", "adam (global)", "sgd (defaults)", "sgd (sweep:1)"]
    # Of one problem alone, `global` is a sweep, and counts as one.
    assert trials.pop("adam (global)") >= 3
    assert list(trials.values()) == [0, 1, 1, 1]


def chosen(monkeypatch, *rates):
    """What is chosen among settings of Adam."""
    monkeypatch.setattr(Tier, "settings", lambda *arguments: [{"learning_rate": rate} for rate in rates])
    terms, tier = Terms(STEPS, seeds=1, xla=False), Tier("random", len(rates), "adam1p")
    [choice] = choose([Cell("quadratic", make_problem("quadratic"), "adam", resolve("adam"), terms, tier)], Stages(quiet=True))
    return choice


def test_diverging_settings_are_the_worst_and_end_no_search(monkeypatch):
    choice = chosen(monkeypatch, 1e35, 1e-9, 1e35, 0.3, 1e34)
    assert choice.trial == 3 and choice.tried == choice.trials == 5 and len(choice.runs) == 10
    assert {run.trial for run in choice.runs if run.diverged_at is not None} == {0, 2, 4}
    # A rate that does nothing is better than one that diverges, and the first of those that all do is as good as any.
    assert chosen(monkeypatch, 1e35, 0.0, 1e34).trial == 1
    assert chosen(monkeypatch, 1e35, 1e34).trial == 0


def test_what_pictures_say_of_a_choice(compared):
    row = compared[1]["booth", "adam (global)"]

    def label(**options):
        named = type("Row", (), {**row, "trials": Choice(Tier(), {}, **options).trials})
        return entry_label(type("Entry", (), {"summary": named, "learned": False, "tuning": Choice(Tier(), {}, **options)}))

    assert label(tried=8, problems=3).endswith("chosen for 3 problems together")
    assert label(tried=8).endswith("best of 8 trials") and label().endswith("not tuned")
    assert len(set(styles([False] * 16))) == 16


LOST = """
from l2o_problems.quadratics import Quadratic

class Lost(Quadratic):
    def loss(self, params, task, batch):
        return super().loss(params, task, batch) * float("nan")
"""


def test_a_loss_that_is_nan_from_the_start_is_said_and_no_rate_is_tried_beyond_the_grid(tmp_path):
    (tmp_path / "mine.py").write_text(LOST)
    name = f"{tmp_path}/mine.py:Lost(dimension=2)"
    result = run(tmp_path / "out", "--problems", name, "--baselines", "adam", "--json")
    warnings = [line for line in result.stderr.splitlines() if "warning" in line]
    assert warnings == [f"warning: {name}: the loss is NaN at step 0, before any update; no optimizer can change that"]
    rows = {row["optimizer"]: row for row in json.loads(result.stdout)}
    assert rows["adam"]["trials"] == 3 and rows["adam"]["diverged"] == rows["sgd"]["diverged"] == SEEDS
