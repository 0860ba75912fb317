"""Checks of a problem's options: a ValueError of one line that names the option and what it got."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any


def require_whole(option: str, value: Any, least: int = 1) -> None:
    """`value` must be an int of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{option} must be a whole number of at least {least}, but is {value!r}")


def require_sizes(option: str, value: Any, least: int = 1) -> None:
    """`value` must be a tuple of at least one int, each at least `least`."""
    if not isinstance(value, tuple) or not value:
        raise ValueError(f"{option} must be a tuple of at least one whole number, but is {value!r}")
    for index, size in enumerate(value):
        require_whole(f"{option}[{index}]", size, least)


def require_number(option: str, value: Any, *, above: float | None = None, least: float | None = None) -> None:
    """`value` must be a finite int or float, greater than `above` and at least `least`."""
    bound = "" if above is None else f" above {above}"
    bound += "" if least is None else f" of at least {least}"
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or (above is not None and value <= above) or (least is not None and value < least):
        raise ValueError(f"{option} must be a finite number{bound}, but is {value!r}")


def require_choice(option: str, value: Any, choices: Collection[str]) -> None:
    """`value` must be one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{option} must be one of {', '.join(choices)}, but is {value!r}")
