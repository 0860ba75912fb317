"""A results folder, scored once: its curves and sweeps, and what its other files say of them, without running anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l2o_cli.scoring.curves import FILE, read_curves
from l2o_cli.scoring.loss_ratios import LossRatios, loss_ratios
from l2o_cli.scoring.measures import COMPARED
from l2o_cli.scoring.record import adam_references, part, read_record, read_rows, trials_of
from l2o_cli.scoring.score_curves import score_curves
from l2o_cli.scoring.scored import Scoring
from l2o_cli.scoring.sweep_tables import SweepTable, read_tables


@dataclass(frozen=True)
class Results:
    """What a results folder says.

    Attributes:
        record: what was asked and with what it was done; {} where that is not there.
        scoring: all scores of its runs; None of a folder with sweeps alone.
        score_rows: of scores.csv, as text.
        ratios: losses over those of the first baseline, on its problems and at the values of its sweeps.
    """

    folder: Path
    record: Mapping[str, Any]
    scoring: Scoring | None
    score_rows: Sequence[Mapping[str, str]]
    sweeps: Sequence[SweepTable]
    ratios: Sequence[LossRatios]


def read_results(folder: Path, *, reference: str | None = None, measure: str | None = None, seed: int = 0) -> Results:
    """Score the runs of a results folder. Only curves.csv has to be there, or sweeps.csv with sweeps.yaml.

    Args:
        reference: the label of the baseline that others are measured by; None: tuned Adam, or the first baseline.
        measure: by which the verdict is given and the best are marked; None: the criterion that hyperparameters were chosen by,
            as the record has it, if the runs have that; else the final training loss.
        seed: of the bootstrap.

    Raises:
        BadInput: a file is not there or not as it should be, and as `score_curves`.
    """
    record, sweeps = read_record(folder), read_tables(folder)
    if sweeps and not (folder / FILE).exists():
        return Results(folder, record, None, [], sweeps, loss_ratios(record, None, sweeps, reference))
    curves, rows = read_curves(folder), read_rows(folder / "scores.csv")
    chosen_by = part(record, "request").get("select")
    optimizers = part(record, "optimizers")
    scoring = score_curves(
        curves,
        reference=reference,
        measure=measure or (chosen_by if chosen_by in COMPARED else COMPARED[0]),
        otherwise=None if measure else COMPARED[0],
        trials=trials_of(rows),
        adam=adam_references(record),
        learned=[str(label) for label in optimizers if part(optimizers, label).get("learned")],
        seed=seed,
    )
    return Results(folder, record, scoring, rows, sweeps, loss_ratios(record, scoring, sweeps, reference))
