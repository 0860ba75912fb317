"""What values a problem's options may have, declared as their types: `rank: Count = 2`.

What is not as declared is a ValueError of one line that names the option and what it got.
"""

from __future__ import annotations

import functools
import inspect
import math
import typing
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Annotated, Any, Literal

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


def require_layers(option: str, value: Any) -> None:
    """`value` must be a tuple of the sizes of layers, of which there may be none."""
    if value != ():
        require_sizes(option, value)


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


Count = Annotated[int, require_whole]
Several = Annotated[int, partial(require_whole, least=2)]
Depth = Annotated[int, partial(require_whole, most=MOST_LAYERS)]
Sizes = Annotated[tuple[int, ...], require_sizes]
Layers = Annotated[tuple[int, ...], require_layers]
Number = Annotated[float, require_number]
NonNegative = Annotated[float, partial(require_number, least=0.0)]
Positive = Annotated[float, partial(require_number, above=0.0)]
FromOne = Annotated[float, partial(require_number, least=1.0)]
Probability = Annotated[float, require_probability]
Flag = Annotated[bool, require_flag]

Check = Callable[[str, Any], None]  # of an option and its value


def check_options(problem: Any) -> None:
    """ValueError for an option that is not as the classes of this package declare it, the problem's own or a base of it."""
    for option, check in _checks(problem.__class__):
        check(option, getattr(problem, option))


@functools.cache
def _checks(cls: type) -> list[tuple[str, Check]]:
    """(option, its check), those of bases first."""
    checks = []
    for base in reversed(cls.__mro__):
        if base.__module__.partition(".")[0] == __package__:  # what a class of a user's declares may mean anything
            hints = typing.get_type_hints(base, include_extras=True)
            checks += [(option, check) for option in inspect.get_annotations(base) for check in _declared(hints[option])]
    return checks


def _declared(hint: Any) -> Iterable[Check]:
    if typing.get_origin(hint) is Literal:
        return (partial(require_choice, choices=typing.get_args(hint)),)
    return hint.__metadata__ if typing.get_origin(hint) is Annotated else ()
