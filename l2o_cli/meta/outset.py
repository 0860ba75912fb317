"""Whether a meta-training run has learned anything yet, from the rows that it writes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]  # of metrics.csv or validation.csv, its numbers as numbers; a column may be absent

ZERO = 1e-12  # a gradient norm that is practically zero, whatever its median


class Outset:
    """Remembers whether the weights ever moved, and whether a meta-loss was ever a finite number."""

    def __init__(self) -> None:
        self._moved = self._measured = False
        self._last: Sequence[Row] = ()

    def add(self, rows: Sequence[Row]) -> None:
        """Take in the rows of one meta-step."""
        self._last = rows
        self._moved |= not rows[0].get("skipped", 0)
        self._measured |= any(math.isfinite(row.get("meta_loss", 0.0)) for row in rows)

    def presume_fruitful(self) -> None:
        """Of the meta-steps so far nothing is known."""
        self._moved = self._measured = True

    @property
    def fault(self) -> str | None:
        """What is wrong if nothing was learned so far, and what to try; None where something was, or at the very start."""
        if not self._last or (self._moved and self._measured):
            return None
        worst = max(self._last, key=lambda row: row.get("gradient_norm", 0.0))
        name, norm = worst["problem"], worst.get("gradient_norm", math.nan)
        if all_diverged(worst):
            return f"no weight has moved: all instances of {name} diverge at once; try a lower initial rate, or other problems"
        if not self._measured:
            return (
                f"every meta-loss is {worst['meta_loss']:g}, as of {name}; try other problems, or another scale of the objective"
            )
        what = f"no weight has moved: all meta-steps are skipped, the gradient norm of {name} being {norm:.2g}"
        if norm > ZERO:
            return f"{what}; try a greater meta_optimizer.discard_norm, or shorter truncations"
        return f"{what}; try another objective, or other problems"


def all_diverged(row: Row) -> bool:
    """Whether all instances of a family diverged in one truncation."""
    diverged, truncation = row.get("diverged", 0), row.get("truncation", 0)
    return bool(diverged and truncation and diverged * truncation >= row.get("inner_steps", math.inf))
