"""One optimizer on one problem, as it is or with the hyperparameters that tuning chooses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from l2o_problems.base import Problem

from l2o_cli.comparison.comparison import Comparison
from l2o_cli.comparison.request import Request
from l2o_cli.comparison.results import Entry
from l2o_cli.comparison.tuning.choice import any_started, choose
from l2o_cli.comparison.tuning.tiers import DEFAULTS, Baseline, Choice
from l2o_cli.runs.records import Contender
from l2o_cli.scoring.scores import summarize
from l2o_cli.stages import Stages


def enter(request: Request, name: str, problem: Problem, contender: Contender, label: str, stages: Stages) -> Entry:
    """The runs of a contender as it is, on the reporting seeds."""
    batches = request.batches(name, problem, contender, label)
    text = f"{name}: {label}, {request.seeds} seeds of {request.steps} steps"
    with stages.stage(text, request.seeds * request.steps) as advance:
        runs = batches.run([request.setting(contender)], request.reporting_seeds, advance=advance)
    any_started(runs, stages)
    return Entry(summarize(runs), runs, contender.optimizer.learned)


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
    batches = request.batches(name, problem, baseline.contender, label)
    if choice is None:
        [choice] = choose(comparison, baseline.tier, [batches], stages)
    rate = choice.setting.get("learning_rate")
    chosen = f"trial {choice.trial}" if rate is None else f"rate {rate:.3g}"
    text = f"{name}: {label} with {chosen}, {request.seeds} seeds of {request.steps} steps"
    with stages.stage(text, request.seeds * request.steps) as advance:
        runs = batches.run([choice.setting], request.reporting_seeds, first_trial=choice.trial, advance=advance)
    any_started(runs, stages)
    return Entry(summarize(runs, choice.trials), runs, baseline.contender.optimizer.learned, choice)


def shared_choices(
    comparison: Comparison, problems: Mapping[str, Problem], baselines: Mapping[str, Baseline], stages: Stages
) -> dict[tuple[str, str], Choice]:
    """{(label, problem): choice} of the baselines that have one setting for all problems."""
    choices = {}
    for label, baseline in baselines.items():
        if baseline.tier.shared and problems:
            batches = [comparison.request.batches(name, one, baseline.contender, label) for name, one in problems.items()]
            for name, choice in zip(problems, choose(comparison, baseline.tier, batches, stages), strict=True):
                choices[label, name] = choice
    return choices
