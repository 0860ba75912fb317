"""The time of one inner step of one instance alone (Wichrowska et al. 2017, figure 6)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf
from l2o_problems.base import Problem

from l2o_cli.carry import Carry
from l2o_cli.rollout import Rollout
from l2o_cli.runs.records import Contender

ROUNDS = 7  # each times every optimizer once, one after the other, so that a change of the machine's speed touches all
SECONDS = 0.2  # of one timing, about
MOST_STEPS = 200  # of one timing


class _Timed(NamedTuple):
    rollout: Rollout
    weights: Mapping[str, tf.Tensor]
    start: Carry
    steps: int

    def milliseconds(self) -> float:
        return 1000 * _seconds(self.rollout, self.weights, self.start, self.steps) / self.steps


def step_milliseconds(
    problem: Problem,
    contenders: Mapping[str, Contender],
    steps: int,
    xla: bool,
    advance: Callable[[float], object] = lambda share: None,
) -> dict[str, float]:
    """The wall-clock of a step of each optimizer in milliseconds, compiled: the median of several rounds over all of them.

    Args:
        steps: the length of the run that update rules are told which go by it.
    """
    timed = {label: _prepared(problem, one, steps, xla) for label, one in contenders.items()}
    rounds: dict[str, list[float]] = {label: [] for label in timed}
    for _ in range(ROUNDS):
        for label, one in timed.items():
            rounds[label].append(one.milliseconds())
        advance(1 / ROUNDS)
    return {label: statistics.median(values) for label, values in rounds.items()}


def _prepared(problem: Problem, one: Contender, steps: int, xla: bool) -> _Timed:
    """Compiled, and with as many steps as make about `SECONDS`."""
    rollout = Rollout(problem, one.optimizer.over(steps), maximum=MOST_STEPS, xla=xla)
    weights = {name: tf.convert_to_tensor(value) for name, value in one.weights.items()}
    carry = rollout.start(dict(one.weights), 0, 1)
    rollout(weights, carry, 1)  # compiles
    pace = _seconds(rollout, weights, carry, 2) / 2
    return _Timed(rollout, weights, carry, max(1, min(MOST_STEPS, round(SECONDS / pace))))


def _seconds(rollout: Rollout, weights: Mapping[str, tf.Tensor], carry: Carry, steps: int) -> float:
    began = time.perf_counter()
    after, losses = rollout(dict(weights), carry, steps)
    losses.numpy(), after.params.numpy()
    return time.perf_counter() - began
