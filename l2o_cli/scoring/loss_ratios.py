"""The final training loss of each optimizer that runs as it is over that of the first baseline, from a results folder alone.

A point is where everything runs once: a problem of the comparison, or a value of a sweep in which baselines are tuned anew.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from l2o_cli.errors import BadInput
from l2o_cli.scoring.record import part
from l2o_cli.scoring.run_scores import find_reference
from l2o_cli.scoring.scored import Scoring
from l2o_cli.scoring.sweep_tables import SweepTable, axis_label, value_texts

MEASURE = "final_train_loss"
UNTUNED = ("learning_rate", "step_time", "training_problems")  # sweeps whose values are no points


@dataclass(frozen=True)
class Point:
    """One optimizer and the reference at one point: medians over the seeds, inf where half of the runs diverged.

    Attributes:
        sweep: its name; None: a problem of the comparison.
        where: the problem, or the sweep with its value.
        axis: what is varied, as on the axis of a picture; None for a problem.
        place: where the value stands on that axis; None where it is no number.
        parameters: of the problem; None where that is not known.
    """

    sweep: str | None
    where: str
    axis: str | None
    place: float | None
    parameters: int | None
    loss: float
    reference: float

    @property
    def lower(self) -> bool:
        """Whether the optimizer's loss is lower than the reference's; not where both diverged."""
        return self.loss < self.reference

    @property
    def ratio(self) -> float | None:
        """The loss over the reference's: inf where it diverged, 0 where the reference did; None where there is none.

        There is none where both diverged, nor of losses that are negative or where the reference's is zero.
        """
        if math.isinf(self.reference):
            return None if math.isinf(self.loss) else 0.0
        return self.loss / self.reference if self.loss >= 0 and self.reference > 0 else None


@dataclass(frozen=True)
class Trend:
    """How the ratio changes over a sweep.

    Attributes:
        slope: of log2(ratio) against log2(value), least squares: by how many doublings the ratio grows per doubling.
    """

    sweep: str
    axis: str
    slope: float


@dataclass(frozen=True)
class LossRatios:
    """One optimizer against the reference, at all points where both ran.

    Attributes:
        left_out: sweeps that it runs in and the reference does not.
    """

    optimizer: str
    reference: str
    points: Sequence[Point]
    left_out: Sequence[str] = ()

    @property
    def lower(self) -> int:
        """The points where its loss is lower."""
        return sum(point.lower for point in self.points)

    @property
    def share(self) -> float:
        return self.lower / len(self.points)

    @property
    def largest(self) -> Point | None:
        """The point with the largest ratio."""
        known = [point for point in self.points if point.ratio is not None]
        return max(known, key=lambda point: point.ratio or 0.0, default=None)

    @property
    def trends(self) -> list[Trend]:
        """Of each sweep with ratios at two values or more."""
        sweeps = dict.fromkeys(point.sweep for point in self.points if point.sweep is not None)
        found = (_trend([point for point in self.points if point.sweep == sweep]) for sweep in sweeps)
        return [trend for trend in found if trend is not None]


def _trend(points: Sequence[Point]) -> Trend | None:
    known = [
        (point.place, point.ratio)
        for point in points
        if point.place and point.place > 0 and point.ratio and point.ratio < math.inf
    ]
    if len({place for place, _ in known}) < 2:
        return None
    places, ratios = np.log2(np.array(known, np.float64)).T
    centred = places - places.mean()
    return Trend(str(points[0].sweep), str(points[0].axis), float(centred @ ratios / (centred @ centred)))


def loss_ratios(
    record: Mapping[str, Any], scoring: Scoring | None, tables: Sequence[SweepTable], reference: str | None = None
) -> list[LossRatios]:
    """Of each optimizer that runs as it is, those that the record names first; none without a baseline.

    Args:
        scoring: of the comparison's problems; None: there are none.
        reference: the label of the baseline; None: the first of the record, else the tuned Adam.

    Raises:
        BadInput: no optimizer is called `reference`.
    """
    tables = [table for table in tables if table.over not in UNTUNED]
    request = part(record, "request")
    in_sweeps = dict.fromkeys(line.label for table in tables for line in table.lines)
    if scoring is None and reference is not None and reference not in in_sweeps:
        raise BadInput(f"reference {reference!r} is not among the optimizers: {', '.join(in_sweeps)}")
    labels = [score.optimizer for score in scoring.optimizers] if scoring else []
    baselines = request.get("baselines")
    if reference is None and isinstance(baselines, list) and baselines:
        reference = str(baselines[0])
    if reference is None:
        reference = scoring.reference if scoring else find_reference(list(in_sweeps))
    if reference is None:
        return []
    named, trials = request.get("optimizers"), scoring.trials if scoring else {}
    as_they_are = (
        [str(name) for name in named] if isinstance(named, list) else [one for one in labels if not any(trials.get(one, ()))]
    )
    as_they_are += [line.label for table in tables for line in table.lines if line.learned]
    found = []
    for optimizer in dict.fromkeys(as_they_are):
        points = [*_of_problems(record, scoring, optimizer, reference)]
        points += [point for table in tables for point in _of_sweep(table, optimizer, reference)]
        if points and optimizer != reference:
            both = {table.name: {optimizer, reference} & {line.label for line in table.lines} for table in tables}
            left_out = [name for name, there in both.items() if there == {optimizer}]
            found.append(LossRatios(optimizer, reference, points, left_out))
    return found


def _of_problems(record: Mapping[str, Any], scoring: Scoring | None, optimizer: str, reference: str) -> Iterator[Point]:
    medians = {(score.problem, score.optimizer): score.medians[MEASURE] for score in scoring.problems} if scoring else {}
    for problem in dict.fromkeys(problem for problem, _ in medians):
        ours, theirs = medians.get((problem, optimizer)), medians.get((problem, reference))
        if ours is not None and theirs is not None:
            parameters = part(part(record, "problems"), problem).get("parameters")
            yield Point(None, problem, None, None, parameters, ours, theirs)


def _of_sweep(table: SweepTable, optimizer: str, reference: str) -> Iterator[Point]:
    lines = {line.label: line for line in table.lines}
    if optimizer not in lines or reference not in lines:
        return
    medians = (lines[label].medians(MEASURE) for label in (optimizer, reference))
    columns = zip(value_texts(table), table.parameters, *medians, strict=True)
    for index, (text, parameters, ours, theirs) in enumerate(columns):
        if not math.isnan(ours) and not math.isnan(theirs):
            place = table.places[index] if table.places else None
            yield Point(table.name, f"{table.name} at {text}", axis_label(table), place, parameters, ours, theirs)
