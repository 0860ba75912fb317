"""What every framework does alike with an update rule: tell it the length of the run, show it the loss if it reads it, update."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from keras import ops

from l2o_cli.export.artifact import LoadedOptimizer
from l2o_cli.optimizers.base import Optimizer, State, Weights
from l2o_cli.optimizers.packing import Layout
from l2o_cli.optimizers.transforms import names_of

Update = Callable[[Weights, State, Any, Any, Any, Any], tuple[Any, State]]


def rule_of(loaded: LoadedOptimizer, steps: int | None) -> Optimizer:
    """The update rule for a run of so many steps; ValueError if that is no number of steps, or missing and needed."""
    if steps is None:
        if loaded.optimizer.lacks_steps:
            raise ValueError(f"optimizer {names_of(loaded.optimizer)!r} goes by the length of the run; give steps")
        return loaded.optimizer
    if not (isinstance(steps, int | np.integer) and steps > 0):
        raise ValueError(f"steps must be a whole number above 0, not {steps!r}")
    return loaded.optimizer.over(int(steps))


def reads_loss(rule: Optimizer, weights: Weights) -> bool:
    """Whether a loss that is not a number leaves a trace in the params or the state after one step."""
    layout = Layout.of({"0": (2, 2), "1": (3,)})
    values = ops.reshape(ops.linspace(-1.0, 1.0, layout.parameters), (1, -1))
    weights, state = tensors(weights), tensors(rule.init_state(weights, layout, 1, 0))
    params, state = rule.update(weights, state, values, values, loss_of(rule, float("nan")), ops.zeros((1,), "int32"), layout)
    return not all(bool(ops.all(ops.isfinite(leaf))) for leaf in (params, *state.values()))


def initial_state(rule: Optimizer, weights: Weights, layout: Layout, seed: int) -> State:
    """The state of one run before its first step, as tensors."""
    state = tensors(rule.init_state(weights, layout, 1, seed))
    return tensors(rule.refresh_state(tensors(weights), state, ops.ones((1,), "bool")))


def tensors(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Weights or a state as tensors of Keras's backend: float32, or bfloat16 where the rule keeps it so."""
    return {name: _tensor(leaf) for name, leaf in leaves.items()}


def _tensor(leaf: Any) -> Any:
    if ops.is_tensor(leaf):
        return leaf
    value = np.asarray(leaf)  # PyTorch knows no bfloat16 of numpy's
    return ops.cast(
        ops.convert_to_tensor(value.astype(np.float32)), value.dtype.name if value.dtype.name == "bfloat16" else "float32"
    )


def loss_of(rule: Optimizer, loss: Any) -> Any:
    """What the rule is given as the loss, [1] or [2, 1], of a training loss []."""
    return ops.broadcast_to(ops.convert_to_tensor(loss, "float32"), (2, 1) if rule.reads_validation_loss else (1,))


def all_finite(*arrays: Any) -> Any:
    """Whether all entries of all arrays are finite, []."""
    finite = [ops.all(ops.isfinite(array)) for array in arrays]
    return functools.reduce(ops.logical_and, finite)


def update_of(rule: Optimizer, layout: Layout) -> Update:
    """`rule.update` for one layout."""

    def update(weights: Weights, state: State, params: Any, gradients: Any, loss: Any, step: Any) -> tuple[Any, State]:
        return rule.update(weights, state, params, gradients, loss, step, layout)

    return update
