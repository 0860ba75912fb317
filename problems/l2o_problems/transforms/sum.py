"""Several problems at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import tensorflow as tf

from l2o_problems.base import Problem
from l2o_problems.options import MOST_LAYERS
from l2o_problems.quadratics import Quadratic
from l2o_problems.random import fold
from l2o_problems.transforms.base import under, within


def _joined(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The parts of all problems, that of the problem with index i below "i/"."""
    return {name: leaf for index, part in enumerate(parts) for name, leaf in under(str(index), part).items()}


@dataclass(frozen=True)
class SumOfProblems(Problem):
    """The sum of the losses of several problems, over all their params side by side (Wichrowska et al. 2017, section 5.1).

    Params, tasks, batches and memories of the problem with index i have names below "i/".
    """

    name: ClassVar[str] = "sum"
    summary: ClassVar[str] = "the sum of several problems, parameters side by side"

    problems: tuple[Problem, ...] = (Quadratic(11), Quadratic(3))

    def __post_init__(self):
        if not isinstance(self.problems, tuple) or not self.problems:
            raise ValueError(f"problems must be a tuple of at least one problem, but is {self.problems!r}")
        if len(self.problems) > MOST_LAYERS:
            raise ValueError(f"problems must be at most {MOST_LAYERS}, but are {len(self.problems)}")
        for index, problem in enumerate(self.problems):
            if not isinstance(problem, Problem):
                raise ValueError(f"problems[{index}] must be a problem, but is {problem!r}")

    def _each(self, *nests: dict) -> Iterator[tuple]:
        """(index, problem, its part of each nest) for each problem."""
        for index, problem in enumerate(self.problems):
            yield index, problem, *(within(str(index), nest) for nest in nests)

    @property
    def param_shapes(self):
        return _joined(problem.param_shapes for problem in self.problems)

    def sample(self, seed, instances):
        return _joined(problem.sample(fold(seed, index), instances) for index, problem in self._each())

    def initial_params(self, seed, task):
        return _joined(problem.initial_params(fold(seed, index), own) for index, problem, own in self._each(task))

    def batch(self, seed, task, split):
        return _joined(problem.batch(fold(seed, index), own, split) for index, problem, own in self._each(task))

    def loss(self, params, task, batch):
        return tf.add_n([problem.loss(*own) for _, problem, *own in self._each(params, task, batch)])

    def lower_bound(self, task):
        return tf.add_n([problem.lower_bound(own) for _, problem, own in self._each(task)])

    def initial_memory(self, task, params):
        shared = self._shared(params)
        each = self._each(task, params)
        return _joined(problem.initial_memory(own, params if shared else part) for _, problem, own, part in each)

    def perturb(self, seed, task, gradients, memory):
        memories, perturbed = [], []
        shared = self._shared(gradients)
        for index, problem, own, part, kept in self._each(task, gradients, memory):
            part, kept = problem.perturb(fold(seed, index), own, gradients if shared else part, kept)
            gradients = part if shared else gradients
            memories.append(kept)
            perturbed.append(part)
        return gradients if shared else _joined(perturbed), _joined(memories)

    def displace(self, seed, task, before, after):
        if self._shared(after):
            for index, problem, own in self._each(task):
                after = problem.displace(fold(seed, index), own, before, after)
            return after
        return _joined(problem.displace(fold(seed, index), *own) for index, problem, *own in self._each(task, before, after))

    def _shared(self, params: Mapping[str, Any]) -> bool:
        """Whether params are those of a subspace: all problems move along them, and each one's noise is on all of them."""
        return params.keys() != self.param_shapes.keys()

    @property
    def deterministic(self):
        return all(problem.deterministic for problem in self.problems)

    @property
    def held_out(self):
        return any(problem.held_out for problem in self.problems)

    @property
    def input_leaves(self):
        return tuple(f"{index}/{name}" for index, problem in enumerate(self.problems) for name in problem.input_leaves)

    @property
    def xla(self):
        return all(problem.xla for problem in self.problems)

    @property
    def xla_on_gpu(self):
        return all(problem.xla_on_gpu for problem in self.problems)

    @property
    def minimum(self):
        minima = [problem.minimum for problem in self.problems]
        return None if None in minima else sum(minima)

    @property
    def source(self):
        return "; ".join(dict.fromkeys(problem.source for problem in self.problems))
