"""How an optimizer inside Keras gets to see the loss: on its way through `scale_loss`."""

from __future__ import annotations

from typing import Any

from keras import ops

from l2o_cli.export.backends import is_of_this_graph, shown_on_its_way
from l2o_cli.export.rules import loss_of, reads_loss
from l2o_cli.optimizers.base import Optimizer, Weights
from l2o_cli.optimizers.transforms import names_of


class ShownLoss:
    """The training loss between `scale_loss` and the update that follows it; nothing is kept for a rule that reads none."""

    def __init__(self, rule: Optimizer, weights: Weights):
        self._rule = rule
        self.read = reads_loss(rule, weights)
        self._value: Any = None

    def show(self, loss: Any) -> Any:
        """The loss, [] or of each example, as it is."""
        return shown_on_its_way(loss, self._see) if self.read else loss

    def _see(self, value: Any) -> None:
        self._value = value

    def forget(self) -> None:
        """After an update: what was shown before it is not to be taken for the next one's."""
        self._value = None

    def require(self) -> None:
        """ValueError if the rule reads the loss and was not shown it, or outside of the graph where it would be a constant."""
        shown = self._value is not None and is_of_this_graph(self._value)
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
        return loss_of(self._rule, self._value if mean is None else mean)
