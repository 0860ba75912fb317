"""How the catalogs write values: for programs and for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def json_value(value: Any) -> Any:
    """Values are those of JSON; anything else is its text."""
    if isinstance(value, list | tuple):
        return [json_value(part) for part in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def plain(value: Any) -> str:
    """A value as people read it, floats with six digits."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(plain, value))}]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def block(title: str, rows: Mapping[str, str]) -> str:
    """A title and lines `name  value` below it."""
    width = max(map(len, rows))
    return "\n".join([title, *(f"  {name.ljust(width)}  {value}" for name, value in rows.items())])
