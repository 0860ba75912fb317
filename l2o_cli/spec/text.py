"""Texts of specs: YAML files, read with overrides and written; `name(option=value, ...)` on the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pydantic

from l2o_cli import yaml12
from l2o_cli.assets import configs
from l2o_cli.errors import BadInput, shown

_QUOTED = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^']|'')*'""", re.DOTALL)
BEFORE_A_VALUE = tuple("=[{(,:")
EXTENDS = "another spec, over whose fields these are laid: a file, relative to this one, or the name of one that l2o ships"


def read_yaml(path: Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """The mapping in a YAML file, with `a.b=value` overrides; BadInput names the file and what is wrong.

    With a field `extends`, the name of another file (relative to this one) or of a spec that l2o ships, the fields are laid over
    those of the other: mappings key by key, all else is replaced.
    """
    content = _extended(path, ())
    for override in overrides:
        _override(content, override)
    return content


def seed_in(content: Mapping[str, Any]) -> int:
    """The seed that a spec names, with which draws of problems are made; 0 where it is none, which is said elsewhere."""
    seed = content.get("seed", 0)
    whole = isinstance(seed, int | float) and not isinstance(seed, bool) and seed >= 0 and seed == seed // 1
    return int(seed) if whole else 0


def _extended(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """The mapping in a file, laid over the one that it extends; `above` are the files that led here."""
    content = _mapping_in(path)
    name = content.pop("extends", None)
    if name is None:
        return content
    if not isinstance(name, str):
        raise BadInput(f"{path}: extends: expected a file or the name of a spec, found {shown(name)}")
    try:
        other, shipped = path.parent / Path(name).expanduser(), configs() / f"{name}.yaml"
        other = other if other.is_file() or not shipped.is_file() else shipped
        there = other.is_file()
    except (OSError, RuntimeError):  # a name too long for a file, a home that is not there
        there = False
    if not there:
        raise BadInput(f"{path}: extends: {name}: no such file beside it, nor a spec that l2o ships")
    chain = (*above, path)
    if other.resolve() in [file.resolve() for file in chain]:
        raise BadInput(f"{path}: extends: goes round in a circle: {' -> '.join(file.name for file in (*chain, other))}")
    return _laid_over(_extended(other, chain), content)


def _laid_over(below: Any, above: Any) -> Any:
    """Mappings merged key by key; everything else is what is above."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return below | {key: _laid_over(below.get(key), value) for key, value in above.items()}


def _mapping_in(path: Path) -> dict[str, Any]:
    content = yaml12.read(path)
    if not isinstance(content, dict):
        found = "nothing" if content is None else type(content).__name__
        raise BadInput(f"{path}: expected fields at the top level, found {found}")
    return content


def _override(content: dict[str, Any], override: str) -> None:
    """Set `a.b.0.c=value` in nested mappings and lists; the value is YAML."""
    path, separator, text = override.partition("=")
    if not separator or not path:
        raise BadInput(f"--set {override}: expected a.b=value")
    try:
        value = yaml12.parse(text)
    except yaml12.YamlFault as fault:
        raise BadInput(f"--set {override}: the value: {fault}") from None
    node: Any = content
    keys = path.split(".")
    if len(keys) > yaml12.MOST_LEVELS:
        raise BadInput(f"--set {override}: more than {yaml12.MOST_LEVELS} levels")
    try:
        for key in keys[:-1]:
            node = node[int(key)] if isinstance(node, list) else node.setdefault(key, {})
        if isinstance(node, list):
            node[int(keys[-1])] = value
        else:
            node[keys[-1]] = value
    except (ValueError, IndexError, TypeError, AttributeError):
        raise BadInput(f"--set {override}: there is no field {path!r}") from None


def to_yaml(spec: pydantic.BaseModel) -> str:
    """The spec as YAML, every field written out."""
    return yaml12.write(spec.model_dump(mode="json"))


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name is like one of the patterns, such as `quadratic*`."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def split_outside(text: str, separator: str) -> list[str]:
    """`text` split at each `separator` that is neither within brackets nor within the quotes of a value; empty parts left out."""
    parts, depth, begin, at, last = [], 0, 0, 0, ""
    while at < len(text):
        character = text[at]
        # Elsewhere than where a value begins a quote is a letter of a path.
        quoted = _QUOTED.match(text, at) if character in "\"'" and last in BEFORE_A_VALUE else None
        if quoted:
            at, last = quoted.end(), character
            continue
        depth += (character in "([{") - (character in ")]}")
        if character == separator and depth == 0:
            parts.append(text[begin:at])
            begin = at + 1
        at += 1
        last = last if character.isspace() else character
    return [part.strip() for part in (*parts, text[begin:]) if part.strip()]


def parse_part(text: str, kind: str) -> dict[str, Any]:
    """`name(key=value, ...)` -> {name, options}; values are YAML. BadInput, which says what `kind` of thing it is."""
    match = re.fullmatch(r"([^()]+?)\s*(?:\((.*)\))?", text, re.DOTALL)
    if match is None:
        raise BadInput(f"{kind} {text!r}: expected NAME or NAME(option=value, ...)")
    options: dict[str, Any] = {}
    for setting in split_outside(match[2] or "", ","):
        key, separator, value = (part.strip() for part in setting.partition("="))
        try:
            meant = yaml12.parse(value)
        except yaml12.YamlFault as fault:
            raise BadInput(f"{kind} {text!r}: {setting!r} is not option=value: {fault}") from None
        if not separator or not key:
            raise BadInput(f"{kind} {text!r}: {setting!r} is not option=value")
        if key in options:
            raise BadInput(f"{kind} {text!r}: option {key!r} is given twice")
        options[key] = meant
    return {"name": match[1], "options": options}


def parse_parts(text: str, kind: str) -> dict[str, Any]:
    """`name(key=value, ...)+transformation(...)+...` -> {name, options, transforms}."""
    head, *transforms = split_outside(text, "+") or [""]
    return {**parse_part(head, kind), "transforms": [parse_part(part, "transformation") for part in transforms]}


def part_text(name: str, options: Mapping[str, Any]) -> str:
    """`name(key=value,...)`, the inverse of `parse_part`."""
    values = (f"{key}={yaml12.flow(value)}" for key, value in options.items())
    return name + (f"({','.join(values)})" if options else "")
