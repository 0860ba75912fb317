"""Contenders as they are against hand-designed baselines that are tuned."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from l2o_cli.errors import BadInput
from l2o_cli.evaluation.choice import choose
from l2o_cli.evaluation.comparison import Comparison, check, plan, plan_lines
from l2o_cli.evaluation.evaluate import Outcome, described, enter, file_name, labels, make_problems
from l2o_cli.evaluation.lbfgs import check_fits
from l2o_cli.evaluation.plots import plot_problem
from l2o_cli.evaluation.progress import Stages
from l2o_cli.evaluation.records import Contender
from l2o_cli.evaluation.results import (
    CURVE_COLUMNS,
    SCORE_COLUMNS,
    TUNING_COLUMNS,
    Entry,
    claim,
    curve_rows,
    score_rows,
    tuning_rows,
    write_csv,
    write_yaml,
)
from l2o_cli.evaluation.scored import MEASURES
from l2o_cli.evaluation.scores import summarize
from l2o_cli.evaluation.scoring import score_folder
from l2o_cli.evaluation.tiers import DEFAULTS, Baseline, Choice
from l2o_cli.evaluation.trials import Trials
from l2o_cli.evaluation.verdict import verdict, verdicts
from problems.base import Problem


def enter_tuned(
    comparison: Comparison,
    name: str,
    problem: Problem,
    baseline: Baseline,
    stages: Stages,
    *,
    label: str | None = None,
    choice: Choice | None = None,
) -> Entry:
    """A baseline on the reporting seeds, with the setting that was best on the tuning seeds, or with `choice`."""
    request, label = comparison.request, label or baseline.label
    if baseline.tier.kind == DEFAULTS:
        entry = enter(request, name, problem, baseline.contender, label, stages)
        choice = Choice(baseline.tier, {})
        return dataclasses.replace(entry, row=dataclasses.replace(entry.row, trials=choice.trials), tuning=choice)
    trials = _trials(comparison, name, problem, baseline, label)
    if choice is None:
        [choice] = choose(comparison, baseline.tier, [trials], stages)
    rate = choice.setting.get("learning_rate")
    chosen = f"trial {choice.trial}" if rate is None else f"rate {rate:.3g}"
    with stages.stage(f"{name}: {label} with {chosen}, {request.seeds} seeds of {request.steps} steps") as advance:
        runs = trials.run([choice.setting], request.reporting_seeds, first_trial=choice.trial, advance=advance)
    return Entry(summarize(runs, choice.trials), runs, baseline.contender.optimizer.learned, choice)


def _trials(comparison: Comparison, name: str, problem: Problem, baseline: Baseline, label: str) -> Trials:
    request = comparison.request
    return Trials(name, problem, baseline.contender, steps=request.steps, every=request.every, label=label, xla=request.xla)


def _shared_choices(
    comparison: Comparison, problems: Mapping[str, Problem], baselines: Mapping[str, Baseline], stages: Stages
) -> dict[tuple[str, str], Choice]:
    """{(label, problem): choice} of the baselines that have one setting for all problems."""
    choices = {}
    for label, baseline in baselines.items():
        if baseline.tier.shared:
            trials = [_trials(comparison, name, problem, baseline, label) for name, problem in problems.items()]
            for name, choice in zip(problems, choose(comparison, baseline.tier, trials, stages), strict=True):
                choices[label, name] = choice
    return choices


def _all_labels(comparison: Comparison) -> tuple[dict[str, Baseline], dict[str, Contender]]:
    """Baselines and contenders by label, no two alike."""
    baselines = dict(zip(labels(comparison.baselines), comparison.baselines, strict=True))
    given = comparison.request.contenders
    contenders = dict(zip(labels(given, taken=list(baselines)), given, strict=True))
    for label in contenders:
        if label in baselines:
            raise BadInput(f"--optimizer and --baselines both mean {label!r}")
    return baselines, contenders


def _record(
    comparison: Comparison, problems: dict[str, Problem], contenders: dict[str, Contender], baselines: dict[str, Baseline]
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


def compare(comparison: Comparison, stages: Stages) -> Outcome:
    """Tune each baseline as its tier says, run everything on the same seeds, and write what came out.

    Hyperparameters are chosen on seeds of their own. The contenders are not tuned.

    Files: curves.csv and scores.csv of the reporting runs, tuning.csv of the others, compare.yaml, one PNG per problem. They
    are complete after each problem, so an interrupted comparison keeps what it has.

    Raises:
        BadInput: an unknown problem, a baseline that lacks what its tier sets, or a folder that is not empty.
    """
    request = comparison.request
    problems = make_problems(request.problems)
    check(comparison, problems)
    check_fits(request.contenders, problems)
    baselines, contenders = _all_labels(comparison)
    claim(request.out, request.overwrite)
    planned = plan(comparison, list(contenders), baselines, len(problems))
    for line in plan_lines(comparison, planned, len(problems)):
        stages.tell(line)
    record = _record(comparison, problems, contenders, baselines)
    choices = _shared_choices(comparison, problems, baselines, stages)
    entries: list[Entry] = []
    plots = []
    for name, problem in problems.items():
        here = [enter(request, name, problem, contender, label, stages) for label, contender in contenders.items()]
        here += [
            enter_tuned(comparison, name, problem, baseline, stages, label=label, choice=choices.get((label, name)))
            for label, baseline in baselines.items()
        ]
        entries += here
        tables = [
            write_csv(request.out / "curves.csv", CURVE_COLUMNS, curve_rows(entries)),
            write_csv(request.out / "scores.csv", SCORE_COLUMNS, score_rows(entries)),
            write_csv(request.out / "tuning.csv", TUNING_COLUMNS, tuning_rows(entries)),
            write_yaml(request.out / "compare.yaml", {**record, "tuning": _tuning_record(entries)}),
        ]
        plots.append(plot_problem(request.out / f"{file_name(name)}.png", name, problem.source, here))
    sources = {name: problem.source for name, problem in problems.items()}
    return Outcome(entries, sources, [*tables, *plots], [*_costs(entries), *_verdicts(comparison)])


def _verdicts(comparison: Comparison) -> list[str]:
    """Who won, from the curves that were written, by the score that settings were chosen by."""
    measure = comparison.select if comparison.select in MEASURES else MEASURES[0]
    scoring = score_folder(comparison.request.out, measure=measure)
    if len(scoring.optimizers) < 2:
        return []
    return list(dict.fromkeys((verdict(scoring), *verdicts(scoring))))
