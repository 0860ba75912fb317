"""A sweep as data: what runs at each value of what is varied, in the order in which it is written down."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from l2o_problems.base import Problem
from l2o_problems.transforms import layers

from l2o_cli.comparison.cell import Cell, Terms, cells_of, labels
from l2o_cli.comparison.checks import check_cells, check_memory
from l2o_cli.comparison.sweeps.meta_trained import initial_rates, training_problems, with_initial_rate
from l2o_cli.comparison.tuning.tiers import SWEEP, Baseline, parse_baselines
from l2o_cli.errors import BadInput
from l2o_cli.runs.batches import hyperparameters
from l2o_cli.runs.contenders import check_fits, contender
from l2o_cli.runs.lbfgs import Lbfgs
from l2o_cli.runs.records import Contender
from l2o_cli.spec import ProblemSpec, TransformSpec
from l2o_cli.spec.sweeps import SweepSpec
from l2o_cli.terminal import several

META_TRAINED = "meta-trained"  # the label of all checkpoints of a sweep over training_problems: one line of its picture


@dataclass(frozen=True)
class Point:
    """A value of what is varied.

    Attributes:
        title: of the problem there.
        steps: of a run there.
        checkpoint: training_problems: the contender of this point alone.
    """

    value: Any
    title: str
    problem: Problem
    steps: int
    checkpoint: Contender | None = None

    @property
    def place(self) -> tuple[str, int]:
        """What is the same for points at which the same runs: checkpoints are compared at one and the same place."""
        return self.title, self.steps


class Reading(NamedTuple):
    """What is written down of a cell at a value: the runs with one of its settings."""

    value: Any
    cell: Cell
    setting: int = 0  # index
    checkpoint: str | None = None


@dataclass(frozen=True)
class Sweep:
    """A sweep, ready to run.

    Attributes:
        optimizers: by label, those that are shown first first.
        readings: in the order of the table. Where the time of a step is measured there is no run, and the cells say of what.
    """

    spec: SweepSpec
    terms: Terms
    points: Sequence[Point]
    optimizers: Mapping[str, Contender]
    readings: Sequence[Reading]

    @property
    def timed(self) -> bool:
        return self.spec.over == "step_time"

    @property
    def cells(self) -> list[Cell]:
        """Each once, in the order in which they run."""
        return list(dict.fromkeys(reading.cell for reading in self.readings))

    @property
    def steps(self) -> int:
        """Of all runs, before extensions."""
        return 0 if self.timed else sum(cell.steps for cell in self.cells)

    @property
    def line(self) -> str:
        """What it runs, for the plan that is printed."""
        if self.timed:
            return f"  sweep {self.spec.title}: times of single steps"
        tuning_runs, reporting_runs = (
            sum(getattr(cell, f"{kind}_runs") for cell in self.cells) for kind in ("tuning", "reporting")
        )
        tuning = f"{several(tuning_runs, 'run')} to tune, then " if tuning_runs else ""
        return f"  sweep {self.spec.title}: {tuning}{several(reporting_runs, 'run')} to report, {several(self.steps, 'step')}"


def plan_sweeps(
    specs: Sequence[SweepSpec], terms: Terms, contenders: Mapping[str, Contender], baselines: Mapping[str, Baseline]
) -> list[Sweep]:
    """The sweeps of a comparison with these optimizers, ready to run.

    Raises:
        BadInput: one cannot run; the message begins with `sweeps.INDEX.field`.
    """
    sweeps: list[Sweep] = []
    for index, spec in enumerate(specs):
        sweep = _planned(f"sweeps.{index}", spec, terms, contenders, baselines)
        if spec.title in [other.spec.title for other in sweeps]:
            raise BadInput(f"sweeps.{index}.name: two sweeps are called {spec.title!r}; give one of them another name")
        sweeps.append(sweep)
    return sweeps


def _planned(
    place: str, spec: SweepSpec, terms: Terms, contenders: Mapping[str, Contender], baselines: Mapping[str, Baseline]
) -> Sweep:
    terms = dataclasses.replace(terms, steps=spec.steps or terms.steps, seeds=spec.seeds or terms.seeds)
    if spec.baselines is not None:
        with _at(f"{place}.baselines"):
            given = parse_baselines(spec.baselines, [SWEEP])
            baselines = dict(zip(labels(given), given, strict=True))
    if spec.optimizers is not None:
        with _at(f"{place}.optimizers"):
            named = [contender(name) for name in spec.optimizers]
            contenders = dict(zip(labels(named, taken=list(baselines)), named, strict=True))
    points = list(_points(place, spec, terms.steps))
    problems = {point.title: point.problem for point in points}
    with _at(place):
        longest = max((point.steps for point in points), default=terms.steps)
        check_memory(problems, list(contenders.values()), longest, terms.seeds, terms.seeds)
    with _at(f"{place}.optimizers"):
        check_fits(list(contenders.values()), problems)
        if spec.over == "step_time" and any(isinstance(one, Lbfgs) for one in contenders.values()):
            raise BadInput("lbfgs takes no steps of its own, whose time could be measured; name the others")
    with _at(f"{place}.baselines"):
        check_cells(cells_of(problems, contenders, baselines, terms), terms)
    untuned = spec.over in ("learning_rate", "step_time")
    optimizers = _each_once(contenders, baselines) if untuned else _all(points, contenders, baselines)
    if spec.over == "learning_rate":
        readings = list(_at_rates(points, optimizers, terms))
    elif spec.over == "step_time":
        cells = {point.place: _cells_at(point, optimizers, {}, terms) for point in points}
        readings = [Reading(point.value, cell) for point in points for cell in cells[point.place]]
    else:
        readings = list(_compared(points, contenders, baselines, terms))
    return Sweep(spec, terms, points, optimizers, readings)


@contextmanager
def _at(place: str) -> Iterator[None]:
    """Puts the field in front of what is wrong."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{place}: {str(error).removeprefix('--baselines: ').removeprefix('--baselines ')}") from None


def _cells_at(point: Point, contenders: Mapping[str, Contender], baselines: Mapping[str, Baseline], terms: Terms) -> list[Cell]:
    return cells_of({point.title: point.problem}, contenders, baselines, dataclasses.replace(terms, steps=point.steps))


def _compared(
    points: Sequence[Point], contenders: Mapping[str, Contender], baselines: Mapping[str, Baseline], terms: Terms
) -> Iterator[Reading]:
    """Everything runs at each point as in a comparison, baselines tuned anew."""
    cells: dict[tuple[str, int], list[Cell]] = {}
    values: list[Any] = []  # of which there are readings of all but further checkpoints
    for point in points:
        if point.place not in cells:
            cells[point.place] = _cells_at(point, contenders, baselines, terms)
        if point.checkpoint is not None:
            [cell] = _cells_at(point, {META_TRAINED: point.checkpoint}, {}, terms)
            yield Reading(point.value, cell, checkpoint=point.checkpoint.label)
        if point.value not in values:
            yield from (Reading(point.value, cell) for cell in cells[point.place])
        values.append(point.value)


def _at_rates(points: Sequence[Point], optimizers: Mapping[str, Contender], terms: Terms) -> Iterator[Reading]:
    """Every optimizer with every initial learning rate, as it is; those that have none run once, and are the same at all rates.

    All rates and seeds of a hand-designed optimizer run together.
    """
    first, rates = points[0], [point.value for point in points]
    for label, one in optimizers.items():
        if "learning_rate" in hyperparameters(one):
            settings = [{"learning_rate": rate} for rate in rates]
            cell = Cell(first.title, first.problem, label, one, terms, settings=settings)
            yield from (Reading(rate, cell, index) for index, rate in enumerate(rates))
        elif initial_rates(one.optimizer) is not None:
            for rate in rates:
                yield Reading(rate, Cell(first.title, first.problem, label, with_initial_rate(one, rate), terms))
        else:
            cell = Cell(first.title, first.problem, label, one, terms)
            yield from (Reading(rate, cell) for rate in rates)


def _each_once(contenders: Mapping[str, Contender], baselines: Mapping[str, Baseline]) -> dict[str, Contender]:
    """Contenders by label, and baselines by the label of their optimizer: untuned, their tiers make no difference."""
    given = {**contenders, **{label: one.contender for label, one in baselines.items()}}
    learned = {label: one for label, one in given.items() if one.optimizer.learned}
    return learned | {one.label: one for one in given.values() if not one.optimizer.learned}


def _all(points: Sequence[Point], contenders: Mapping[str, Contender], baselines: Mapping[str, Baseline]) -> dict[str, Contender]:
    checkpoints = [point.checkpoint for point in points if point.checkpoint]
    first = {META_TRAINED: checkpoints[0]} if checkpoints else {}
    return {**first, **contenders, **{label: one.contender for label, one in baselines.items()}}


def _points(place: str, spec: SweepSpec, steps: int) -> Iterator[Point]:
    with _at(f"{place}.problem"):
        problem = spec.problem.make()
    if spec.over == "training_problems":
        for index, name in enumerate(spec.checkpoints):
            with _at(f"{place}.checkpoints.{index}"):
                one = contender(name)
                count = training_problems(one)
                if count is None:
                    raise BadInput(f"{name}: its card does not say on which problems it was meta-trained")
            yield Point(count, spec.problem.title, problem, steps, one)
        return
    for index, value in enumerate(spec.points):
        if spec.over in ("learning_rate", "horizon"):
            yield Point(value, spec.problem.title, problem, steps if spec.over != "horizon" else max(1, round(value * steps)))
            continue
        with _at(f"{place}.problem"):
            changed = _changed(spec, problem, value)
        with _at(f"{place}.values.{index}"):
            yield Point(value, changed.title, changed.make(), steps)


def _changed(spec: SweepSpec, problem: Problem, value: Any) -> ProblemSpec:
    """The problem of a sweep with what is varied at `value`; BadInput where it has no such thing."""
    if spec.over == "input_scale":
        return spec.problem_within(TransformSpec(name="scaled_inputs", options={"factor": value}))
    if spec.over == "option":
        return spec.problem_with({spec.option or "": value})
    options = OPTIONS[spec.over](layers(problem)[0], value)
    if options is None:
        what = "batch size" if spec.over == "step_time" else spec.over.replace("_", " ")
        raise BadInput(f"{spec.problem.title} has no {what}; any option that it has can be swept with over: option")
    return spec.problem_with(options)


Options = dict[str, Any]


def _width(problem: Any, value: int) -> Options | None:
    """Units of each hidden layer, channels of each convolution; of a residual network those of the first stage."""
    for name in ("hidden", "channels"):
        sizes = getattr(problem, name, None)
        if isinstance(sizes, tuple) and sizes:
            return {name: [value] * len(sizes)}
    if isinstance(getattr(problem, "hidden", None), int):
        return {"hidden": value}
    if hasattr(problem, "widths"):
        first = problem.widths[0]
        return {"widths": [max(1, round(value * width / first)) for width in problem.widths]}
    return {"width": value} if hasattr(problem, "width") else None


def _depth(problem: Any, value: int) -> Options | None:
    """Hidden layers, convolutions, or layers of a transformer; of a residual network the blocks of each stage."""

    def resized(sizes: Sequence[int]) -> list[int]:
        """Cut, or continued with the last one."""
        return [*sizes, *[sizes[-1]] * value][:value]

    if isinstance(getattr(problem, "hidden", None), tuple) and problem.hidden:
        return {"hidden": resized(problem.hidden)}
    if hasattr(problem, "channels"):
        names = [name for name in ("channels", "kernels", "strides") if getattr(problem, name, None)]
        return {name: resized(getattr(problem, name)) for name in names}
    for name in ("blocks", "layers"):
        if isinstance(getattr(problem, name, None), int):
            return {name: value}
    return None


def _batch_size(problem: Any, value: int) -> Options | None:
    return {"batch_size": value} if hasattr(problem, "batch_size") else None


OPTIONS = {"width": _width, "depth": _depth, "batch_size": _batch_size, "step_time": _batch_size}
