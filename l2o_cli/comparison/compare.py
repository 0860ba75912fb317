"""Contenders as they are against hand-designed baselines that are tuned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from l2o_problems.base import Problem

from l2o_cli.comparison.comparison import Comparison, all_labels, check, plan, plan_lines
from l2o_cli.comparison.entries import enter, enter_tuned, shared_choices
from l2o_cli.comparison.estimate import ahead, estimate
from l2o_cli.comparison.evaluate import Outcome, begin, described, ended, write_tables
from l2o_cli.comparison.request import make_problems
from l2o_cli.comparison.results import TUNING_COLUMNS, Entry, tuning_rows, write_csv, write_yaml
from l2o_cli.comparison.sweeps.run import check_sweeps, run_sweeps, sweep_runs
from l2o_cli.comparison.tuning.tiers import Baseline, Choice
from l2o_cli.comparison.workers import make_runs
from l2o_cli.reports.html import duration
from l2o_cli.reports.ratios.told import ratio_lines
from l2o_cli.runs.lbfgs import check_fits
from l2o_cli.runs.records import Contender
from l2o_cli.scoring.curves import FILE as CURVES
from l2o_cli.scoring.loss_ratios import score_and_ratios
from l2o_cli.scoring.sweep_tables import TABLE as SWEEPS
from l2o_cli.scoring.verdict import verdict, verdicts
from l2o_cli.spec.sweeps import SweepSpec
from l2o_cli.stages import Stages, Stopped


def _record(
    comparison: Comparison,
    problems: Mapping[str, Problem],
    contenders: Mapping[str, Contender],
    baselines: Mapping[str, Baseline],
) -> dict[str, Any]:
    request = comparison.request
    return {
        "command": "compare",
        "request": {
            "problems": list(problems),
            "optimizers": list(contenders),
            "baselines": list(baselines),
            "tiers": {label: baseline.tier.text for label, baseline in baselines.items()},
            "trials": comparison.trials,
            "select": comparison.select,
            "steps": request.steps,
            "every": request.every,
            "seeds": request.reporting_seeds,
            "tuning_seeds": comparison.seeds_for_tuning,
            "xla": request.xla,
        },
        **described(problems, {**contenders, **{label: baseline.contender for label, baseline in baselines.items()}}),
    }


def _tuning_record(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    return [
        {
            "problem": entry.row.problem,
            "optimizer": entry.row.optimizer,
            "tier": entry.tuning.tier.text,
            "trials": entry.tuning.trials,
            "trial": entry.tuning.trial,
            "learning_rate": entry.row.hyperparameters.get("learning_rate"),
            "hyperparameters": entry.row.hyperparameters,
            "tried": entry.tuning.tried,
            "problems": entry.tuning.problems,
            "runs": len(entry.tuning.runs),
            "edge": entry.tuning.edge,
        }
        for entry in entries
        if entry.tuning
    ]


def _costs(entries: Sequence[Entry]) -> list[str]:
    """What it took to choose a setting for several problems, a line for each such baseline."""
    runs: dict[str, int] = {}
    for entry in entries:
        if entry.tuning and entry.tuning.problems > 1:
            runs[entry.row.optimizer] = runs.get(entry.row.optimizer, 0) + len(entry.tuning.runs)
    of_label = {entry.row.optimizer: entry.tuning for entry in entries if entry.tuning}
    return [
        f"{label}: one setting for {of_label[label].problems} problems together, "
        f"the best mean rank of {of_label[label].tried}; choosing it took {count:,} runs"
        for label, count in runs.items()
    ]


def compare(comparison: Comparison, stages: Stages, sweeps: Sequence[SweepSpec] = ()) -> Outcome:
    """Tune each baseline as its tier says, run everything on the same seeds, and write what came out.

    Hyperparameters are chosen on seeds of their own. The contenders are not tuned.

    Files: curves.csv and scores.csv of the reporting runs, tuning.csv of the others, sweeps.csv, compare.yaml, the report and
    its pictures. The tables are complete after each problem, so an interrupted comparison keeps what it has.

    Raises:
        BadInput: an unknown problem, a baseline that lacks what its tier sets, or a folder that is not empty.
    """
    request = comparison.request
    problems = make_problems(request.problems)
    check(comparison, problems)
    check_fits(request.contenders, problems)
    baselines, contenders = all_labels(comparison)
    costs = sweep_runs(check_sweeps(comparison, sweeps, contenders, baselines))
    begin(request)
    planned = plan(comparison, list(contenders), baselines, len(problems)) if problems else []
    for line in (*(plan_lines(comparison, planned, len(problems)) if problems else ["plan:"]), *(one.line for one in costs)):
        stages.tell(line)
    entries: list[Entry] = []
    complete = True
    try:
        _tell_estimate(comparison, problems, contenders, baselines, stages)
        if request.workers > 1:
            make_runs(request, list(problems), stages)
        choices = shared_choices(comparison, problems, baselines, stages)
        work = sum(one.tuning_runs + one.reporting_runs for one in planned) * request.steps + sum(one.steps for one in costs)
        with stages.whole(work):
            _run_all(comparison, problems, contenders, baselines, choices, entries, stages)
            run_sweeps(comparison, sweeps, contenders, baselines, stages)
    except Stopped:
        complete = False
        stages.stopped()
    notes = [*_costs(entries), *_conclusions(request.out)]
    return ended(request, entries, problems, complete, notes)


def _tell_estimate(
    comparison: Comparison,
    problems: Mapping[str, Problem],
    contenders: Mapping[str, Contender],
    baselines: Mapping[str, Baseline],
    stages: Stages,
) -> None:
    expected = estimate(comparison, ahead(comparison, problems, contenders, baselines), stages)
    if expected.kept:
        stages.tell(f"  {expected.kept:,} of these runs were made before and are not made again")
    if expected.seconds:
        stages.tell(f"  estimated time: {duration(expected.seconds)}, without compilation and sweeps")


def _run_all(
    comparison: Comparison,
    problems: Mapping[str, Problem],
    contenders: Mapping[str, Contender],
    baselines: Mapping[str, Baseline],
    choices: Mapping[tuple[str, str], Choice],
    entries: list[Entry],
    stages: Stages,
) -> None:
    """Fill `entries` and the tables, problem by problem."""
    request = comparison.request
    record = _record(comparison, problems, contenders, baselines)
    write_yaml(request.out / "compare.yaml", {**record, "tuning": []})
    for name, problem in problems.items():
        here = [enter(request, name, problem, contender, label, stages) for label, contender in contenders.items()]
        here += [
            enter_tuned(comparison, name, problem, baseline, stages, label=label, choice=choices.get((label, name)))
            for label, baseline in baselines.items()
        ]
        entries += here
        write_tables(request.out, entries)
        write_csv(request.out / "tuning.csv", TUNING_COLUMNS, tuning_rows(entries))
        write_yaml(request.out / "compare.yaml", {**record, "tuning": _tuning_record(entries)})


def _conclusions(out: Path) -> list[str]:
    """Who won, by the score that settings were chosen by, and how losses compare at all points: from what was written."""
    if not any((out / name).exists() for name in (CURVES, SWEEPS)):
        return []
    scoring, ratios = score_and_ratios(out)
    several_ran = scoring is not None and len(scoring.optimizers) > 1
    said = dict.fromkeys((verdict(scoring), *verdicts(scoring))) if scoring and several_ran else ()
    return [*said, *ratio_lines(ratios)]
