"""The params after each step of runs, for problems of two parameters.

Shape letters: I instances that run together, P parameters of one instance, N steps, S starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from l2o_problems.base import Problem

from l2o_cli.carry import RUNNING, Carry, concatenate, layout_of, repeat
from l2o_cli.comparison.tuning.learning_rates import WIDE, Tuning, grid, tune
from l2o_cli.optimizers.packing import unpack
from l2o_cli.rollout import Rollout
from l2o_cli.runs.batches import hyperparameters
from l2o_cli.runs.records import Contender
from l2o_cli.runs.update_rules import started
from l2o_cli.scoring.curves import tail_steps


@dataclass(frozen=True)
class Trajectory:
    """One optimizer from one start."""

    label: str
    learned: bool
    points: np.ndarray  # [N + 1, P], the start first; fewer where the run diverged
    diverged_at: int | None  # the step whose loss or update was not finite
    tuning: Tuning | None  # of the learning rate, on this very run; None for a learned optimizer


def trajectories(
    problem: Problem, contender: Contender, label: str, starts: np.ndarray | None, steps: int, seed: int
) -> list[Trajectory]:
    """From each start [S, P], or from the one that the seed draws: the task, minibatches and noise of that seed.

    The learning rate of a hand-designed optimizer is, for each start, the best of 15 by the final training loss of this
    same run; while the best is at the edge of the grid, it is extended.
    """
    rollout = Rollout(problem, contender.optimizer.over(steps), maximum=1)
    first = started(rollout, contender.weights, seed)
    carries = [first] if starts is None else [_moved(problem, first, start) for start in starts]
    if not contender.optimizer.learned:
        return [_tuned(rollout, contender, label, carry, steps) for carry in carries]
    points, _, diverged = record(rollout, contender.weights, concatenate(carries), steps)
    return [_trajectory(label, True, points[:, run], int(diverged[run])) for run in range(len(carries))]


def record(rollout: Rollout, weights: Mapping[str, Any], carry: Carry, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Params before the first and after each step, [N + 1, I, P]; losses [N, I]; the step of each divergence, [I]."""
    tensors = {name: tf.convert_to_tensor(value) for name, value in weights.items()}
    points, losses = [carry.params.numpy()], []
    for _ in range(steps):
        carry, loss = rollout(tensors, carry, 1)
        points.append(carry.params.numpy())
        losses.append(loss.numpy()[0])
    return np.stack(points), np.stack(losses), carry.diverged.numpy()


def _moved(problem: Problem, carry: Carry, point: np.ndarray) -> Carry:
    """One instance at another start, [P]."""
    params = tf.constant(point[None], tf.float32)
    return carry._replace(params=params, memory=problem.initial_memory(carry.task, unpack(params, layout_of(problem))))


def _tuned(rollout: Rollout, contender: Contender, label: str, carry: Carry, steps: int) -> Trajectory:
    runs: list[tuple[np.ndarray, int]] = []
    first: list[float] = []  # losses before the first update, which are all the same

    def final_losses(rates: list[float], first_trial: int) -> list[float]:
        weights = {**contender.weights, "learning_rate": np.array(rates, np.float32)}
        points, losses, diverged = record(rollout, weights, repeat(carry, len(rates)), steps)
        first.extend(losses[0])
        runs.extend((points[:, run], int(diverged[run])) for run in range(len(rates)))
        means = losses[-tail_steps(steps, 1) :].mean(axis=0, dtype=np.float64)
        return [float(mean) if step == RUNNING else np.inf for mean, step in zip(means, diverged, strict=True)]

    rates = grid(WIDE, hyperparameters(contender)["learning_rate"])
    tuning = tune(final_losses, rates, worth=lambda: bool(np.isfinite(first).any()))
    points, diverged = runs[tuning.chosen]
    return _trajectory(label, False, points, diverged, tuning)


def _trajectory(label: str, learned: bool, points: np.ndarray, diverged: int, tuning: Tuning | None = None) -> Trajectory:
    if diverged == RUNNING:
        return Trajectory(label, learned, points, None, tuning)
    return Trajectory(label, learned, points[: diverged + 1], diverged, tuning)
