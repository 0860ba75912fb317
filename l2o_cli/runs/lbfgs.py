"""L-BFGS (Liu and Nocedal 1989) of SciPy as a contender, on problems without minibatches and noise.

It is no update rule: a line search evaluates the loss as often as it likes. So that it can be compared, each evaluation of the
loss with its gradient counts as a step.

Shape letters: P parameters of one instance, N steps of a run, R records.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
from l2o_problems.base import Problem, Task

from l2o_cli import devices
from l2o_cli.carry import layout_of
from l2o_cli.graph import Graph
from l2o_cli.optimizers.base import Optimizer
from l2o_cli.optimizers.elementwise import Sgd
from l2o_cli.optimizers.packing import unpack
from l2o_cli.rollout import Rollout
from l2o_cli.runs.batches import Batches, Job
from l2o_cli.runs.records import Contender, Measured
from l2o_cli.runs.update_rules import started

LossAndGradient = Callable[[np.ndarray], tuple[float, np.ndarray]]  # float64 [P] -> loss, float64 [P]


@dataclass(frozen=True)
class Lbfgs:
    """A contender without hyperparameters. Its `optimizer` stands in for an update rule where a run is started."""

    name: ClassVar[str] = "lbfgs"

    label: str = name
    source: str = "scipy.optimize, L-BFGS-B without bounds; a step is an evaluation of the loss and its gradient"
    optimizer: Optimizer = field(default_factory=Sgd)
    weights: Mapping[str, Any] = field(default_factory=dict)


class LbfgsBatches(Batches):
    """Runs of L-BFGS, of `steps` evaluations each, with the same seeds and starts as those of `RuleBatches`."""

    most_together = 1
    single_threaded = False

    def __init__(self, problem_name: str, problem: Problem, contender: Contender, *, xla: bool = True, **options: Any):
        super().__init__(problem_name, problem, contender, xla=xla, **options)
        self._rollout = Rollout(problem, contender.optimizer, maximum=1, xla=xla)
        layout = layout_of(problem)

        def differentiated(packed: tf.Tensor, task: Task) -> tuple[tf.Tensor, tf.Tensor]:
            with tf.GradientTape() as tape:
                tape.watch(packed)
                loss = problem.loss(unpack(packed, layout), task, {})
            return loss, tape.gradient(loss, packed, unconnected_gradients=tf.UnconnectedGradients.ZERO)

        whole = xla and devices.compiles(problem)
        self._differentiated = Graph(differentiated, f"loss and gradient of {problem.structure}", whole)

    def _made(self, jobs: Sequence[Job], size: int, curve: bool, advance: Callable[[float], object]) -> list[Measured]:
        made = []
        for job in jobs:
            made.append(self._measured(job.seed))
            advance(1 / len(jobs))
        return made

    def _measured(self, seed: int) -> Measured:
        carry = started(self._rollout, self.contender.weights, seed)
        self._differentiated(carry.params, carry.task)  # compiles

        def loss_and_gradient(params: np.ndarray) -> tuple[float, np.ndarray]:
            loss, gradient = self._differentiated(tf.constant(params[None], tf.float32), carry.task)
            return float(loss[0]), gradient[0].numpy().astype(np.float64)

        losses, elapsed = minimize(loss_and_gradient, carry.params[0].numpy().astype(np.float64), self.steps)
        records = np.minimum(np.arange(self.windows + 1) * self.every, self.steps)
        failed = not np.isfinite(losses[0])
        return Measured(losses, np.append(0.0, elapsed)[records], None, 0 if failed else None)


class _Enough(Exception):
    """As many evaluations as were asked for have been made, or more would be in vain."""


def minimize(loss_and_gradient: LossAndGradient, start: np.ndarray, evaluations: int) -> tuple[np.ndarray, np.ndarray]:
    """L-BFGS from `start` [P] until it gets no further, or for that many evaluations.

    Returns:
        The least loss so far at each evaluation, the first being the loss at the start, float32 [N]; it stays as it is when no
        further loss is found. And the seconds it has taken until then, [N].
    """
    import scipy.optimize  # not at the top: it takes a second, and most evaluations do without

    losses: list[float] = []
    elapsed: list[float] = []
    began = time.perf_counter()

    def recorded(params: np.ndarray) -> tuple[float, np.ndarray]:
        if len(losses) == evaluations:
            raise _Enough
        loss, gradient = loss_and_gradient(params)
        losses.append(loss)
        elapsed.append(time.perf_counter() - began)
        if np.isfinite(loss) and np.isfinite(gradient).all():
            return loss, gradient
        if not np.isfinite(losses[0]):
            raise _Enough
        # The line search comes back from where the loss is higher than at the start, but hardly from where it is infinite.
        return abs(losses[0]) + losses[0] + 1.0, np.zeros_like(gradient)

    options = {"maxiter": evaluations, "maxfun": evaluations + 100, "ftol": 0.0, "gtol": 0.0}
    with contextlib.suppress(_Enough):
        scipy.optimize.minimize(recorded, start, jac=True, method="L-BFGS-B", options=options)
    missing = evaluations - len(losses)
    best = np.fmin.accumulate(np.array(losses)).astype(np.float32)
    return np.pad(best, (0, missing), mode="edge"), np.pad(elapsed, (0, missing), mode="edge")
