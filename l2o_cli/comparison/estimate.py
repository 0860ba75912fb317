"""How long a comparison is going to take: the runs that are not kept from before, at the pace of a few of their steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from l2o_cli.comparison.cell import Cell
from l2o_cli.runs.batches import Pace
from l2o_cli.stages import Stages
from l2o_cli.terminal import duration

PROBED = 6  # problems on which the pace is measured; the others are taken to be like them


class Estimate(NamedTuple):
    runs: int  # that are not kept from before
    kept: int
    seconds: float | None  # that the others take, compilation left out; None: not known

    @property
    def lines(self) -> list[str]:
        """For people."""
        said = [f"  {self.kept:,} of these runs were made before and are not made again"] if self.kept else []
        if self.seconds:
            said.append(f"  estimated time: {duration(self.seconds)}, without compilation and sweeps")
        return said


def estimate(cells: Sequence[Cell], stages: Stages) -> Estimate:
    """Count the runs that are to be made, extensions of sweeps aside, and measure on some problems how fast they go."""
    missing = {cell: _missing(cell) for cell in cells}
    total = sum(cell.tuning_runs + cell.reporting_runs for cell in cells)
    runs = sum(tuning + reporting for tuning, reporting in missing.values())
    if not runs:
        return Estimate(0, total, 0.0)
    concerned = list(dict.fromkeys(cell.title for cell in cells if any(missing[cell])))
    probed = concerned[:: -(-len(concerned) // PROBED)]
    seconds, measured = 0.0, 0
    for cell, (tuning, reporting) in missing.items():
        if cell.title in probed and tuning + reporting:
            pace = _pace(cell, stages)
            if pace is not None:
                records = cell.batches().windows + 1
                seconds += (tuning + reporting) * cell.terms.steps * pace.step + (tuning + reporting * records) * pace.record
                measured += tuning + reporting
    return Estimate(runs, total - runs, seconds * runs / measured if measured else None)


def _missing(cell: Cell) -> tuple[int, int]:
    """The runs of tuning and of reporting that are to be made. Those of a setting not yet chosen count if any of tuning does."""
    terms, batches = cell.terms, cell.batches()
    if not cell.tuned:
        return 0, batches.missing(cell.settings, terms.reporting)
    tuning = batches.missing(cell.candidates, terms.tuning, curve=False)
    return tuning, terms.seeds if tuning or terms.store is None else 0


def _pace(cell: Cell, stages: Stages) -> Pace | None:
    """Of a batch as it is going to run, so that nothing is compiled in vain."""
    with stages.stage(f"{cell.title}: {cell.label}, measuring the pace"):
        if cell.tuned:
            return cell.batches().pace(cell.candidates, cell.terms.tuning, curve=False)
        return cell.batches().pace(cell.settings, cell.terms.reporting)
