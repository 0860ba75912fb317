"""Runs: one problem, one optimizer, many hyperparameter settings and seeds in one compiled rollout.

Shape letters: I instances that run together, P parameters of one instance, N steps of a run, R records.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from l2o_problems.base import Problem, Split
from l2o_problems.random import as_seed

from l2o_cli import devices
from l2o_cli.carry import RUNNING, Carry, Draw, at_start, concatenate, draw, layout_of
from l2o_cli.optimizers.base import Optimizer
from l2o_cli.rollout import Rollout
from l2o_cli.runs.batches import AT_ONCE, Batches, Job, Pace, hyperparameters
from l2o_cli.runs.records import Contender, Measured

# On a CPU; a GPU has `room` for more, but in its graph each convolutional instance has operations of its own.
MOST_INSTANCES = 48  # beyond this little is gained and validation on a whole split takes much memory
MOST_OUTSIDE_XLA = 32  # of convolutions, whose validation takes more
MOST_PARAMETERS = 8_000_000  # of all instances that run together, so that optimizers with many slots fit in memory
PACE_STEPS = 3  # from which the pace of a run is told

# Minibatches depend on this and on each instance's own task, and so on the seed of the run alone.
_MINIBATCHES = 0x6C326F


def together(problem: Problem) -> int:
    """How many instances run at once."""
    room = devices.room()
    most = MOST_INSTANCES * room if problem.xla else MOST_OUTSIDE_XLA
    return max(1, min(most, MOST_PARAMETERS * room // layout_of(problem).parameters))


def drawn(problem: Problem, seed: int) -> Draw:
    """The one instance that `seed` means, for every optimizer and in every command."""
    return draw(problem, seed, 1)._replace(batch_seed=as_seed(_MINIBATCHES))


def started(rollout: Rollout, weights: Mapping[str, Any], seed: int) -> Carry:
    """That instance with the optimizer at its start."""
    return at_start(rollout.problem, rollout.optimizer, dict(weights), drawn(rollout.problem, seed))


@functools.lru_cache(maxsize=64)
def _rollout(problem: Problem, optimizer: Optimizer, maximum: int, xla: bool) -> Rollout:
    """One for all runs that it serves, such as those of several tiers, so that it is compiled once."""
    return Rollout(problem, optimizer, maximum=maximum, xla=xla)


class RuleBatches(Batches):
    """Runs of an update rule. Every run is started by its own seed; those of a batch are the instances of one rollout."""

    def __init__(self, problem_name: str, problem: Problem, contender: Contender, *, xla: bool = True, **options: Any):
        super().__init__(problem_name, problem, contender, xla=xla, **options)
        self._rollout = _rollout(problem, contender.optimizer.over(self.steps), self.every, xla)

    @property
    def most_together(self) -> int:
        return together(self.problem)

    @property
    def single_threaded(self) -> bool:
        return self.problem.xla and not devices.gpu()

    def prepare(self, jobs: Sequence[Job], size: int) -> None:
        weights, carry = self._begin(jobs, size)
        self._rollout(weights, carry, 1)
        self._held_out(carry, "validation", True)

    def pace(self, settings: Sequence[Mapping[str, float]], seeds: Sequence[int], curve: bool = True) -> Pace:
        size, [jobs, *others] = self._in_batches(settings, seeds, 0, curve)
        at_once = AT_ONCE if others and self._at_once(curve) else 1
        self.prepare(jobs, size)
        weights, carry = self._begin(jobs, size)
        steps = min(PACE_STEPS, self.every)
        step = seconds_of(lambda: self._rollout(weights, carry, steps)[1]) / (steps * size * at_once)
        record = seconds_of(lambda: self._rollout.held_out_loss(carry)) / size if self.problem.held_out else 0.0
        return Pace(step, record)

    def _made(self, jobs: Sequence[Job], size: int, curve: bool, advance: Callable[[float], object]) -> list[Measured]:
        weights, carry = self._begin(jobs, size)
        self._rollout(weights, carry, 1)  # compiles
        losses, seconds, validation = [], [0.0], [self._held_out(carry, "validation", curve)]
        for window in range(self.windows):
            count = min(self.every, self.steps - window * self.every)
            began = time.perf_counter()
            carry, window_losses = self._rollout(weights, carry, count)
            losses.append(window_losses.numpy())
            seconds.append(seconds[-1] + (time.perf_counter() - began) / size)
            validation.append(self._held_out(carry, "validation", curve or window == self.windows - 1))
            advance(1 / self.windows)
        test = self._held_out(carry, "test", curve)
        all_losses, all_validation, diverged = np.concatenate(losses), np.stack(validation), carry.diverged.numpy()
        held_out = self.problem.held_out
        return [
            Measured(
                losses=all_losses[:, index],
                seconds=np.array(seconds),
                validation=all_validation[:, index] if held_out else None,
                test=float(test[index]) if held_out and curve else None,
                diverged_at=None if diverged[index] == RUNNING else int(diverged[index]),
            )
            for index in range(len(jobs))
        ]

    def _held_out(self, carry: Carry, split: Split, wanted: bool) -> np.ndarray:
        """The loss on a split, [I]; NaN where it is not wanted, there is no such split, or the run has diverged."""
        if not (wanted and self.problem.held_out):
            return np.full(carry.diverged.shape[0], np.nan, np.float32)
        return np.where(carry.diverged.numpy() == RUNNING, self._rollout.held_out_loss(carry, split).numpy(), np.nan)

    def _begin(self, jobs: Sequence[Job], size: int) -> tuple[dict[str, tf.Tensor], Carry]:
        """The weights and the start of a batch; one that is not full repeats its last run: one shape, one compilation.

        The weights that settings replace have the instance axis [I]. Each run is started alone.
        """
        jobs = [*jobs, *[jobs[-1]] * (size - len(jobs))]
        weights = {name: tf.convert_to_tensor(value) for name, value in self.contender.weights.items()}
        own = hyperparameters(self.contender)
        for name in {name for job in jobs for name in job.setting}:
            weights[name] = tf.constant([job.setting.get(name, own[name]) for job in jobs], tf.float32)
        draws = {seed: drawn(self.problem, seed) for seed in {job.seed for job in jobs}}
        carries = []
        for job in jobs:
            alone = {**self.contender.weights, **{name: np.float32(value) for name, value in job.setting.items()}}
            carries.append(at_start(self.problem, self._rollout.optimizer, alone, draws[job.seed]))
        return weights, concatenate(carries)


def seconds_of(call: Callable[[], tf.Tensor]) -> float:
    """Until its tensor is there."""
    began = time.perf_counter()
    call().numpy()
    return time.perf_counter() - began
