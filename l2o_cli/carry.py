"""What a run is between two steps, how it begins, and how instances of several are put together.

Shape letters: I instances, P parameters of one instance, F features, N any per-instance axis.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
from l2o_problems.base import Memory, Problem, Task
from l2o_problems.random import as_seed, fold

from l2o_cli.graph import Graph
from l2o_cli.optimizers.base import Optimizer, State, Weights
from l2o_cli.optimizers.packing import Layout, pack, unpack

RUNNING = -1  # the value of `Carry.diverged` while an instance runs

# Purposes for which seeds are folded, so that no two draws share one.
TASK, PARAMS, STATE, BATCH, PERTURB, DISPLACE, MEASURE, VALIDATE = range(8)


class Carry(NamedTuple):
    """Everything a run is between two steps: a plain nest of tensors that can be saved, restored and sent."""

    params: tf.Tensor  # [I, P]
    state: State  # leaves [F, I, N]
    task: Task  # leaves [I, ...]
    memory: Memory  # leaves [I, ...], what the problem keeps from step to step
    step: tf.Tensor  # [I] int32, updates made so far
    initial_loss: tf.Tensor  # [I], the loss before the first update
    diverged: tf.Tensor  # [I] int32, the step at which the instance was frozen, RUNNING before
    seed: tf.Tensor  # [2] int32, from which minibatches and noise are drawn
    clock: tf.Tensor  # [] int32, steps since the seed was set, shared by all instances

    def without_task(self) -> Carry:
        """What a compiled function returns: the task does not change, and copying a large one out takes time."""
        return self._replace(task={})


def layout_of(problem: Problem) -> Layout:
    return Layout.of(problem.param_shapes)


class Draw(NamedTuple):
    """Problems as they were drawn, with what a run of any optimizer on them begins with."""

    task: Task
    params: tf.Tensor  # [I, P]
    memory: Memory
    state_seed: tf.Tensor  # [2] int32
    batch_seed: tf.Tensor  # [2] int32


@functools.cache
def _drawing(problem: Problem, instances: int) -> Graph:
    """The draw of `instances` problems as one graph: seed -> Draw."""

    def draw(root: tf.Tensor) -> Draw:
        task = problem.sample(fold(root, TASK), instances)
        params = pack(problem.initial_params(fold(root, PARAMS), task), layout_of(problem))
        memory = problem.initial_memory(task, unpack(params, layout_of(problem)))
        return Draw(task, params, memory, fold(root, STATE), fold(root, BATCH))

    return Graph(draw, f"draw {instances} {problem.structure}", xla=False)


def draw(problem: Problem, seed: int, instances: int) -> Draw:
    """Draw `instances` problems; a function of its arguments alone."""
    return Draw(*_drawing(problem, instances)(as_seed(seed)))


def at_start(problem: Problem, optimizer: Optimizer, weights: Weights, drawn: Draw) -> Carry:
    """The optimizer at the start of the problems that were drawn."""
    instances = drawn.params.shape[0]
    state = optimizer.init_state(weights, layout_of(problem), instances, int(drawn.state_seed[0]) & 0x7FFFFFFF)
    return Carry(
        params=drawn.params,
        # A tensor may be bfloat16 (see `LowPrecision`) and stays what it is.
        state={name: leaf if tf.is_tensor(leaf) else tf.constant(leaf, tf.float32) for name, leaf in state.items()},
        task=drawn.task,
        memory=drawn.memory,
        step=tf.zeros([instances], tf.int32),
        initial_loss=tf.ones([instances]),
        diverged=tf.fill([instances], RUNNING),
        seed=drawn.batch_seed,
        clock=tf.zeros([], tf.int32),
    )


def start(problem: Problem, optimizer: Optimizer, weights: Weights, seed: int, instances: int) -> Carry:
    """Draw `instances` problems and put the optimizer at their start; a function of its arguments alone."""
    return at_start(problem, optimizer, weights, draw(problem, seed, instances))


def mask(condition: tf.Tensor, leaf: tf.Tensor, axis: int) -> tf.Tensor:
    shape = [1] * len(leaf.shape)
    shape[axis] = -1
    return tf.reshape(condition, shape)


def _instancewise(operation: Callable[..., tf.Tensor], *carries: Carry) -> Carry:
    """`operation(leaf, ..., axis)` on every leaf that has an instance axis; seed and clock are those of the last carry."""
    first, last = carries[0], carries[-1]
    fields: dict[str, Any] = {"seed": last.seed, "clock": last.clock}
    for name in Carry._fields:
        leaves = [getattr(carry, name) for carry in carries]
        if isinstance(leaves[0], dict):
            axis = 1 if name == "state" else 0
            fields[name] = {key: operation(*(leaf[key] for leaf in leaves), axis=axis) for key in leaves[0]}
        elif name not in fields:
            fields[name] = operation(*leaves, axis=0)
    return type(first)(**fields)


@tf.function(autograph=False)
def select(condition: tf.Tensor, new: Carry, old: Carry) -> Carry:
    """`new` for the instances where `condition` [I] is true, `old` (and its seed and clock) elsewhere."""
    return _instancewise(lambda a, b, axis: tf.where(mask(condition, a, axis), a, b), new, old)


def concatenate(carries: Sequence[Carry]) -> Carry:
    """The instances of several carries in one; the seed and clock of the last."""
    return _instancewise(lambda *leaves, axis: tf.concat(leaves, axis), *carries)


def repeat(carry: Carry, times: int) -> Carry:
    """Each instance `times` times in a row: [a, b] -> [a, a, b, b]."""
    return _instancewise(lambda leaf, axis: tf.repeat(leaf, times, axis), carry)
