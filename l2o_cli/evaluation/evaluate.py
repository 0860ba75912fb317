"""Curves and scores of optimizers as they are, on any problems."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from l2o_cli.environment import environment
from l2o_cli.errors import BadInput
from l2o_cli.evaluation.lbfgs import check_fits, trials_of
from l2o_cli.evaluation.plots import plot_problem
from l2o_cli.evaluation.progress import Stages
from l2o_cli.evaluation.records import Contender, Labelled
from l2o_cli.evaluation.results import (
    CURVE_COLUMNS,
    SCORE_COLUMNS,
    Entry,
    claim,
    curve_rows,
    score_rows,
    write_csv,
    write_yaml,
)
from l2o_cli.evaluation.scores import summarize
from l2o_cli.evaluation.trials import hyperparameters
from l2o_cli.rollout import layout_of
from l2o_cli.spec import parse_problems
from problems.base import Problem


@dataclass(frozen=True)
class Request:
    """What both commands ask: which problems and optimizers, for how long, on how many seeds."""

    problems: Sequence[str]
    contenders: Sequence[Contender]
    steps: int
    seeds: int  # of the report: seed, seed + 1, ...
    out: Path
    every: int | None = None  # steps per window; None: a hundredth of the steps
    seed: int = 0
    xla: bool = True
    overwrite: bool = False
    settings: Mapping[str, float] = field(default_factory=dict)  # hyperparameters for the hand-designed contenders

    @property
    def reporting_seeds(self) -> list[int]:
        return list(range(self.seed, self.seed + self.seeds))


@dataclass(frozen=True)
class Outcome:
    entries: list[Entry]
    sources: dict[str, str]  # of each problem's data
    files: list[Path]
    notes: Sequence[str] = ()  # what is to be known of the rows


def make_problems(texts: Sequence[str]) -> dict[str, Problem]:
    """{title: problem} of names, `name(option=value)+transformation` and ensembles; BadInput when one is wrong or given twice."""
    problems: dict[str, Problem] = {}
    for text in texts:
        for family in parse_problems(text):
            if family.title in problems:
                raise BadInput(f"problem {family.title!r} is given twice")
            problems[family.title] = family.make()
    if not problems:
        raise BadInput("no problem is given")
    return problems


def file_name(title: str) -> str:
    """A problem's title as a part of a file name."""
    return re.sub(r"[^A-Za-z0-9_.,=+-]+", "-", title).strip("-")


def labels(contenders: Sequence[Labelled], taken: Sequence[str] = ()) -> list[str]:
    """A label for each, no two alike: its own, or where several share it its source.

    A label in `taken` (a tuned baseline's) becomes `label (defaults)`. BadInput when an optimizer is given twice.
    """
    own = [contender.label for contender in contenders]
    chosen = [label if own.count(label) == 1 else one.source for label, one in zip(own, contenders, strict=True)]
    for label, name in zip(chosen, own, strict=True):
        if chosen.count(label) > 1:
            raise BadInput(f"optimizer {name!r} is given twice")
    return [f"{label} (defaults)" if label in taken else label for label in chosen]


def check_settings(request: Request) -> None:
    """BadInput unless every hand-designed contender has each hyperparameter that is set."""
    if request.settings and all(contender.optimizer.learned for contender in request.contenders):
        raise BadInput("--set is for hand-designed optimizers; none is among the --optimizer values")
    for contender in request.contenders:
        known = hyperparameters(contender)
        for name in request.settings:
            if not contender.optimizer.learned and name not in known:
                raise BadInput(
                    f"--set {name}: optimizer {contender.label!r} has no such hyperparameter; there are: {', '.join(known)}"
                )


def enter(request: Request, name: str, problem: Problem, contender: Contender, label: str, stages: Stages) -> Entry:
    """The runs of a contender as it is, on the reporting seeds."""
    trials = trials_of(name, problem, contender, steps=request.steps, every=request.every, label=label, xla=request.xla)
    setting = {} if contender.optimizer.learned else request.settings
    with stages.stage(f"{name}: {label}, {request.seeds} seeds of {request.steps} steps") as advance:
        runs = trials.run([setting], request.reporting_seeds, advance=advance)
    return Entry(summarize(runs), runs, contender.optimizer.learned)


def described(problems: Mapping[str, Problem], contenders: Mapping[str, Contender]) -> dict[str, Any]:
    """What the record says of the problems, the optimizers and the software."""
    return {
        "problems": {
            name: {"source": problem.source, "parameters": layout_of(problem).parameters, "held_out": problem.held_out}
            for name, problem in problems.items()
        },
        "optimizers": {
            label: {"source": contender.source, "learned": contender.optimizer.learned} for label, contender in contenders.items()
        },
        "environment": environment(),
    }


def evaluate(request: Request, stages: Stages) -> Outcome:
    """Run every contender on every problem; write curves.csv, scores.csv, evaluation.yaml and one PNG per problem.

    The files are complete after each problem, so an interrupted evaluation keeps what it has.

    Raises:
        BadInput: an unknown problem or hyperparameter, or a folder that is not empty.
    """
    problems = make_problems(request.problems)
    check_settings(request)
    check_fits(request.contenders, problems)
    contenders = dict(zip(labels(request.contenders), request.contenders, strict=True))
    claim(request.out, request.overwrite)
    record = {
        "command": "evaluate",
        "request": {
            "problems": list(problems),
            "optimizers": list(contenders),
            "settings": dict(request.settings),
            "steps": request.steps,
            "every": request.every,
            "seeds": request.reporting_seeds,
            "xla": request.xla,
        },
        **described(problems, contenders),
    }
    entries: list[Entry] = []
    files = [write_yaml(request.out / "evaluation.yaml", record)]
    for name, problem in problems.items():
        here = [enter(request, name, problem, contender, label, stages) for label, contender in contenders.items()]
        entries += here
        tables = [
            write_csv(request.out / "curves.csv", CURVE_COLUMNS, curve_rows(entries)),
            write_csv(request.out / "scores.csv", SCORE_COLUMNS, score_rows(entries)),
        ]
        files.append(plot_problem(request.out / f"{file_name(name)}.png", name, problem.source, here))
    return Outcome(entries, {name: problem.source for name, problem in problems.items()}, [*tables, *files])
