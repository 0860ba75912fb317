"""A plan from its first cell to its tables: how long it is going to take, run here or on workers, written as it goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from l2o_cli.comparison.cell import Cell
from l2o_cli.comparison.jobs import make_runs
from l2o_cli.comparison.plan import Plan, plan_lines
from l2o_cli.comparison.results import Entry, claim, write_results
from l2o_cli.comparison.run_cell import choose_shared, run_cell
from l2o_cli.comparison.sweeps.run import run_sweeps
from l2o_cli.comparison.tuning.tiers import Choice
from l2o_cli.executor.cluster import Cluster
from l2o_cli.files import write_atomically
from l2o_cli.runs.batches import Batches
from l2o_cli.spec import to_yaml
from l2o_cli.stages import Stages, Stopped
from l2o_cli.terminal import duration

PROBED = 6  # problems on which the pace is measured; the others are taken to be like them
SPEC = "spec.yaml"
TABLES = ("curves.csv", "scores.csv", "tuning.csv", "sweeps.csv", "sweeps.yaml", "evaluation.yaml", "compare.yaml", SPEC)


@dataclass(frozen=True)
class Outcome:
    """What came of a plan.

    Attributes:
        sources: of each problem's data.
        tables: the files that were written.
        notes: what is to be known besides.
        complete: whether nothing is left to run.
    """

    entries: list[Entry]
    sources: dict[str, str]
    tables: list[Path]
    notes: Sequence[str] = ()
    complete: bool = True


def carry_out(
    plan: Plan, out: Path, stages: Stages, *, overwrite: bool = False, resume: bool = False, cluster: Cluster | None = None
) -> Outcome:
    """Run everything on the same seeds, baselines tuned as their tiers say, and write what comes of it.

    Files: curves.csv and scores.csv of the reporting runs, tuning.csv of the others, sweeps.csv and sweeps.yaml, compare.yaml or
    evaluation.yaml, spec.yaml. They are complete after each problem, so that what is interrupted keeps what it has.

    Args:
        cluster: whose workers make the runs; None: this process does.

    Raises:
        BadInput: the folder is not empty.
    """
    claim(out, overwrite or resume)
    for name in () if resume else TABLES:  # of what is overwritten: no report may mix two commands
        (out / name).unlink(missing_ok=True)
    write_atomically(out / SPEC, to_yaml(plan.spec))
    if plan.compares:
        for line in (*plan_lines(plan.cells), *(sweep.line for sweep in plan.sweeps)):
            stages.tell(line)
    entries: list[Entry] = []
    complete, record = True, plan.record
    write_results(out, record, entries)
    try:
        if plan.compares:
            for line in estimate(plan.cells, stages):
                stages.tell(line)
        if cluster is not None:
            make_runs(plan, cluster, stages)
        choices = choose_shared(plan.cells, stages)
        with stages.whole(plan.steps):
            for title in plan.problems:
                entries += [
                    entry for cell in plan.cells if cell.title == title for entry in run_cell(cell, stages, choices.get(cell))
                ]
                write_results(out, record, entries)
            run_sweeps(plan.sweeps, out, stages)
    except Stopped:
        complete = False
        stages.stopped()
    here = {entry.summary.problem for entry in entries}
    sources = {title: problem.source for title, problem in plan.problems.items() if title in here}
    tables = [path for name in TABLES if (path := out / name).exists()]
    return Outcome(entries, sources, tables, _notes(plan, out, entries, complete, cluster is None), complete)


def estimate(cells: Sequence[Cell], stages: Stages) -> list[str]:
    """How many runs are kept from before, and how long the others take, in lines.

    They are counted without extensions of sweeps, at the pace of a few steps on some of the problems, compilation left out.
    """
    batches = {cell: cell.batches() for cell in cells}
    missing = {cell: _missing(cell, own) for cell, own in batches.items()}
    runs = sum(map(sum, missing.values()))
    kept = sum(cell.tuning_runs + cell.reporting_runs for cell in cells) - runs
    said = [f"  {kept:,} of these runs were made before and are not made again"] if kept else []
    concerned = list(dict.fromkeys(cell.title for cell in cells if any(missing[cell])))
    probed = concerned[:: -(-len(concerned) // PROBED) or 1]
    seconds, measured = 0.0, 0
    for cell, (tuning, reporting) in missing.items():
        if cell.title in probed and tuning + reporting:
            # A batch as it is going to run, so that nothing is compiled in vain.
            settings, seeds = (cell.candidates, cell.terms.tuning) if cell.tuned else (cell.settings, cell.terms.reporting)
            with stages.stage(f"{cell.title}: {cell.label}, measuring the pace"):
                pace = batches[cell].pace(settings, seeds, curve=not cell.tuned)
            if pace is not None:
                records = batches[cell].windows + 1
                seconds += (tuning + reporting) * cell.terms.steps * pace.step + (tuning + reporting * records) * pace.record
                measured += tuning + reporting
    if seconds:
        said.append(f"  estimated time: {duration(seconds * runs / measured)}, without compilation and sweeps")
    return said


def _missing(cell: Cell, batches: Batches) -> tuple[int, int]:
    """The runs of tuning and of reporting that are to be made. Those of a setting not yet chosen count if any of tuning does."""
    terms = cell.terms
    if not cell.tuned:
        return 0, batches.missing(cell.settings, terms.reporting)
    tuning = batches.missing(cell.candidates, terms.tuning, curve=False)
    return tuning, terms.seeds if tuning or terms.store is None else 0


def _notes(plan: Plan, out: Path, entries: Sequence[Entry], complete: bool, made_here: bool) -> list[str]:
    said, store = _costs(entries), plan.terms.store
    if store is not None and store.found and made_here:
        runs = store.found + store.made
        said.append(f"{store.found:,} of {runs:,} runs were made before; they come from {store.folder}")
    if not complete:
        done = len({entry.summary.problem for entry in entries})
        left = f"with {done} of {len(plan.problems)} problems" if done < len(plan.problems) else "before all sweeps were"
        said.append(f"stopped {left} complete; go on with --resume --out {out}")
    return said


def _costs(entries: Sequence[Entry]) -> list[str]:
    """What it took to choose a setting for several problems, a line for each such baseline."""
    choices: dict[str, list[Choice]] = {}
    for entry in entries:
        if entry.tuning and entry.tuning.problems > 1:
            choices.setdefault(entry.summary.optimizer, []).append(entry.tuning)
    return [
        f"{label}: one setting for {own[0].problems} problems together, "
        f"the best mean rank of {own[0].tried}; choosing it took {sum(len(one.runs) for one in own):,} runs"
        for label, own in choices.items()
    ]
