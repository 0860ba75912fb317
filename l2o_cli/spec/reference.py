"""All that a spec may say, for people and programs: every field with its meaning, its kind and its default.

A section that stands in several places is told once, at its home: where it is part of the defaults, or else the first place.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from l2o_cli import yaml12
from l2o_cli.spec.fields import Described, fields_of, name_of
from l2o_cli.spec.model import Model
from l2o_cli.spec.text import EXTENDS

WIDTH = 110
HOW_TO_READ = (
    "Every field with its meaning, its kind and its default. What is required has an example. What begins with # and no blank is"
    " not among the defaults, and shows what may be written. Options of optimizers and problems: `l2o optimizers NAME`,"
    " `l2o problems NAME`."
)


def as_yaml(model: type[Model]) -> str:
    """A spec of all fields, at their defaults or with an example where there is none, with comments that say what they mean."""
    begin = [*_comment(summary_of(model), 0), *_comment(HOW_TO_READ, 0), "", *_comment(f"{EXTENDS} (text)", 0), "#extends: NAME"]
    fields = _Writer(homes_in(model)).section(model, {}, "", on=True)
    return "\n".join([*begin, "", *fields[:-1]]) + "\n"


def as_rows(model: type[Model]) -> list[dict[str, Any]]:
    """One for each field, entries of lists being written `problems[].name`; `fields_as` names the home of a section elsewhere."""
    homes = homes_in(model)

    def rows(section: type[Model], begin: str) -> Iterator[dict[str, Any]]:
        for field in fields_of(section):
            place = begin + field.name
            inner = field.sections
            away = {"fields_as": homes[inner[0]]} if inner and homes[inner[0]] != place else {}
            default = {} if field.required else {"default": field.default}
            kind = {"type": field.kind.text, "required": field.required, **default}
            yield {"field": place, **kind, "description": field.description, **away}
            for one in inner if not away else ():
                yield from rows(one, _within(field, place, one))

    extends = {"field": "extends", "type": "text", "required": False, "default": None, "description": EXTENDS}
    return [extends, *rows(model, "")]


def summary_of(model: type[Model]) -> str:
    """The first line of its docstring."""
    return (model.__doc__ or "").splitlines()[0]


def _within(field: Described, place: str, section: type[Model]) -> str:
    """How the places begin of what is in a section of the field."""
    first, *_ = field.sections
    return f"{place}[{'' if section is first else name_of(section)}]." if field.kind.entry else f"{place}."


def homes_in(model: type[Model]) -> dict[type[Model], str]:
    """{section: the place where its fields are told}."""
    homes: dict[type[Model], str] = {}

    def visit(section: type[Model], begin: str, defaults_only: bool) -> None:
        for field in fields_of(section):
            place = begin + field.name
            entries = field.default if field.kind.entry else [field.default]
            if defaults_only and not any(isinstance(entry, Mapping) for entry in entries or ()):
                continue
            for one in field.sections:
                if homes.setdefault(one, place) == place:
                    visit(one, _within(field, place, one), defaults_only)

    visit(model, "", defaults_only=True)
    visit(model, "", defaults_only=False)
    return homes


@dataclass(frozen=True)
class _Writer:
    """Writes lines; those of what is not `on` begin with #."""

    homes: Mapping[type[Model], str]

    def section(self, model: type[Model], values: Mapping[str, Any], begin: str, on: bool, depth: int = 0) -> list[str]:
        lines = []
        for field in fields_of(model):
            place = begin + field.name
            lines += _comment(self._meaning(field, place), depth)
            lines += self._value(field, values.get(field.name, field.default), place, on, depth)
            lines += [""] if depth == 0 else []
        return lines

    def _meaning(self, field: Described, place: str) -> str:
        """What the comment says; choices that are each explained have a line of their own."""
        head, *choices = _explained(field)
        kind = "one of these" if choices else field.kind.text
        away = [f"as {self.homes[one]}" for one in field.sections[:1] if self.homes[one] != place]
        about = f"({', '.join([kind, *away, *(['required'] if field.required else [])])})"
        return "\n".join([f"{head} {about}".strip(), *choices])

    def _value(self, field: Described, value: Any, place: str, on: bool, depth: int) -> list[str]:
        sections = field.sections
        mark = "" if on else "#"
        if not sections or self.homes[sections[0]] != place:
            text = field.name.upper() if value is None and field.required else _on_a_line(value)
            return [f"{mark}{field.name}: {text}"]
        if field.kind.entry:
            entries = self._entries(field, value, place, on, depth)
            return [f"{mark if value else '#'}{field.name}:", *textwrap.indent("\n".join(entries), "  ").splitlines()]
        on = on and value is not None
        return [f"{'' if on else '#'}{field.name}:", *self._inner(sections[0], value or {}, f"{place}.", on, depth)]

    def _entries(self, field: Described, values: Any, place: str, on: bool, depth: int) -> Iterator[str]:
        """Of a list: those of the default, and one of each kind of section that is not among them."""
        mark, sections = "" if on else "#", field.sections
        for value in values:
            if isinstance(value, Mapping):
                yield from [f"{mark}-", *self._inner(sections[0], value, _within(field, place, sections[0]), on, depth + 1)]
                sections = sections[1:]
            else:
                yield f"{mark}- {_on_a_line(value)}"
        for section in sections:
            yield from ["#-", *self._inner(section, {}, _within(field, place, section), False, depth + 1)]

    def _inner(self, model: type[Model], values: Mapping[str, Any], begin: str, on: bool, depth: int) -> list[str]:
        return [f"  {line}" for line in self.section(model, values, begin, on, depth + 1)]


def _explained(field: Described) -> list[str]:
    """The description, followed by each choice with its meaning where these are all explained: `a: ...; b, c: ...`."""
    names = "|".join(map(re.escape, field.kind.choices))
    head, *parts = (
        re.split(rf"(?:^|; |: )(?=(?:{names})(?:, (?:{names}))*: )", field.description) if names else [field.description]
    )
    explained = {name for part in parts for name in part.partition(": ")[0].split(", ")}
    return [head, *(f"  {part}" for part in parts)] if explained == set(field.kind.choices) and parts else [field.description]


def _comment(text: str, depth: int) -> list[str]:
    """Within the width, which a line at this depth has two blanks less of for each level."""
    lines = []
    for line in text.splitlines():
        blanks = " " * (len(line) - len(line.lstrip()))
        lines += textwrap.wrap(
            line.strip(), WIDTH - 2 * depth, initial_indent=f"# {blanks}", subsequent_indent=f"# {blanks}{'  ' if blanks else ''}"
        )
    return lines


def _on_a_line(value: Any) -> str:
    # Alone, a plain value would be written with the end of a document.
    return yaml12.write([value], width=math.inf, brackets=True).strip()[1:-1]
