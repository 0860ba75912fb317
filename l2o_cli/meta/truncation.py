"""One truncation of a problem family as a compiled function of packed weights.

Shape letters: I instances, W all weights packed, K the constant bound on the steps of a truncation.
"""

from __future__ import annotations

import tensorflow as tf
from l2o_problems.base import Problem

from l2o_cli import devices
from l2o_cli.carry import Carry
from l2o_cli.graph import Graph
from l2o_cli.meta.objectives import MeasuredObjective
from l2o_cli.optimizers.base import Optimizer, Weights
from l2o_cli.optimizers.packing import Layout, pack, unpack
from l2o_cli.rollout import Stepping, backpropagation, compiled_update, rollout
from l2o_cli.spec import Estimator


def weights_layout(weights: Weights) -> Layout:
    """Where each weight lies in a packed vector."""
    return Layout.of({name: tuple(value.shape) for name, value in weights.items()})


def packed(weights: Weights, layout: Layout) -> tf.Tensor:
    """The weights as one vector, [W]."""
    return pack({name: value[None] for name, value in weights.items()}, layout)[0]


def unpacked(vector: tf.Tensor, layout: Layout) -> Weights:
    """[W] -> {name: shape}; [I, W] -> {name: [I, *shape]}."""
    if vector.shape.rank == 2:
        return unpack(vector, layout)
    return {name: value[0] for name, value in unpack(vector[None], layout).items()}


class Truncation:
    """One truncation of a problem family, compiled: forward, and with the derivative of its objective."""

    def __init__(
        self,
        problem: Problem,
        optimizer: Optimizer,
        layout: Layout,
        objective: MeasuredObjective,
        spec: Estimator,
        maximum: int,
        xla: bool = True,
    ):
        whole = xla and devices.compiles(problem)
        stepping = Stepping(
            problem,
            optimizer,
            second_derivatives=spec.second_derivatives,
            divergence=spec.divergence,
            update=compiled_update(optimizer) if xla and not whole else None,
            measure=objective.measure if objective.measurements else None,
            measured=objective.measurements,
        )

        def run(vector: tf.Tensor, carry: Carry, steps: tf.Tensor) -> tuple[tf.Tensor, Carry, tf.Tensor]:
            after, losses = rollout(stepping, unpacked(vector, layout), objective.reset(carry), steps, maximum)
            return objective(losses, after, steps, count_diverged=True), after.without_task(), losses[:, 0]

        def derive(vector: tf.Tensor, carry: Carry, steps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, Carry]:
            def value(losses: tf.Tensor, after: Carry) -> tf.Tensor:
                return objective(losses, after, steps)

            result = backpropagation(stepping, unpacked(vector, layout), objective.reset(carry), steps, maximum, value)
            shared = vector.shape.rank == 1
            gradient = packed(result.gradient, layout) if shared else pack(result.gradient, layout)
            return gradient, result.values, result.carry.without_task()

        self._run = Graph(run, f"run {optimizer} {problem.structure}", whole)
        self._derive = Graph(derive, f"backpropagation {optimizer} {problem.structure}", whole)

    def run(self, vector: tf.Tensor, carry: Carry, steps: tf.Tensor) -> tuple[tf.Tensor, Carry, tf.Tensor]:
        """The objective of each instance, [I], steps that were not made as the worst; the carry afterwards; losses [K, I].

        Args:
            vector: [W], or [I, W] for weights of each instance's own.
        """
        values, after, losses = self._run(vector, carry, steps)
        return values, after._replace(task=carry.task), losses

    def derive(self, vector: tf.Tensor, carry: Carry, steps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, Carry]:
        """The derivative of the summed objectives, shaped as `vector`; the objectives, steps not made left out; the carry."""
        gradient, values, after = self._derive(vector, carry, steps)
        return gradient, values, after._replace(task=carry.task)
