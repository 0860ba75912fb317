"""What pydantic would take for a number or for a boolean, and nobody means: True for 1.0, "3" for 3, "yes" or 1 for True."""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Union

from l2o_cli.errors import shown

NUMBERS = {int, float}
GREATEST, LARGEST = 3.4028234e38, 10**18  # in float32, in which all is computed; of whole numbers


class Misplaced(ValueError):
    """What is wrong with a part of a field, and where in it."""

    def __init__(self, place: str, fault: str):
        super().__init__(fault)
        self.place = place


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    """The types of the fields; none where they cannot be told."""
    try:
        return typing.get_type_hints(cls)
    except Exception:  # of a class of a user's own, whatever its annotations name
        return {}


def check_kinds(cls: type, given: Mapping[str, Any]) -> None:
    """Misplaced if a field of `cls` is given a boolean or a text for a number, or anything but a boolean for one."""
    for name, hint in _hints(cls).items():
        if name in given:
            for place, expected, value in _mistaken(hint, given[name], name):
                raise Misplaced(place, f"expected {expected} (got {shown(value)})")


def _mistaken(hint: Any, value: Any, place: str) -> Iterator[tuple[str, str, Any]]:
    """(where, what is expected, what is there)."""
    kinds = _alternatives(hint)
    if isinstance(value, list | tuple):
        for kind in kinds:
            inner = [one for one in typing.get_args(kind) if one is not ...] if typing.get_origin(kind) in (tuple, list) else []
            for index, part in enumerate(value):
                if inner:
                    yield from _mistaken(inner[min(index, len(inner) - 1)], part, f"{place}.{index}")
    elif isinstance(value, Mapping):
        for kind in kinds:
            if typing.get_origin(kind) is dict:
                for key, part in value.items():
                    yield from _mistaken(typing.get_args(kind)[1], part, f"{place}.{key}")
    elif NUMBERS & set(kinds) and not any(kind in (bool, str, Any) or typing.get_origin(kind) is Literal for kind in kinds):
        if isinstance(value, bool | str):
            yield place, "a number" if float in kinds else "an integer", value
        elif isinstance(value, int | float) and abs(value) > (GREATEST if float in kinds else LARGEST):
            yield place, "a number up to 3.4e38" if float in kinds else "an integer up to 1e18", value
    elif set(kinds) <= {bool, types.NoneType} and not isinstance(value, bool) and value is not None:
        yield place, "true or false", value


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)
