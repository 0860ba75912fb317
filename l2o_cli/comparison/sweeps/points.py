"""What a sweep consists of: its points, each a problem and a length of run, and the optimizers that run there."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from l2o_problems.base import Problem
from l2o_problems.transforms import Transform

from l2o_cli.comparison.comparison import Comparison, check
from l2o_cli.comparison.request import check_memory, labels
from l2o_cli.comparison.sweeps.meta_trained import training_problems
from l2o_cli.comparison.tuning.tiers import SWEEP, Baseline, parse_baselines
from l2o_cli.errors import BadInput
from l2o_cli.runs.batches import Batches
from l2o_cli.runs.lbfgs import Lbfgs, check_fits, contender
from l2o_cli.runs.records import Contender
from l2o_cli.spec import ProblemSpec, TransformSpec
from l2o_cli.spec.sweeps import SweepSpec

META_TRAINED = "meta-trained"  # the label of all checkpoints of a sweep over training_problems: one line of its picture


@dataclass(frozen=True)
class Point:
    """Where everything runs once.

    Attributes:
        value: of what is varied.
        name: the title of the problem.
        steps: of a run.
        checkpoint: training_problems: the contender of this point alone.
    """

    value: Any
    name: str
    problem: Problem
    steps: int
    checkpoint: Contender | None = None


@dataclass(frozen=True)
class Sweep:
    """A sweep, ready to run; its comparison has the seeds and steps of the sweep."""

    spec: SweepSpec
    comparison: Comparison
    contenders: Mapping[str, Contender]
    baselines: Mapping[str, Baseline]
    points: Sequence[Point]

    def at(self, point: Point) -> Comparison:
        """The comparison that is made at a point."""
        return dataclasses.replace(self.comparison, request=dataclasses.replace(self.comparison.request, steps=point.steps))

    def batches(self, point: Point, one: Contender, label: str) -> Batches:
        """The runs of an optimizer at a point."""
        return self.at(point).request.batches(point.name, point.problem, one, label)


def check_sweeps(
    comparison: Comparison,
    specs: Sequence[SweepSpec],
    contenders: Mapping[str, Contender],
    baselines: Mapping[str, Baseline],
) -> list[Sweep]:
    """The sweeps of a comparison with these optimizers, ready to run.

    Raises:
        BadInput: one cannot run; the message begins with `sweeps.INDEX.field`.
    """
    sweeps: list[Sweep] = []
    for index, spec in enumerate(specs):
        sweep = _expanded(f"sweeps.{index}", comparison, spec, contenders, baselines)
        if spec.title in [other.spec.title for other in sweeps]:
            raise BadInput(f"sweeps.{index}.name: two sweeps are called {spec.title!r}; give one of them another name")
        sweeps.append(sweep)
    return sweeps


def _expanded(
    place: str,
    comparison: Comparison,
    spec: SweepSpec,
    contenders: Mapping[str, Contender],
    baselines: Mapping[str, Baseline],
) -> Sweep:
    steps, seeds = spec.steps or comparison.request.steps, spec.seeds or comparison.request.seeds
    if spec.baselines is not None:
        with _at(f"{place}.baselines"):
            given = parse_baselines(spec.baselines, [SWEEP])
            baselines = dict(zip(labels(given), given, strict=True))
    if spec.optimizers is not None:
        with _at(f"{place}.optimizers"):
            named = [contender(name) for name in spec.optimizers]
            contenders = dict(zip(labels(named, taken=list(baselines)), named, strict=True))
    comparison = dataclasses.replace(
        comparison,
        request=dataclasses.replace(comparison.request, contenders=list(contenders.values()), steps=steps, seeds=seeds),
        baselines=list(baselines.values()),
    )
    points = list(_points(place, spec, steps))
    every = {point.name: point.problem for point in points}
    with _at(place):
        longest = max((point.steps for point in points), default=steps)
        check_memory(every, list(contenders.values()), longest, seeds, seeds)
    with _at(f"{place}.optimizers"):
        check_fits(list(contenders.values()), every)
        if spec.over == "step_time" and any(isinstance(one, Lbfgs) for one in contenders.values()):
            raise BadInput("lbfgs takes no steps of its own, whose time could be measured; name the others")
    with _at(f"{place}.baselines"):
        check(comparison, every)
    return Sweep(spec, comparison, contenders, baselines, points)


@contextmanager
def _at(place: str) -> Iterator[None]:
    """Puts the field in front of what is wrong."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{place}: {str(error).removeprefix('--baselines: ').removeprefix('--baselines ')}") from None


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
    innermost = problem
    while isinstance(innermost, Transform):
        innermost = innermost.inner
    options = OPTIONS[spec.over](innermost, value)
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
