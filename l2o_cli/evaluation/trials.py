"""Runs: one problem, one optimizer, many hyperparameter settings and seeds in one compiled rollout.

Shape letters: I instances that run together, P parameters of one instance, N steps of a run, R records.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from l2o_cli.errors import BadInput
from l2o_cli.evaluation.records import Contender, Run
from l2o_cli.rollout import RUNNING, Carry, Rollout, concatenate, layout_of
from problems.base import Problem
from problems.random import as_seed

MOST_INSTANCES = 32  # beyond this a 2-core machine gains nothing and validation on a whole split takes much memory
MOST_PARAMETERS = 8_000_000  # of all instances that run together, so that optimizers with many slots fit in memory

# Minibatches depend on this and on each instance's own task, and so on the seed of the run alone.
_MINIBATCHES = 0x6C326F


class _Job(NamedTuple):
    trial: int
    setting: Mapping[str, float]
    seed: int


def default_window(steps: int) -> int:
    """A hundredth of the steps, at least one."""
    return max(1, steps // 100)


def together(problem: Problem) -> int:
    """How many instances run at once."""
    return max(1, min(MOST_INSTANCES, MOST_PARAMETERS // layout_of(problem).parameters))


def hyperparameters(contender: Contender) -> dict[str, float]:
    """The scalar weights of a hand-designed optimizer, to float32 precision; {} for a learned one."""
    if contender.optimizer.learned:
        return {}
    return {name: float(f"{value:.7g}") for name, value in contender.weights.items() if np.ndim(value) == 0}


def _check_setting(contender: Contender, setting: Mapping[str, float]) -> None:
    known = hyperparameters(contender)
    for name in setting:
        if name not in known:
            there = f"there are: {', '.join(known)}" if known else "it has none"
            raise BadInput(f"optimizer {contender.label!r} has no hyperparameter {name!r}; {there}")


def started(rollout: Rollout, weights: Mapping[str, Any], seed: int) -> Carry:
    """The one instance that `seed` means, for every optimizer and in every command, at its start."""
    return rollout.start(dict(weights), seed, 1)._replace(seed=as_seed(_MINIBATCHES))


class Trials:
    """Runs of one optimizer on one problem, `steps` steps each, in windows of `every` steps.

    A run is one (problem, optimizer, hyperparameters, seed). Every run is started by its own seed, so its curve depends on
    nothing else in the batch, and one seed means the same task, initial params, minibatches and random optimizer state for
    every optimizer and every setting (common random numbers).
    """

    def __init__(
        self,
        problem_name: str,
        problem: Problem,
        contender: Contender,
        *,
        steps: int,
        every: int | None = None,
        label: str | None = None,
        xla: bool = True,
    ):
        self.problem_name, self.problem, self.contender = problem_name, problem, contender
        self.steps = steps
        self.every = min(every or default_window(steps), steps)
        self.label = label or contender.label
        self._rollout = Rollout(problem, contender.optimizer.over(steps), maximum=self.every, xla=xla)

    @property
    def windows(self) -> int:
        return -(-self.steps // self.every)

    def run(
        self,
        settings: Sequence[Mapping[str, float]],
        seeds: Sequence[int],
        *,
        first_trial: int = 0,
        curve: bool = True,
        advance: Callable[[float], object] = lambda share: None,
    ) -> list[Run]:
        """One run for each setting and seed, settings outermost.

        Args:
            settings: hyperparameters that replace the contender's own; {} keeps them all.
            first_trial: the index of the first setting.
            curve: whether the validation loss is measured after every window, or only after the last.
            advance: called after each window with the share of all work that it was.

        Raises:
            BadInput: a setting names a hyperparameter that the optimizer lacks.
        """
        for setting in settings:
            _check_setting(self.contender, setting)
        jobs = [_Job(trial, setting, seed) for trial, setting in enumerate(settings, first_trial) for seed in seeds]
        chunks = -(-len(jobs) // together(self.problem))
        size = -(-len(jobs) // chunks)
        share = 1 / (chunks * self.windows)
        return [
            run
            for start in range(0, len(jobs), size)
            for run in self._run_together(jobs[start : start + size], size, curve, lambda: advance(share))
        ]

    def _run_together(self, jobs: Sequence[_Job], size: int, curve: bool, advance: Callable[[], object]) -> Iterator[Run]:
        # A last chunk that is not full repeats its last run: one shape, one compilation.
        padded = [*jobs, *[jobs[-1]] * (size - len(jobs))]
        weights, carry = self._weights(padded), self._start(padded)
        self._rollout(weights, carry, 1)  # compiles
        held_out = self.problem.held_out
        unmeasured = np.full(size, np.nan, np.float32)
        losses, seconds = [], [0.0]
        validation = [self._rollout.held_out_loss(carry).numpy() if held_out and curve else unmeasured]
        for window in range(self.windows):
            count = min(self.every, self.steps - window * self.every)
            began = time.perf_counter()
            carry, window_losses = self._rollout(weights, carry, count)
            losses.append(window_losses.numpy())
            seconds.append(seconds[-1] + (time.perf_counter() - began) / size)
            measure = held_out and (curve or window == self.windows - 1)
            measured = self._rollout.held_out_loss(carry).numpy() if measure else unmeasured
            validation.append(np.where(carry.diverged.numpy() == RUNNING, measured, np.nan))
            advance()
        diverged = carry.diverged.numpy()
        for index, job in enumerate(jobs):
            yield Run(
                problem=self.problem_name,
                optimizer=self.label,
                trial=job.trial,
                hyperparameters={**hyperparameters(self.contender), **job.setting},
                seed=job.seed,
                every=self.every,
                losses=np.concatenate(losses)[:, index],
                seconds=np.array(seconds),
                validation=np.stack(validation)[:, index] if held_out else None,
                diverged_at=None if diverged[index] == RUNNING else int(diverged[index]),
            )

    def _weights(self, jobs: Sequence[_Job]) -> dict[str, tf.Tensor]:
        """The contender's weights, those that the settings replace with the instance axis [I]."""
        weights = {name: tf.convert_to_tensor(value) for name, value in self.contender.weights.items()}
        own = hyperparameters(self.contender)
        for name in {name for job in jobs for name in job.setting}:
            weights[name] = tf.constant([job.setting.get(name, own[name]) for job in jobs], tf.float32)
        return weights

    def _start(self, jobs: Sequence[_Job]) -> Carry:
        """Each run started alone, then joined."""
        carries = []
        for job in jobs:
            weights = {**self.contender.weights, **{name: np.float32(value) for name, value in job.setting.items()}}
            carries.append(started(self._rollout, weights, job.seed))
        return concatenate(carries)
