"""How the catalogs write values: for programs and for people."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

Row = dict[str, Any]


def transform_rows(transforms: Mapping[str, Any]) -> list[Row]:
    """One for each transformation, of problems or of optimizers."""
    return [
        {"name": name, "options": [f"{option}={plain(value)}" for option, value in defaults(cls).items()], "summary": cls.summary}
        for name, cls in sorted(transforms.items())
    ]


def defaults(cls: type) -> dict[str, Any]:
    """The options of a class with their defaults; without what is inside a transformation."""
    return {field.name: field.default for field in dataclasses.fields(cls) if field.name != "inner"}


def json_value(value: Any) -> Any:
    """Values are those of JSON; anything else is its text."""
    if isinstance(value, list | tuple):
        return [json_value(part) for part in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def plain(value: Any) -> str:
    """A value as it is written in a spec or on a command line, floats with six digits."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(plain, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def block(title: str, rows: Mapping[str, str]) -> str:
    """A title and lines `name  value` below it."""
    width = max(map(len, rows))
    return "\n".join([title, *(f"  {name.ljust(width)}  {value}" for name, value in rows.items())])
