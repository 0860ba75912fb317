"""What the hand-designed optimizers share: their weights are their own numeric options, their state starts at zero."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np

from l2o_cli.optimizers.base import Optimizer, per_instance
from l2o_cli.optimizers.packing import Array


class HandDesigned(Optimizer):
    """An update rule whose every numeric option is a hyperparameter in `weights`, scalar or one value per instance, [I].

    Boolean options choose the rule and stay in the object.
    """

    accumulators: ClassVar[tuple[str, ...]] = ()  # names of the state's leaves, each [1, I, P]

    def init_weights(self, seed):
        options: dict[str, Any] = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: np.float32(value) for name, value in options.items() if not isinstance(value, bool)}

    def init_state(self, weights, layout, instances, seed):
        return {name: np.zeros((1, instances, layout.parameters), np.float32) for name in self.accumulators}


def hyperparameters(weights: dict[str, Array], *names: str) -> list[Array]:
    """The named hyperparameters, each shaped to broadcast against [I, P]."""
    return [per_instance(weights[name]) for name in names]
