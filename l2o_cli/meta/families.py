"""The problem families of a run: which are drawn for a meta-step, and what is estimated on them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf
from l2o_problems.adam_table import adam_of
from l2o_problems.base import Problem
from l2o_problems.transforms import alike
from l2o_problems.transforms.base import under, within

from l2o_cli.meta import horizons
from l2o_cli.meta.estimators import ESTIMATORS
from l2o_cli.meta.meta_gradient import MetaGradient
from l2o_cli.meta.meta_step import Answer, FamilyRecord, FamilyRequest, WorkersRecord
from l2o_cli.meta.objectives import MeasuredObjective
from l2o_cli.meta.population import Population, derive_seed
from l2o_cli.optimizers.base import Optimizer, Weights
from l2o_cli.optimizers.imitation import Imitating
from l2o_cli.runtime import give_memory_back
from l2o_cli.spec import Lengths, MetaTraining, ProblemSpec


class Families:
    """Every family's population and estimator. What happens is a function of the spec, two seeds and the meta-step."""

    def __init__(self, spec: MetaTraining, optimizer: Optimizer, seed: int, perturbation_seed: int, xla: bool):
        imitation = spec.objective.imitation
        self._optimizer = Imitating(optimizer, imitation.make()) if imitation is not None else optimizer
        self._spec, self._perturbation_seed, self._xla = spec, perturbation_seed, xla
        self._estimators: dict[Hashable, MetaGradient] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._seen: set[Hashable] = set()  # estimators and bounds that were used in this process
        problems = alike([entry.make() for entry in spec.problems])
        self.populations: list[Population] = []
        for index, (entry, problem) in enumerate(zip(spec.problems, problems, strict=True)):
            estimator, lengths = self._estimator(entry, problem), entry.horizon or spec.horizon
            instances, own_seed = entry.instances or spec.instances, derive_seed(seed, index)
            shortest = None if spec.phase == "aligned" else horizons.least(entry.truncation or spec.truncation, 0)
            self.populations.append(Population(problem, estimator, lengths, instances, own_seed, shortest, spec.horizon_told))

    def _estimator(self, entry: ProblemSpec, problem: Problem) -> MetaGradient:
        """The estimator of a family; families of equal structure and objective share one, and its compilation."""
        spec, lengths = self._spec, self._lengths(entry)
        # Of the family as it is written: `problem` may be one that shares a compilation with others.
        adam = adam_of(entry.make()) if any(term.scale == "adam" for term in spec.objective.terms) else None
        key = (problem.structure, lengths.maximum, adam)
        if key not in self._estimators:
            objective = MeasuredObjective(spec.objective, problem, adam, entry.title)
            alone = min(spec.families_per_step, len(spec.problems)) == 1
            kind = ESTIMATORS[spec.estimator.name]
            self._estimators[key] = kind(problem, self._optimizer, objective, spec.estimator, lengths.maximum, self._xla, alone)
        return self._estimators[key]

    def requests(
        self,
        rng: np.random.Generator,
        weights: Mapping[str, np.ndarray],
        meta_step: int,
        among: Sequence[int] | None = None,
        count: int | None = None,
    ) -> list[FamilyRequest]:
        """Draw the families of a meta-step, and how many steps of each are unrolled.

        Args:
            among: families, by their indices; None: all.
            count: how many of them; None: as many as a meta-step has.
        """
        entries = self._spec.problems
        among = range(len(entries)) if among is None else among
        odds = np.array([entries[family].weight for family in among])
        drawn = rng.choice(len(odds), min(count or self._spec.families_per_step, len(odds)), replace=False, p=odds / odds.sum())
        families = [among[index] for index in drawn.tolist()]
        lengths = [int(horizons.draw(self._lengths(entries[family]), rng, 1, meta_step)[0]) for family in families]
        return [FamilyRequest(meta_step, *drawn, weights) for drawn in zip(families, lengths, strict=True)]

    def _lengths(self, entry: ProblemSpec) -> Lengths:
        """The lengths of what a meta-step unrolls of a family."""
        whole = ESTIMATORS[self._spec.estimator.name].whole_horizon
        return (entry.horizon or self._spec.horizon) if whole else (entry.truncation or self._spec.truncation)

    def estimate(self, request: FamilyRequest) -> Answer:
        """The meta-gradient [W] of one family, whose instances stay what they are until `advance`.

        The same request has the same answer until then. Families are independent: several may be asked at once.
        """
        entry, population, meta_step = self._spec.problems[request.family], self.populations[request.family], request.meta_step
        weights = {name: tf.constant(value) for name, value in request.weights.items()}
        bound = horizons.bound(self._lengths(entry), meta_step)
        particles = population.particles(weights, meta_step)
        seed = derive_seed(self._perturbation_seed, meta_step, request.family)
        began = time.perf_counter()
        estimate = population.estimator(weights, particles, tf.constant(request.truncation), seed, bound)
        compile_seconds = 0.0
        if (population.estimator, bound) not in self._seen:
            # The first call compiles; of a hundred families what it leaves behind adds up to gigabytes.
            self._seen.add((population.estimator, bound))
            compile_seconds = time.perf_counter() - began
            give_memory_back()
        replaced, started = population.plan(estimate.particles, meta_step)
        record = FamilyRecord(
            family=request.family,
            problem=entry.title,
            truncation=request.truncation,
            meta_loss=float(estimate.meta_loss),
            gradient_norm=float(estimate.norm),
            nonfinite_entries=int(estimate.nonfinite),
            diverged=estimate.diverged,
            replaced=replaced,
            inner_steps=request.truncation * population.instances,
            compile_seconds=compile_seconds,
            horizons=started,
            diagnostics={name: float(value) for name, value in estimate.diagnostics.items()},
        )
        return estimate.gradient.numpy(), record

    def estimates(self, rng: np.random.Generator, weights: Mapping[str, np.ndarray], meta_step: int) -> tuple[list[Answer], int]:
        """The meta-gradients of a meta-step, one for each family that is drawn; and how many came too late for it: none.

        They are estimated in threads.
        """
        self._pool = self._pool or ThreadPoolExecutor(min(self._spec.families_per_step, os.cpu_count() or 1))
        return list(self._pool.map(self.estimate, self.requests(rng, weights, meta_step))), 0

    def close(self) -> None:
        """Let go of what is held elsewhere: nothing."""

    @property
    def workers(self) -> WorkersRecord | None:
        """None: there are none."""
        return None

    def advance(self, families: Iterable[int], weights: Weights, meta_step: int) -> None:
        """Let the instances of families go on to what their last estimates left, after `meta_step` updates."""
        for family in families:
            self.populations[family].advance(weights, meta_step)

    def snapshot(self, meta_step: int) -> dict[str, tf.Tensor]:
        """All that `restore` needs, after `meta_step` updates; the next may be under way."""
        leaves: dict[str, tf.Tensor] = {}
        for index, population in enumerate(self.populations):
            leaves |= under(str(index), population.snapshot(meta_step))
        return leaves

    def capture(self, meta_step: int) -> Callable[[], dict[str, tf.Tensor]]:
        """What gives the snapshot of now, later."""
        leaves = self.snapshot(meta_step)
        return lambda: leaves

    def fault(self, leaves: Mapping[str, tf.Tensor], meta_step: int) -> str | None:
        """What is wrong with a snapshot taken after `meta_step` updates, or None."""
        for name in leaves:
            if name.partition("/")[0] not in map(str, range(len(self.populations))):
                return f"leaf {name!r} is none of this run's"
        for index, (entry, population) in enumerate(zip(self._spec.problems, self.populations, strict=True)):
            if (found := population.fault(within(str(index), leaves), meta_step)) is not None:
                return f"{entry.title}: {found}"
        return None

    def restore(self, leaves: dict[str, tf.Tensor]) -> None:
        """Be what a snapshot was taken of; of none, others are drawn when they are needed."""
        for index, population in enumerate(self.populations):
            population.restore(within(str(index), leaves))
