"""Options of commands that are fields of a spec."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import pydantic

from l2o_cli.spec.fields import LARGEST, Kind, described


def field_option(spec: type[pydantic.BaseModel], field: str, *names: str, note: str = "", **settings: Any) -> Callable:
    """An option for a field of a spec, of which the default, the kind, the range and the meaning are those of the field.

    Args:
        names: of the option; `--field` if none is given.
        note: a sentence that the help says besides.
        settings: of `click.option`, where they are other ones.
    """
    known = described(field, spec.model_fields[field])
    default = None if known.required else known.default
    meaning, _, without = known.description.partition("; null: ")
    text = f"{meaning[0].upper()}{meaning[1:]}. {note}".rstrip()
    own: dict[str, Any] = {"default": default, "show_default": without or True, "help": text}
    names = names or (f"--{field.replace('_', '-')}",)
    if known.kind.name == "true or false":
        names = (f"{names[0]}/--no-{names[0].removeprefix('--')}",)
    elif known.kind.name in ("list", "mapping"):
        own |= {"default": default or None, "multiple": True}
    else:
        own["type"] = _type(known.kind)
    return click.option(*names, field, **own | settings)


def _type(kind: Kind) -> click.ParamType | None:
    if kind.choices:
        return click.Choice(kind.choices)
    least, most = kind.least, None if kind.most is None or kind.most >= LARGEST else kind.most
    if kind.name == "integer":
        return click.IntRange(_whole(least), _whole(most))
    if kind.name == "number":
        return click.FloatRange(least, most, min_open=kind.above, max_open=kind.below)
    return None


def _whole(bound: float | None) -> int | None:
    return None if bound is None else int(bound)
