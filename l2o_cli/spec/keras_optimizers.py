"""The meta-optimizers of Keras."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras

from l2o_cli.errors import shown
from l2o_cli.optimizers.options import Range
from l2o_cli.spec.faults import listed
from l2o_cli.spec.strict import Misplaced

if TYPE_CHECKING:
    from l2o_cli.spec.meta_optimizers import MetaOptimizer

# The others of Keras's are wrapped around optimizers of their own.
KERAS: dict[str, Callable[..., keras.optimizers.Optimizer]] = {
    f"keras.{name}": cls
    for name, cls in vars(keras.optimizers).items()
    if inspect.isclass(cls) and "learning_rate" in inspect.signature(cls).parameters
}
# Of options that Keras does not check.
_DECAYS = ("beta_1", "beta_2", "rho", "ema_momentum", "adam_beta_1", "adam_beta_2")
_FROM_ZERO = ("epsilon", "weight_decay", "adam_weight_decay", "initial_accumulator_value")
KERAS_RANGES = {**dict.fromkeys(_DECAYS, Range(0, 1, below=True)), **dict.fromkeys(_FROM_ZERO, Range(0))}


def make(spec: MetaOptimizer) -> keras.optimizers.Optimizer:
    """The optimizer that a spec names, unless it is learned; Misplaced if it cannot have its options."""
    moments = {"beta_1": spec.beta_1, "beta_2": spec.beta_2, "epsilon": spec.epsilon}
    if spec.name == "adam":
        return keras.optimizers.Adam(spec.learning_rate, **moments)
    if spec.name == "adamw":
        return keras.optimizers.AdamW(spec.learning_rate, weight_decay=spec.weight_decay, **moments)
    if spec.name == "rmsprop":
        return keras.optimizers.RMSprop(spec.learning_rate, rho=spec.decay, epsilon=spec.epsilon)
    _check_options(KERAS[spec.name], spec.options)
    try:
        return KERAS[spec.name](spec.learning_rate, **spec.options)
    except (TypeError, ValueError) as error:
        raise Misplaced("options", str(error).strip().splitlines()[0]) from None


def _check_options(cls: Callable, options: dict[str, Any]) -> None:
    """ValueError unless the options are arguments of `cls`, numbers where it expects numbers, which Keras does not check."""
    known = inspect.signature(cls).parameters.keys() - {"learning_rate", "name", "kwargs"}
    for name, value in options.items():
        if name not in known:
            raise Misplaced(f"options.{name}", f"unknown field; {listed(sorted(known), name)}")
        default = inspect.signature(cls).parameters[name].default
        if isinstance(default, bool):
            kind = "true or false" if not isinstance(value, bool) else None
        else:
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            kind = "a number" if isinstance(default, int | float) and not number else None
        if kind:
            raise Misplaced(f"options.{name}", f"expected {kind} (got {shown(value)})")
        fault = KERAS_RANGES[name].fault(value) if name in KERAS_RANGES and value is not None else None
        if fault:
            raise Misplaced(f"options.{name}", f"must be {fault}, not {shown(value)}")
