"""Contenders as they are against hand-designed baselines tuned for each problem."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from l2o_cli.errors import BadInput
from l2o_cli.evaluation.evaluate import Outcome, Request, described, enter, file_name, labels, make_problems
from l2o_cli.evaluation.lbfgs import check_fits
from l2o_cli.evaluation.plots import plot_problem
from l2o_cli.evaluation.progress import Stages
from l2o_cli.evaluation.records import Contender, Run
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
from l2o_cli.evaluation.scores import CRITERIA, median, score, summarize
from l2o_cli.evaluation.trials import Trials, hyperparameters
from l2o_cli.evaluation.tuning import Tuning, grid, tune
from problems.base import Problem

TUNING_SEEDS_FROM = 1_000_000  # beyond every reporting seed, so that no rate is chosen on what it is reported on


@dataclass(frozen=True)
class Comparison:
    """A request with baselines and how they are tuned."""

    request: Request
    baselines: Sequence[Contender]
    trials: int = 15  # learning rates tried for each baseline on each problem, before extensions
    tuning_seeds: int = 2
    select: str = "final_train_loss"  # one of CRITERIA

    @property
    def seeds_for_tuning(self) -> list[int]:
        first = TUNING_SEEDS_FROM + self.request.seed
        return list(range(first, first + self.tuning_seeds))


def check(comparison: Comparison, problems: dict[str, Problem]) -> None:
    """BadInput for what cannot be tuned or would be tuned on the reporting seeds."""
    if comparison.select not in CRITERIA:
        raise BadInput(f"--select {comparison.select!r}; there are: {', '.join(CRITERIA)}")
    if comparison.request.seeds > TUNING_SEEDS_FROM:
        raise BadInput(f"--seeds {comparison.request.seeds}: at most {TUNING_SEEDS_FROM}")
    for baseline in comparison.baselines:
        if "learning_rate" not in hyperparameters(baseline):
            raise BadInput(f"baseline {baseline.label!r} has no learning_rate to tune; name it with --optimizer instead")
    for name, problem in problems.items():
        if comparison.select == "final_validation_loss" and not problem.held_out:
            raise BadInput(f"--select final_validation_loss: problem {name!r} has no held-out data")


def sweep(comparison: Comparison, trials: Trials, stages: Stages) -> tuple[Tuning, list[Run]]:
    """The learning rate that is best on the tuning seeds, and all runs on them."""
    name, label, seeds = trials.problem_name, trials.label, comparison.tuning_seeds
    tuning_runs: list[Run] = []

    def scores_of(rates: list[float], first_trial: int) -> list[float]:
        kind = "tuning" if first_trial == 0 else "best at the edge, extending"
        text = f"{name}: {label}, {kind}: {len(rates)} rates x {seeds} seeds of {trials.steps} steps"
        with stages.stage(text) as advance:
            runs = trials.run(
                [{"learning_rate": rate} for rate in rates],
                comparison.seeds_for_tuning,
                first_trial=first_trial,
                curve=False,
                advance=advance,
            )
        tuning_runs.extend(runs)
        by_rate = [runs[index : index + seeds] for index in range(0, len(runs), seeds)]
        return [median([getattr(score(run), comparison.select) for run in of_rate]) for of_rate in by_rate]

    tuning = tune(scores_of, grid(comparison.trials, hyperparameters(trials.contender)["learning_rate"]))
    if tuning.edge:
        stages.warn(f"{name}: the best learning rate of {label}, {tuning.rate:.3g}, is at the {tuning.edge} edge")
    return tuning, tuning_runs


def enter_tuned(comparison: Comparison, name: str, problem: Problem, baseline: Contender, stages: Stages) -> Entry:
    """A baseline with the learning rate that was best on the tuning seeds, on the reporting seeds."""
    request = comparison.request
    trials = Trials(name, problem, baseline, steps=request.steps, every=request.every, xla=request.xla)
    tuning, tuning_runs = sweep(comparison, trials, stages)
    with stages.stage(
        f"{name}: {baseline.label} with rate {tuning.rate:.3g}, {request.seeds} seeds of {request.steps} steps"
    ) as advance:
        runs = trials.run(
            [{"learning_rate": tuning.rate}],
            request.reporting_seeds,
            first_trial=tuning.chosen,
            advance=advance,
        )
    return Entry(summarize(runs, len(tuning.rates)), runs, baseline.optimizer.learned, tuning, tuning_runs)


def _record(comparison: Comparison, problems: dict[str, Problem], contenders: dict[str, Contender]) -> dict[str, Any]:
    request = comparison.request
    baselines = {baseline.label: baseline for baseline in comparison.baselines}
    return {
        "command": "compare",
        "request": {
            "problems": list(problems),
            "optimizers": list(contenders),
            "baselines": list(baselines),
            "trials": comparison.trials,
            "select": comparison.select,
            "steps": request.steps,
            "every": request.every,
            "seeds": request.reporting_seeds,
            "tuning_seeds": comparison.seeds_for_tuning,
            "xla": request.xla,
        },
        **described(problems, {**contenders, **baselines}),
    }


def _tuning_record(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    return [
        {
            "problem": entry.row.problem,
            "optimizer": entry.row.optimizer,
            "learning_rate": entry.tuning.rate,
            "tried": len(entry.tuning.rates),
            "edge": entry.tuning.edge,
        }
        for entry in entries
        if entry.tuning
    ]


def compare(comparison: Comparison, stages: Stages) -> Outcome:
    """Tune each baseline on each problem, run everything on the same seeds, and write what came out.

    Each baseline's learning rate is swept half a decade apart on seeds of its own; while the best is at an edge of the grid,
    the grid is extended there, and where it stays at the edge that is said. The contenders are not tuned.

    Files: curves.csv and scores.csv of the reporting runs, tuning.csv of the others, compare.yaml, one PNG per problem. They
    are complete after each problem, so an interrupted comparison keeps what it has.

    Raises:
        BadInput: an unknown problem, a baseline without a learning rate, or a folder that is not empty.
    """
    request = comparison.request
    problems = make_problems(request.problems)
    check(comparison, problems)
    check_fits(request.contenders, problems)
    baselines = labels(comparison.baselines)
    contenders = dict(zip(labels(request.contenders, taken=baselines), request.contenders, strict=True))
    claim(request.out, request.overwrite)
    record = _record(comparison, problems, contenders)
    entries: list[Entry] = []
    plots = []
    for name, problem in problems.items():
        here = [enter(request, name, problem, contender, label, stages) for label, contender in contenders.items()]
        here += [enter_tuned(comparison, name, problem, baseline, stages) for baseline in comparison.baselines]
        entries += here
        tables = [
            write_csv(request.out / "curves.csv", CURVE_COLUMNS, curve_rows(entries)),
            write_csv(request.out / "scores.csv", SCORE_COLUMNS, score_rows(entries)),
            write_csv(request.out / "tuning.csv", TUNING_COLUMNS, tuning_rows(entries)),
            write_yaml(request.out / "compare.yaml", {**record, "tuning": _tuning_record(entries)}),
        ]
        plots.append(plot_problem(request.out / f"{file_name(name)}.png", name, problem.source, here))
    return Outcome(entries, {name: problem.source for name, problem in problems.items()}, [*tables, *plots])
