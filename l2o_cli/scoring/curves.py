"""Runs as curves.csv has them, with the losses that they are scored by: what is scored needs no more than that file.

Shape letters: R records of a run (one before the first step, one after each window).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from l2o_cli.errors import BadInput
from l2o_cli.files import read_csv
from l2o_cli.runs.records import Run

FILE = "curves.csv"
KEY = ("problem", "optimizer", "trial", "seed")
SPLITS = ("train", "validation", "test")  # of which there may be a column of losses; train has to be there

TAIL = 0.05  # share of the steps that the final training loss is a mean of
EPSILON = 1e-12  # added to the loss before the logarithm: a loss of 0 counts as 1e-12

Number = TypeVar("Number", int, float)


def rounded(value: float) -> float:
    """To 8 digits, in which tables and JSON have the same number."""
    return float(f"{value:.8g}")


def tail_steps(steps: int, every: int) -> int:
    """How many of the last steps the final training loss is a mean of: 5 %, at least one window."""
    return min(steps, max(every, math.ceil(TAIL * steps)))


@dataclass(frozen=True)
class Curve:
    """One run. Losses are NaN from the divergence on; what is said of them is rounded to 8 digits."""

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

        Of a window that this cuts, the part of its steps that is left counts with the mean of the window. A diverged run, at
        whatever record: inf. None where the split was not measured, or not at the record; inf where a run has ended and its
        loss is not finite although it has not diverged.
        """
        if split not in self.losses:
            return None
        if self.diverged:
            return math.inf
        end = self.steps.size + record + 1 if record < 0 else record + 1
        losses = self.losses[split][:end]
        if split == "train" and losses.size > 1:
            steps = self.steps[: losses.size]
            lengths = np.diff(steps, prepend=0)
            tail = tail_steps(int(steps[-1]), int(lengths.max()))
            weights = np.clip(steps - (steps[-1] - tail), 0, lengths)
            return rounded(float(weights @ losses / weights.sum()))
        if np.isfinite(losses[-1]):
            return rounded(float(losses[-1]))
        return math.inf if end == self.steps.size else None

    def mean_log(self, split: str) -> float | None:
        """The mean over the records after the first of log(max(loss, 0) + 1e-12), windows weighted by their steps.

        A diverged run: inf. None where the split was not measured at each record.
        """
        if split not in self.losses:
            return None
        if self.diverged:
            return math.inf
        logs = np.log(np.maximum(self.losses[split][1:], 0) + EPSILON)
        return rounded(float(np.average(logs, weights=np.diff(self.steps)))) if np.isfinite(logs).all() else None

    def record_within(self, seconds: float) -> int:
        """The last record that was reached in `seconds`."""
        return int(np.searchsorted(self.seconds, seconds, side="right")) - 1

    def until(self, step: int) -> Curve:
        """Its records up to a step. The test loss is known of whole runs alone."""
        end = int(np.searchsorted(self.steps, step, side="right"))
        losses = {split: of_split[:end] for split, of_split in self.losses.items() if split != "test"}
        return dataclasses.replace(self, steps=self.steps[:end], seconds=self.seconds[:end], losses=losses)


def curve_of(run: Run) -> Curve:
    """A run as it stands in curves.csv, with its numbers as they are written there."""
    steps, means = run.mean_losses(run.every)
    losses = {"train": means}
    if run.validation is not None:
        losses["validation"] = run.validation
    if run.test is not None:
        losses["test"] = np.append(np.full(len(run.seconds) - 1, np.nan), run.test)
    written = {split: np.array([rounded(loss) for loss in of_split]) for split, of_split in losses.items()}
    seconds = np.array([rounded(second) for second in run.seconds])
    return Curve(run.problem, run.optimizer, run.trial, run.seed, steps, seconds, written)


def of_equal_length(curves: Sequence[Curve]) -> tuple[list[Curve], list[str]]:
    """The runs, those on a problem cut to the longest length that all of them have, and what there is to say of that, in lines.

    Runs that diverged and have no records after that are as long as any other.

    Raises:
        BadInput: there is no such length.
    """
    by_problem: dict[str, list[Curve]] = {}
    for curve in curves:
        by_problem.setdefault(curve.problem, []).append(curve)
    ends = {problem: _common_end(problem, own) for problem, own in by_problem.items()}
    said: dict[str, list[str]] = {}
    for problem, own in by_problem.items():
        lengths = sorted({int(curve.steps[-1]) for curve in own if not curve.diverged or curve.steps[-1] > ends[problem]})
        if lengths and lengths[-1] > ends[problem]:
            line = (
                f"runs of {' and '.join(f'{one:,}' for one in lengths)} steps are scored by their first {ends[problem]:,} steps"
            )
            said.setdefault(line, []).append(problem)
        widths = sorted({int(np.diff(curve.steps).max()) for curve in own})
        if len(widths) > 1:
            line = f"losses are means over windows of {' and '.join(map(str, widths))} steps"
            said.setdefault(line, []).append(problem)
    lines = [f"{', '.join(problems)}: {line}" for line, problems in said.items()]
    return [curve if curve.steps[-1] <= ends[curve.problem] else curve.until(ends[curve.problem]) for curve in curves], lines


def _common_end(problem: str, curves: Sequence[Curve]) -> int:
    """The last step at which all runs on a problem have a record."""
    shortest = min((int(curve.steps[-1]) for curve in curves if not curve.diverged), default=0)
    long_enough = [curve.steps for curve in curves if curve.steps[-1] >= shortest]
    end = int(functools.reduce(np.intersect1d, long_enough)[-1])
    if end == 0:
        raise BadInput(f"{FILE}: the runs on {problem!r} have no step after the first at which all of them have a record")
    return end


def read_curves(folder: Path) -> list[Curve]:
    """The runs of the curves.csv in `folder`, in its order.

    Raises:
        BadInput: there is no such file, or it is not as `l2o compare` and `l2o evaluate` write it; the message says where.
    """
    path = folder / FILE
    runs: dict[tuple[str, str, int, int], list[tuple[int, Mapping[str, str]]]] = {}
    for line, row in read_csv(path, required=(*KEY, "step", "seconds", "train_loss")):
        trial, seed = (_number(path, line, row, name, int) for name in ("trial", "seed"))
        runs.setdefault((row["problem"], row["optimizer"], trial, seed), []).append((line, row))
    if not runs:
        raise BadInput(f"{path}: holds no runs")
    return [_curve(path, key, rows) for key, rows in runs.items()]


def _number(path: Path, line: int, row: Mapping[str, str], name: str, kind: type[Number]) -> Number:
    """A cell; of whole numbers also as spreadsheets write them, `0.0`."""
    try:
        value = float(row[name])
        if kind is int and not value.is_integer():
            raise ValueError
        return kind(value)
    except ValueError:
        what = "no whole number" if kind is int else "no number"
        raise BadInput(f"{path}, line {line}: {name} {row[name]!r} is {what}") from None


def _curve(path: Path, key: tuple[str, str, int, int], rows: list[tuple[int, Mapping[str, str]]]) -> Curve:
    def cells(name: str, kind: type[Number]) -> np.ndarray:
        return np.array([_number(path, line, row, name, kind) for line, row in rows])

    problem, optimizer, trial, seed = key
    steps, seconds = cells("step", int), cells("seconds", float)
    losses = {}
    for split in SPLITS:
        name = f"{split}_loss"
        if any(row.get(name) for _, row in rows):
            losses[split] = cells(name, float)
    if steps[0] != 0 or len(steps) < 2 or (np.diff(steps) <= 0).any() or not (np.diff(seconds) >= 0).all():
        raise BadInput(
            f"{path}, line {rows[0][0]}: the steps of a run ascend from 0, and its seconds do not descend; not so those of"
            f" {optimizer!r} on {problem!r}, seed {seed}"
        )
    if "train" not in losses:
        raise BadInput(f"{path}, line {rows[0][0]}: train_loss is empty")
    return Curve(problem, optimizer, trial, seed, steps, seconds, losses)
