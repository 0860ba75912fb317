"""How an optimizer inside Keras gets to see the loss: on its way through `scale_loss`."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops

from l2o_cli.optimizers.base import Optimizer, Weights
from l2o_cli.optimizers.packing import Layout
from l2o_cli.optimizers.transforms import names_of


class ShownLoss:
    """The training loss between `scale_loss` and the update that follows it; nothing is kept for a rule that reads none."""

    def __init__(self, rule: Optimizer, weights: Weights):
        self._rule = rule
        self.read = reads_loss(rule, weights)
        self._value: Any = None

    def show(self, loss: Any) -> None:
        """The loss, [] or of each example."""
        if self.read:
            self._value = ops.mean(ops.cast(loss, "float32"))

    def forget(self) -> None:
        """After an update: what was shown before it is not to be taken for the next one's."""
        self._value = None

    def require(self) -> None:
        """ValueError if the rule reads the loss and was not shown it, or outside of the graph where it would be a constant."""
        shown = self._value is not None and (tf.executing_eagerly() or tf.is_symbolic_tensor(self._value))
        if self.read and not shown:
            raise ValueError(
                f"optimizer {names_of(self._rule)!r} reads the loss: call scale_loss(loss) before apply, in the same function; "
                "with mixed_float16, compile the model with auto_scale_loss=False"
            )

    def add_to(self, total: Any) -> None:
        """Add it to a variable."""
        total.assign_add(self._value)

    def given(self, mean: Any | None = None) -> Any:
        """What the rule is given as the loss, [1] or [2, 1]: what was shown, or a mean of such losses."""
        if not self.read:
            return ops.ones((1,))
        return ops.broadcast_to(self._value if mean is None else mean, (2, 1) if self._rule.reads_validation_loss else (1,))


def reads_loss(rule: Optimizer, weights: Weights) -> bool:
    """Whether a loss that is not a number leaves a trace in the params or the state after one step."""
    layout = Layout.of({"0": (2, 2), "1": (3,)})
    values = ops.reshape(ops.linspace(-1.0, 1.0, layout.parameters), (1, -1))
    state = rule.init_state(weights, layout, 1, 0)
    loss, step = ops.full((2, 1) if rule.reads_validation_loss else (1,), float("nan")), ops.zeros((1,), "int32")
    params, state = rule.update(weights, state, values, values, loss, step, layout)
    return not all(np.isfinite(np.asarray(leaf)).all() for leaf in (params, *state.values()))
