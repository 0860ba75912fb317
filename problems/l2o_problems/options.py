"""Checks of a problem's options: a ValueError of one line that names the option and what it got."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

MOST_LAYERS = 256  # what is computed grows with them as a graph does, before it does as an array
FLOAT32 = 3.4028234e38  # the greatest, in which everything is computed


def require_whole(option: str, value: Any, least: int = 1, most: float = math.inf) -> None:
    """`value` must be an int from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{option} must be a whole number of at least {least}, but is {value!r}")
    if value > most:
        raise ValueError(f"{option} must be at most {most}, but is {value!r}")


def require_sizes(option: str, value: Any, least: int = 1) -> None:
    """`value` must be a tuple of one to `MOST_LAYERS` ints, each at least `least`."""
    if not isinstance(value, tuple) or not value:
        raise ValueError(f"{option} must be a tuple of at least one whole number, but is {value!r}")
    if len(value) > MOST_LAYERS:
        raise ValueError(f"{option} must have at most {MOST_LAYERS} entries, but has {len(value)}")
    for index, size in enumerate(value):
        require_whole(f"{option}[{index}]", size, least)


def require_number(option: str, value: Any, *, above: float | None = None, least: float | None = None) -> None:
    """`value` must be a finite int or float, greater than `above` and at least `least`."""
    bound = "" if above is None else f" above {above}"
    bound += "" if least is None else f" of at least {least}"
    number = isinstance(value, int | float) and not isinstance(value, bool) and -FLOAT32 <= value <= FLOAT32
    if not number or (above is not None and value <= above) or (least is not None and value < least):
        raise ValueError(f"{option} must be a finite number{bound}, but is {value!r}")


def require_choice(option: str, value: Any, choices: Collection[str]) -> None:
    """`value` must be one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{option} must be one of {', '.join(choices)}, but is {value!r}")


def require_probability(option: str, value: Any) -> None:
    """`value` must be a number from 0 to 1."""
    require_number(option, value, least=0.0)
    if value > 1:
        raise ValueError(f"{option} must be a probability, but is {value!r}")


def require_flag(option: str, value: Any) -> None:
    """`value` must be a bool."""
    if not isinstance(value, bool):
        raise ValueError(f"{option} must be true or false, but is {value!r}")
