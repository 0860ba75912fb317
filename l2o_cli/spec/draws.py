"""Problem families whose options are drawn from distributions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from l2o_cli.errors import BadInput, shown

if TYPE_CHECKING:
    from l2o_cli.spec.problems import ProblemSpec

LARGEST = 10**15  # of whole numbers that are drawn

# {distribution: [arguments]} where an option stands; (generator, arguments) -> value.
DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, Sequence[Any]], Any]] = {
    "uniform": lambda rng, ends: _short(rng.uniform(*ends)),
    "log_uniform": lambda rng, ends: _short(math.exp(rng.uniform(math.log(ends[0]), math.log(ends[1])))),
    "integer": lambda rng, ends: int(rng.integers(int(ends[0]), int(ends[1]) + 1)),
    "log_integer": lambda rng, ends: round(math.exp(rng.uniform(math.log(ends[0]), math.log(ends[1])))),
    "choice": lambda rng, values: values[int(rng.integers(len(values)))],
}


def _check_ends(kind: str, arguments: Any) -> None:
    """ValueError, which says why, unless a value can be drawn from `{kind: arguments}`."""
    if not isinstance(arguments, list | tuple) or not arguments:
        raise ValueError("expected a list of values")
    if kind == "choice":
        return
    numbers = [isinstance(end, int | float) and not isinstance(end, bool) and math.isfinite(end) for end in arguments]
    if len(arguments) != 2 or not all(numbers):
        raise ValueError("expected two numbers, [least, greatest]")
    low, high = arguments
    if low > high:
        raise ValueError(f"the first end, {shown(low)}, is greater than the second, {shown(high)}")
    if kind.startswith("log") and low <= 0:
        raise ValueError("expected numbers above 0, whose logarithms are drawn")
    if kind.endswith("integer") and (low != int(low) or high != int(high) or abs(low) > LARGEST or abs(high) > LARGEST):
        raise ValueError("expected whole numbers")


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _drawn(value: Any, rng: np.random.Generator) -> Any:
    """`value` with every distribution in it replaced by a draw."""
    if isinstance(value, Mapping):
        if len(value) == 1 and next(iter(value)) in DISTRIBUTIONS:
            [(kind, arguments)] = value.items()
            try:
                _check_ends(kind, arguments)
                return DISTRIBUTIONS[kind](rng, arguments)
            except (ValueError, OverflowError) as error:
                raise BadInput(f"{{{kind}: {shown(arguments)}}} is not a distribution: {error}") from None
        return {key: _drawn(part, rng) for key, part in value.items()}
    return [_drawn(part, rng) for part in value] if isinstance(value, list) else value


def drawn_families(entry: ProblemSpec, seed: Sequence[int]) -> list[ProblemSpec]:
    """One concrete family, or as many draws as the entry asks for, which share its weight."""
    rng = np.random.default_rng(seed)
    made = []
    for draw in range(entry.draws):
        update = {
            "options": _drawn(entry.options, rng),
            "transforms": tuple(t.model_copy(update={"options": _drawn(t.options, rng)}) for t in entry.transforms),
            "weight": entry.weight / entry.draws,
            "draws": 1,
        }
        if entry.label and entry.draws > 1:
            update["label"] = f"{entry.label} {draw + 1}"
        made.append(entry.model_copy(update=update))
    return made
