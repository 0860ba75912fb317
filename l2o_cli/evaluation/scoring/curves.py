"""The runs of a results folder, read from its curves.csv, so that they can be scored without running anything.

Shape letters: R records of a run (one before the first step, one after each window).
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from l2o_cli.errors import BadInput
from l2o_cli.evaluation.scoring.scores import EPSILON, tail_steps

FILE = "curves.csv"
KEY = ("problem", "optimizer", "trial", "seed")
SPLITS = ("train", "validation", "test")  # of which there may be a column of losses; train has to be there

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Curve:
    """One run. Losses are NaN from the divergence on."""

    problem: str
    optimizer: str
    trial: int
    seed: int
    steps: np.ndarray  # [R], updates made at each record; the first is 0
    seconds: np.ndarray  # [R]
    losses: dict[str, np.ndarray]  # of each split that was measured, [R]; train: the mean of the window

    @property
    def diverged(self) -> bool:
        """Whether the run was stopped: its last window has no finite training loss."""
        return not np.isfinite(self.losses["train"][-1])

    @property
    def last_finite_step(self) -> int:
        """The last record with a finite training loss; 0 where there is none."""
        return int(self.steps[np.isfinite(self.losses["train"])].max(initial=0))

    def final_loss(self, split: str, record: int = -1) -> float | None:
        """The loss at a record: of train the mean over the last 5 % of the steps until then, at least one window.

        A diverged run, at whatever record: inf. None where the split was not measured, or where it has no number at the record.
        """
        if split not in self.losses:
            return None
        if self.diverged:
            return float("inf")
        losses = self.losses[split][: self.steps.size + record + 1 if record < 0 else record + 1]
        if split == "train" and losses.size > 1:
            steps = self.steps[: losses.size]
            lengths = np.diff(steps, prepend=0)
            tail = tail_steps(int(steps[-1]), int(lengths.max()))
            weights = np.clip(steps - (steps[-1] - tail), 0, lengths)
            return float(weights @ losses / weights.sum())
        return float(losses[-1]) if np.isfinite(losses[-1]) else None

    def mean_log(self, split: str) -> float | None:
        """The mean over the records after the first of log(max(loss, 0) + 1e-12), windows weighted by their steps.

        A diverged run: inf. None where the split was not measured at each record.
        """
        if split not in self.losses:
            return None
        if self.diverged:
            return float("inf")
        logs = np.log(np.maximum(self.losses[split][1:], 0) + EPSILON)
        return float(np.average(logs, weights=np.diff(self.steps))) if np.isfinite(logs).all() else None

    def record_within(self, seconds: float) -> int:
        """The last record that was reached in `seconds`."""
        return int(np.searchsorted(self.seconds, seconds, side="right")) - 1


def read_curves(folder: Path) -> list[Curve]:
    """The runs of the curves.csv in `folder`, in its order.

    Raises:
        BadInput: there is no such file, or it is not as `l2o compare` and `l2o evaluate` write it; the message says where.
    """
    path = folder / FILE
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = csv.reader(file)
            columns = _columns(path, next(lines, []))
            runs: dict[tuple[str, ...], list[tuple[int, list[str]]]] = {}
            for cells in lines:
                if len(cells) != len(columns):
                    raise BadInput(f"{path}, line {lines.line_num}: {len(cells)} cells, expected {len(columns)}")
                row = dict(zip(columns, cells, strict=True))
                runs.setdefault(tuple(row[name] for name in KEY), []).append((lines.line_num, cells))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not runs:
        raise BadInput(f"{path}: holds no runs")
    return [_curve(path, columns, key, rows) for key, rows in runs.items()]


def _columns(path: Path, names: Sequence[str]) -> list[str]:
    for name in (*KEY, "step", "seconds", "train_loss"):
        if name not in names:
            raise BadInput(f"{path}: lacks the column {name!r}")
    return list(names)


def _curve(path: Path, columns: list[str], key: tuple[str, ...], rows: list[tuple[int, list[str]]]) -> Curve:
    def cells(name: str, kind: type[Number]) -> list[Number]:
        place, values = columns.index(name), []
        for line, row in rows:
            try:
                values.append(kind(row[place]))
            except ValueError:
                raise BadInput(f"{path}, line {line}: {name} {row[place]!r} is no number") from None
        return values

    problem, optimizer, *_ = key
    steps, seconds = np.array(cells("step", int)), np.array(cells("seconds", float))
    losses = {}
    for split in SPLITS:
        name = f"{split}_loss"
        if name in columns and any(row[columns.index(name)] for _, row in rows):
            losses[split] = np.array(cells(name, float))
    if steps[0] != 0 or len(steps) < 2 or (np.diff(steps) <= 0).any() or not (np.diff(seconds) >= 0).all():
        raise BadInput(
            f"{path}, line {rows[0][0]}: the steps of a run ascend from 0, and its seconds do not descend; not so those of"
            f" {optimizer!r} on {problem!r}, seed {key[3]}"
        )
    if "train" not in losses:
        raise BadInput(f"{path}, line {rows[0][0]}: train_loss is empty")
    return Curve(problem, optimizer, cells("trial", int)[0], cells("seed", int)[0], steps, seconds, losses)
