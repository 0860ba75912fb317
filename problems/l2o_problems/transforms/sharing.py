"""Fewer compilations for many families: what makes two of them alike and changes neither."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import tensorflow as tf

from l2o_problems.base import SAMPLED, Problem
from l2o_problems.quadratics import VectorProblem
from l2o_problems.transforms.base import Transform
from l2o_problems.transforms.gradients import GradientNoise, SparseGradients
from l2o_problems.transforms.params import Rescale
from l2o_problems.two_dimensional import FUNCTIONS, TwoDimensional


@dataclass(frozen=True)
class AnyTestFunction(VectorProblem):
    """One of `FUNCTIONS`, whose number is data: in an ensemble all share one compilation."""

    name: ClassVar[str] = "any_test_function"
    summary: ClassVar[str] = "one of the two-dimensional test functions"
    dimension = 2

    number: int = field(default=0, metadata=SAMPLED)

    @property
    def function(self) -> TwoDimensional:
        return FUNCTIONS[self.number]()

    def sample(self, seed, instances):
        return {**self.function.sample(seed, instances), "number": tf.fill([instances], self.number)}

    def initial_params(self, seed, task):
        return self.function.initial_params(seed, task)

    def loss(self, params, task, batch):
        losses = []
        for number, function in enumerate(FUNCTIONS):
            own = task["number"] == number
            # The others are taken at a point where they and their derivatives are finite.
            points = tf.where(own[:, None], params["x"], 0.5)
            losses.append(tf.where(own, function.value(points), 0.0))
        return tf.add_n(losses)

    @property
    def minimum(self):
        return self.function.minimum


# What can be added without effect, the innermost first, and the options with which it does nothing.
NEUTRAL: dict[type[Transform], dict[str, float]] = {
    Rescale: {"low": 1.0, "high": 1.0},
    GradientNoise: {"deviation": 0.0},
    SparseGradients: {"probability": 0.0},
}

Layers = dict[type[Transform], dict[str, Any]]


def _layers(problem: Problem) -> tuple[Problem, Layers] | None:
    """The problem within all transformations, and their options; None if they are not some of `NEUTRAL` in their order."""
    layers: Layers = {}
    while isinstance(problem, Transform):
        options = {f.name: getattr(problem, f.name) for f in dataclasses.fields(problem) if f.name != "inner"}
        if type(problem) not in NEUTRAL or type(problem) in layers:
            return None
        layers = {type(problem): options, **layers}
        problem = problem.inner
    return (problem, layers) if list(layers) == [kind for kind in NEUTRAL if kind in layers] else None


def _shapes(kind: type[Transform], options: dict[str, Any]) -> dict[str, Any]:
    """The options that are not sampled."""
    return {f.name: options[f.name] for f in dataclasses.fields(kind) if f.name in options and f.metadata != SAMPLED}


def alike(problems: Sequence[Problem]) -> list[Problem]:
    """The same problems, some written otherwise, so that fewer structures are among them.

    Of several test functions each becomes one whose number is data. And a family with gradient noise and its twin without,
    say, share a compilation when the twin gets noise of deviation 0.
    """
    bases = [taken_apart[0] for taken_apart in map(_layers, problems) if taken_apart]
    several = len({type(base) for base in bases if isinstance(base, TwoDimensional)}) > 1
    groups: dict[Hashable, list[tuple[int, Problem, Layers]]] = {}
    for index, problem in enumerate(problems):
        taken_apart = _layers(problem)
        if taken_apart is not None:
            base, layers = taken_apart
            if several and isinstance(base, TwoDimensional):
                base = AnyTestFunction(FUNCTIONS.index(type(base)))
            groups.setdefault(base.structure, []).append((index, base, layers))
    shared = list(problems)
    for group in groups.values():
        fixed: dict[type[Transform], list[dict[str, Any]]] = {
            kind: [_shapes(kind, layers[kind]) for _, _, layers in group if kind in layers] for kind in NEUTRAL
        }
        if any(options != others[0] for others in fixed.values() for options in others):
            continue  # of two shapes of one transformation none is the right one to add
        for index, base, layers in group:
            made = base
            for kind in NEUTRAL:
                if fixed[kind]:
                    made = kind(made, **layers.get(kind, {**fixed[kind][0], **NEUTRAL[kind]}))
            shared[index] = made
    return shared
