"""The problem families of a run: which are drawn for a meta-step, and what is estimated on them."""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from l2o_problems.adam_table import adam_of
from l2o_problems.base import Problem
from l2o_problems.transforms import alike

from l2o_cli.meta import horizons
from l2o_cli.meta.estimators import ESTIMATORS
from l2o_cli.meta.meta_gradient import Estimate, MetaGradient
from l2o_cli.meta.objectives import MeasuredObjective
from l2o_cli.meta.population import Population, derive_seed
from l2o_cli.optimizers.base import Optimizer, Weights
from l2o_cli.optimizers.imitation import Imitating
from l2o_cli.runtime import give_memory_back
from l2o_cli.spec import Lengths, MetaTraining, ProblemSpec


class Estimated(NamedTuple):
    """One family's part of a meta-step."""

    family: int  # its index
    title: str
    length: int  # steps
    inner_steps: int  # over all instances
    estimate: Estimate
    compile_seconds: float  # of the first truncation, which compiles; else 0


class Families:
    """Every family's population and estimator. What happens is a function of the spec, two seeds and the meta-step."""

    def __init__(self, spec: MetaTraining, optimizer: Optimizer, seed: int, perturbation_seed: int, xla: bool):
        imitation = spec.objective.imitation
        self._optimizer = Imitating(optimizer, imitation.make()) if imitation is not None else optimizer
        self._spec, self._perturbation_seed, self._xla = spec, perturbation_seed, xla
        self._estimators: dict[Hashable, MetaGradient] = {}
        self._seen: set[Hashable] = set()  # estimators and bounds that were used in this process
        problems = alike([entry.make() for entry in spec.problems])
        self.populations = [
            self._population(entry, problem, derive_seed(seed, index))
            for index, (entry, problem) in enumerate(zip(spec.problems, problems, strict=True))
        ]

    def _population(self, entry: ProblemSpec, problem: Problem, seed: int) -> Population:
        spec = self._spec
        shortest = None if spec.phase == "aligned" else horizons.least(entry.truncation or spec.truncation, 0)
        estimator, instances = self._estimator(entry, problem), entry.instances or spec.instances
        return Population(problem, estimator, entry.horizon or spec.horizon, instances, seed, shortest, spec.horizon_told)

    def _estimator(self, entry: ProblemSpec, problem: Problem) -> MetaGradient:
        """The estimator of a family; families of equal structure and objective share one, and its compilation."""
        spec, kind = self._spec, ESTIMATORS[self._spec.estimator.name]
        lengths = (entry.horizon or spec.horizon) if kind.whole_horizon else (entry.truncation or spec.truncation)
        # Of the family as it is written: `problem` may be one that shares a compilation with others.
        adam = adam_of(entry.make()) if any(term.scale == "adam" for term in spec.objective.terms) else None
        key = (problem.structure, lengths.maximum, adam)
        if key not in self._estimators:
            objective = MeasuredObjective(spec.objective, problem, adam, entry.title)
            alone = min(spec.families_per_step, len(spec.problems)) == 1
            self._estimators[key] = kind(problem, self._optimizer, objective, spec.estimator, lengths.maximum, self._xla, alone)
        return self._estimators[key]

    def draw(self, rng: np.random.Generator, meta_step: int) -> list[tuple[int, int]]:
        """The families of a meta-step, by their index, and how many steps of each are unrolled."""
        odds = np.array([entry.weight for entry in self._spec.problems])
        count = min(self._spec.families_per_step, len(odds))
        indices = rng.choice(len(odds), count, replace=False, p=odds / odds.sum())
        return [(int(index), int(horizons.draw(self._lengths(index), rng, 1, meta_step)[0])) for index in indices]

    def _lengths(self, index: int) -> Lengths:
        """The lengths of what a meta-step unrolls of a family."""
        entry = self._spec.problems[index]
        if self.populations[index].estimator.whole_horizon:
            return entry.horizon or self._spec.horizon
        return entry.truncation or self._spec.truncation

    def estimate(self, pool: Executor, drawn: Sequence[tuple[int, int]], weights: Weights, meta_step: int) -> list[Estimated]:
        """The meta-gradients of the families drawn; they are independent, and keep both cores busy."""
        return list(pool.map(lambda pair: self._estimate(pair[0], pair[1], weights, meta_step), drawn))

    def _estimate(self, index: int, length: int, weights: Weights, meta_step: int) -> Estimated:
        population = self.populations[index]
        bound = horizons.bound(self._lengths(index), meta_step)
        particles = population.particles(weights, meta_step)
        seed = derive_seed(self._perturbation_seed, meta_step, index)
        began = time.perf_counter()
        result = population.estimator(weights, particles, tf.constant(length), seed, bound)
        seconds = 0.0
        if (population.estimator, bound) not in self._seen:
            # The first call compiles; of a hundred families what it leaves behind adds up to gigabytes.
            self._seen.add((population.estimator, bound))
            seconds = time.perf_counter() - began
            give_memory_back()
        title = self._spec.problems[index].title
        return Estimated(index, title, length, length * population.instances, result, seconds)

    def restart(self) -> None:
        """Give up all instances; others are drawn when they are needed."""
        for population in self.populations:
            population.restore({})

    def snapshot(self, meta_step: int) -> dict[str, tf.Tensor]:
        """All that `restore` needs, after `meta_step` updates; the next may be under way."""
        leaves: dict[str, tf.Tensor] = {}
        for index, population in enumerate(self.populations):
            leaves |= {f"{index}/{path}": leaf for path, leaf in population.snapshot(meta_step).items()}
        return leaves

    def fault(self, leaves: Mapping[str, tf.Tensor], meta_step: int) -> str | None:
        """What is wrong with a snapshot taken after `meta_step` updates, or None."""
        for name in leaves:
            if name.partition("/")[0] not in map(str, range(len(self.populations))):
                return f"leaf {name!r} is none of this run's"
        faults = (population.fault(within(f"{index}/", leaves), meta_step) for index, population in enumerate(self.populations))
        for entry, found in zip(self._spec.problems, faults, strict=True):
            if found is not None:
                return f"{entry.title}: {found}"
        return None

    def restore(self, leaves: dict[str, tf.Tensor]) -> None:
        """Be what a snapshot was taken of."""
        for index, population in enumerate(self.populations):
            population.restore(within(f"{index}/", leaves))


def within(prefix: str, leaves: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The leaves whose names begin with `prefix`, without it."""
    return {path.removeprefix(prefix): leaf for path, leaf in leaves.items() if path.startswith(prefix)}
