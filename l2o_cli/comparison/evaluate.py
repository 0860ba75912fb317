"""Curves and scores of optimizers as they are, on any problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l2o_problems.base import Problem

from l2o_cli.carry import layout_of
from l2o_cli.comparison.entries import enter
from l2o_cli.comparison.request import Request, check_memory, check_settings, labels, make_problems
from l2o_cli.comparison.results import (
    CURVE_COLUMNS,
    SCORE_COLUMNS,
    Entry,
    claim,
    curve_rows,
    score_rows,
    write_csv,
    write_yaml,
)
from l2o_cli.comparison.workers import make_runs
from l2o_cli.environment import environment
from l2o_cli.files import write_atomically
from l2o_cli.reports.comparison.page import write_comparison_report
from l2o_cli.runs.lbfgs import check_fits
from l2o_cli.runs.records import Contender
from l2o_cli.spec import to_yaml
from l2o_cli.stages import Stages, Stopped

SPEC = "spec.yaml"
TABLES = ("curves.csv", "scores.csv", "tuning.csv", "sweeps.csv", "sweeps.yaml", "evaluation.yaml", "compare.yaml", SPEC)


@dataclass(frozen=True)
class Outcome:
    entries: list[Entry]
    sources: dict[str, str]  # of each problem's data
    files: list[Path]
    notes: Sequence[str] = ()  # what is to be known of the rows
    complete: bool = True  # whether nothing is left that was asked for


def described(problems: Mapping[str, Problem], contenders: Mapping[str, Contender]) -> dict[str, Any]:
    """What the record says of the problems, the optimizers and the software."""
    return {
        "problems": {
            name: {
                "identity": problem.identity,
                "source": problem.source,
                "parameters": layout_of(problem).parameters,
                "held_out": problem.held_out,
            }
            for name, problem in problems.items()
        },
        "optimizers": {
            label: {"source": contender.source, "learned": contender.optimizer.learned} for label, contender in contenders.items()
        },
        "environment": environment(),
    }


def evaluate(request: Request, stages: Stages) -> Outcome:
    """Run every contender on every problem; write curves.csv, scores.csv, evaluation.yaml, the report and its pictures.

    The tables are complete after each problem, so an interrupted evaluation keeps what it has.

    Raises:
        BadInput: an unknown problem or hyperparameter, or a folder that is not empty.
    """
    problems = make_problems(request.problems)
    check_settings(request)
    check_fits(request.contenders, problems)
    check_memory(problems, request.contenders, request.steps, request.seeds, request.seeds)
    contenders = dict(zip(labels(request.contenders), request.contenders, strict=True))
    begin(request)
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
    write_yaml(request.out / "evaluation.yaml", record)
    entries: list[Entry] = []
    complete = True
    work = len(problems) * len(contenders) * request.seeds * request.steps
    try:
        if request.workers > 1:
            make_runs(request, list(problems), stages)
        with stages.whole(work):
            for name, problem in problems.items():
                entries += [enter(request, name, problem, contender, label, stages) for label, contender in contenders.items()]
                write_tables(request.out, entries)
    except Stopped:
        complete = False
        stages.stopped()
    return ended(request, entries, problems, complete)


def begin(request: Request) -> None:
    """Make the folder for the results, with the spec in it.

    Raises:
        BadInput: it is not empty.
    """
    claim(request.out, request.overwrite or request.resume)
    if not request.resume:
        for name in TABLES:  # of what is overwritten: no report may mix two commands
            (request.out / name).unlink(missing_ok=True)
    if request.spec is not None:
        write_atomically(request.out / SPEC, to_yaml(request.spec))


def write_tables(out: Path, entries: Sequence[Entry]) -> None:
    write_csv(out / "curves.csv", CURVE_COLUMNS, curve_rows(entries))
    write_csv(out / "scores.csv", SCORE_COLUMNS, score_rows(entries))


def ended(
    request: Request, entries: list[Entry], problems: Mapping[str, Problem], complete: bool, notes: Sequence[str] = ()
) -> Outcome:
    """What came out, with the report; of a command that was stopped, what there is so far and how to go on."""
    out = request.out
    there = any((out / name).exists() for name in ("curves.csv", "sweeps.csv"))
    report = write_comparison_report(out) if request.report and there else []
    tables = [path for name in TABLES if (path := out / name).exists()]
    said = list(notes)
    if request.store is not None and request.store.found and request.workers == 1:
        all_runs = request.store.found + request.store.made
        said.append(f"{request.store.found:,} of {all_runs:,} runs were made before; they come from {request.store.folder}")
    if not complete:
        done = len({entry.row.problem for entry in entries})
        how = "" if request.spec is None else f"; go on with --resume --out {out}"
        left = f"with {done} of {len(problems)} problems" if done < len(problems) else "before all sweeps were"
        said.append(f"stopped {left} complete{how}")
    here = {entry.row.problem for entry in entries}
    sources = {name: problem.source for name, problem in problems.items() if name in here}
    return Outcome(entries, sources, [*tables, *report], said, complete)
