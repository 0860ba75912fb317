"""What values the options of optimizers may have, declared as their types: `beta_1: Decay = 0.9`."""

from __future__ import annotations

import functools
import typing
from collections.abc import Collection
from typing import Annotated, Any, NamedTuple

import numpy as np

GREATEST = float(np.finfo(np.float32).max)  # in which all of them are computed


class Range(NamedTuple):
    """The numbers from `least` to `most`; without the ends themselves if `above` or `below`."""

    least: float = -GREATEST
    most: float = GREATEST
    above: bool = False
    below: bool = False

    def fault(self, value: Any) -> str | None:
        """What a value must be to lie in it; None if it does."""
        if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not -GREATEST <= value <= GREATEST:
            return "a finite number"
        if value < self.least or (self.above and value == self.least):
            return f"{'more than' if self.above else 'at least'} {self.least:g}"
        if value > self.most or (self.below and value == self.most):
            return f"{'less than' if self.below else 'at most'} {self.most:g}"
        return None


Number = Annotated[float, Range()]
NonNegative = Annotated[float, Range(0)]
Positive = Annotated[float, Range(0, above=True)]
Share = Annotated[float, Range(0, 1)]
Decay = Annotated[float, Range(0, 1, below=True)]
Between = Annotated[float, Range(0, 1, above=True, below=True)]
# Weights grow with the square of the units, and a graph with the layers: beyond these neither would fit a machine.
Units = Annotated[int, Range(1, 1024)]
Layers = Annotated[int, Range(1, 8)]
Few = Annotated[int, Range(1, 64)]
Count = Annotated[int, Range(1, 1_000_000_000)]
LONGEST = 32  # entries of an option that is a list


@functools.cache
def hints_of(cls: type) -> dict[str, Any]:
    """{option: its type} of a dataclass, with its range."""
    return typing.get_type_hints(cls, include_extras=True)


@functools.cache
def float_options(cls: type) -> tuple[str, ...]:
    """The options that are numbers with a fraction, and cannot be missing."""
    return tuple(name for name, hint in typing.get_type_hints(cls).items() if hint is float)


def check_option(cls: type, option: str, value: Any) -> None:
    """ValueError, naming the option, if the value is not in the range that its type declares."""
    _check(option, value, hints_of(cls).get(option))


def check_options(rule: Any) -> None:
    """As `check_option`, for all options of an instance of a dataclass."""
    for option in getattr(rule, "__dataclass_fields__", ()):
        check_option(type(rule), option, getattr(rule, option))


def require_entries(**options: Collection) -> None:
    """ValueError, naming the option, for a list without entries."""
    for option, values in options.items():
        if not values:
            raise ValueError(f"{option} must have at least one entry")


def _check(option: str, value: Any, hint: Any) -> None:
    if value is None:
        return
    if typing.get_origin(hint) is Annotated:
        for bounds in hint.__metadata__:
            fault = bounds.fault(value) if isinstance(bounds, Range) else None
            if fault:
                raise ValueError(f"{option} must be {fault}, not {value!r}")
    elif isinstance(value, tuple) and typing.get_origin(hint) is tuple:
        kinds = typing.get_args(hint)
        if len(value) > LONGEST:
            raise ValueError(f"{option} must have at most {LONGEST} entries, not {len(value)}")
        for index, part in enumerate(value):
            _check(option, part, kinds[0] if kinds[-1] is ... else kinds[index])
    else:
        for kind in typing.get_args(hint):
            if typing.get_origin(kind) in (Annotated, tuple):
                _check(option, value, kind)
