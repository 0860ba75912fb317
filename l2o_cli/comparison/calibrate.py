"""How far Adam gets on each problem with its best learning rate, as a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from l2o_problems.adam_table import COLUMNS, AdamRow, read_table
from l2o_problems.base import Problem
from l2o_problems.data import DataMissing
from l2o_problems.ensembles import ENSEMBLES
from l2o_problems.registry import PROBLEMS

from l2o_cli.carry import layout_of
from l2o_cli.comparison.cell import Cell, Terms, make_problems
from l2o_cli.comparison.checks import check_memory
from l2o_cli.comparison.results import write_csv
from l2o_cli.comparison.run_cell import sweep
from l2o_cli.comparison.tuning.tiers import Tier
from l2o_cli.errors import BadInput
from l2o_cli.executor import jobs
from l2o_cli.executor.cluster import Cluster
from l2o_cli.executor.jobs import Job
from l2o_cli.runs.batches import default_window
from l2o_cli.runs.records import Contender, Run
from l2o_cli.scoring.run_scores import score
from l2o_cli.scoring.statistics import median
from l2o_cli.spec import parse_problems
from l2o_cli.stages import Stages

WINDOWS = 20  # compiled calls of a run: few, so that the time between them does not count


@dataclass(frozen=True)
class Calibration:
    """What to measure, and where to write it."""

    contender: Contender  # Adam
    out: Path
    steps: int = 1000
    seeds: int = 2
    trials: int = 15
    problems: Sequence[str] = ()  # none: all there are
    overwrite: bool = False
    resume: bool = False
    xla: bool = True


def every_problem() -> dict[str, Problem]:
    """{title: problem}: all that are registered, and all families of all ensembles, whose titles agree."""
    families = [family for text in (*sorted(PROBLEMS), *ENSEMBLES) for family in parse_problems(text)]
    return {family.title: family.make() for family in families}


def _rows_there(calibration: Calibration) -> dict[str, AdamRow]:
    """The rows of an interrupted calibration that this one goes on with."""
    out = calibration.out
    if out.is_dir():
        raise BadInput(f"--out {out} is a folder")
    if not out.exists() or calibration.overwrite:
        return {}
    if not calibration.resume:
        raise BadInput(f"--out {out}: exists already; choose another path, or say --resume or --overwrite")
    try:
        rows = read_table(out)
    except ValueError as error:
        raise BadInput(f"--resume: {error}") from None
    for row in rows.values():
        if (row.steps, row.seeds) != (calibration.steps, calibration.seeds):
            raise BadInput(f"--resume: {out} was made with --steps {row.steps} --seeds {row.seeds}")
    return rows


def _problems(calibration: Calibration) -> dict[str, Problem]:
    return make_problems(calibration.problems) if calibration.problems else every_problem()


def calibrate(calibration: Calibration, stages: Stages, cluster: Cluster | None = None) -> list[AdamRow]:
    """Measure each problem, and write the table anew after each.

    Problems whose data are not on this machine are left out with a warning, unless they were asked for.

    Args:
        cluster: whose workers measure, each a problem at a time; None: this process does.

    Raises:
        BadInput: an unknown problem, or a file that is in the way or is not the table to go on with.
        l2o_problems.data.DataMissing: the data of a problem that was asked for.
    """
    problems = _problems(calibration)
    rows = _rows_there(calibration)
    check_memory(problems, [calibration.contender], calibration.steps, calibration.trials + calibration.seeds, calibration.seeds)
    calibration.out.parent.mkdir(parents=True, exist_ok=True)
    order = list(dict.fromkeys([*rows, *problems]))
    names: dict[Problem, list[str]] = {}  # some have two
    known: dict[Problem, AdamRow] = {}
    for title, problem in problems.items():
        try:
            source = problem.source
        except DataMissing as error:
            if calibration.problems:
                raise
            stages.warn(f"{title} is left out: {str(error).partition(';')[0]}")
            continue
        if title in rows and (rows[title].identity, rows[title].source) == (problem.identity, source):
            known[problem] = rows[title]
        else:
            names.setdefault(problem, []).append(title)

    def write(own: Sequence[str], row: AdamRow) -> None:
        rows.update((title, dataclasses.replace(row, problem=title)) for title in own)
        write_csv(calibration.out, COLUMNS, [dataclasses.astuple(rows[title]) for title in order if title in rows])

    for problem in known.keys() & names.keys():
        write(names.pop(problem), known[problem])
    work = [Job(own[0], _measure, (calibration, own[0])) for own in names.values()]
    with closing(jobs.run(work, stages, cluster)) as ended:
        for job, row in ended:
            write(names[problems[job.title]], row)
    return [rows[title] for title in order if title in rows]


def _measure(calibration: Calibration, title: str, *, stages: Stages) -> AdamRow:
    problem = _problems(calibration)[title]
    steps, seeds = calibration.steps, calibration.seeds
    terms = Terms(steps, seeds, every=max(1, steps // WINDOWS), xla=calibration.xla, trials=calibration.trials, tuning_seeds=1)
    cell = Cell(title, problem, calibration.contender.label, calibration.contender, terms, Tier())
    tuning, _ = sweep([cell], stages)
    with stages.stage(f"{title}: rate {tuning.rate:.3g}, {seeds} seeds of {steps} steps") as advance:
        runs: list[Run] = []
        for seed in terms.reporting:  # one alone at a time, for its time per step
            runs += cell.batches().run(
                [{"learning_rate": tuning.rate}], [seed], curve=False, advance=lambda share: advance(share / seeds)
            )
    scores = [score(run) for run in runs]
    return AdamRow(
        problem=title,
        parameters=layout_of(problem).parameters,
        learning_rate=tuning.rate,
        edge=tuning.edge or "",
        initial_loss=median([float(run.losses[0]) for run in runs]),
        best_loss=median([best_loss(run) for run in runs]),
        final_loss=median([one.known("final_train_loss") for one in scores]),
        step_milliseconds=median([one.step_milliseconds for one in scores]),
        diverged=sum(run.diverged_at is not None for run in runs),
        steps=runs[0].steps,
        seeds=len(runs),
        identity=problem.identity or "",
        source=problem.source,
    )


def best_loss(run: Run) -> float:
    """The least mean loss over a window of a hundredth of the steps, until the run diverged; inf if it did in the first."""
    means = run.mean_losses(default_window(run.steps))[1][1:]
    return float(np.min(means, where=np.isfinite(means), initial=np.inf))
