"""Texts of specs: YAML files, read with overrides and written; `name(option=value, ...)` on the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pydantic
import yaml

from l2o_cli.assets import configs
from l2o_cli.errors import BadInput


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-3 is a number, as everyone means it; PyYAML reads it as text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def yaml_fault(error: yaml.YAMLError) -> tuple[str, str]:
    """Where a text is not YAML (", line N", or nothing if that is not known), and why."""
    mark = getattr(error, "problem_mark", None)
    return f", line {mark.line + 1}" if mark else "", str(getattr(error, "problem", error))


def parse_yaml(text: str) -> Any:
    """The value of a YAML text; yaml.YAMLError if it is none."""
    return yaml.load(text, Loader=_Loader)


def read_yaml(path: Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """The mapping in a YAML file, with `a.b=value` overrides; BadInput names the file and what is wrong.

    With a field `extends`, the name of another file (relative to this one) or of a spec that l2o ships, the fields are laid over
    those of the other: mappings key by key, all else is replaced.
    """
    content = _extended(path, ())
    for override in overrides:
        _override(content, override)
    return content


def _extended(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """The mapping in a file, laid over the one that it extends; `above` are the files that led here."""
    content = _mapping_in(path)
    name = content.pop("extends", None)
    if name is None:
        return content
    if not isinstance(name, str):
        raise BadInput(f"{path}: extends: expected a file or the name of a spec, found {name!r}")
    other, shipped = path.parent / Path(name).expanduser(), configs() / f"{name}.yaml"
    if not other.is_file():
        if not shipped.is_file():
            raise BadInput(f"{path}: extends: {name}: no such file beside it, nor a spec that l2o ships")
        other = shipped
    chain = (*above, path)
    if other.resolve() in [file.resolve() for file in chain]:
        raise BadInput(f"{path}: extends: goes round in a circle: {' -> '.join(str(file) for file in (*chain, other))}")
    return _laid_over(_extended(other, chain), content)


def _laid_over(below: Any, above: Any) -> Any:
    """Mappings merged key by key; everything else is what is above."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return below | {key: _laid_over(below.get(key), value) for key, value in above.items()}


def _mapping_in(path: Path) -> dict[str, Any]:
    try:
        content = parse_yaml(path.read_text())
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path}: not a text file") from None
    except yaml.YAMLError as error:
        place, fault = yaml_fault(error)
        raise BadInput(f"{path}{place}: not YAML: {fault}") from None
    if not isinstance(content, dict):
        raise BadInput(f"{path}: expected fields at the top level, found {type(content).__name__}")
    return content


def _override(content: dict[str, Any], override: str) -> None:
    """Set `a.b.0.c=value` in nested mappings and lists; the value is YAML."""
    path, separator, text = override.partition("=")
    if not separator or not path:
        raise BadInput(f"--set {override}: expected a.b=value")
    try:
        value = parse_yaml(text)
    except yaml.YAMLError:
        raise BadInput(f"--set {override}: the value is not YAML") from None
    node: Any = content
    keys = path.split(".")
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
    return yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, width=120)


def split_outside(text: str, separator: str) -> list[str]:
    """`text` split at each `separator` that is not within brackets, empty parts left out."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def parse_part(text: str, kind: str) -> dict[str, Any]:
    """`name(key=value, ...)` -> {name, options}; values are YAML. BadInput, which says what `kind` of thing it is."""
    match = re.fullmatch(r"([^()]+?)\s*(?:\((.*)\))?", text, re.DOTALL)
    if match is None:
        raise BadInput(f"{kind} {text!r}: expected NAME or NAME(option=value, ...)")
    options = {}
    for setting in split_outside(match[2] or "", ","):
        key, separator, value = setting.partition("=")
        try:
            options[key.strip()] = parse_yaml(value)
        except yaml.YAMLError:
            separator = ""
        if not separator:
            raise BadInput(f"{kind} {text!r}: {setting!r} is not option=value")
    return {"name": match[1], "options": options}


def parse_parts(text: str, kind: str) -> dict[str, Any]:
    """`name(key=value, ...)+transformation(...)+...` -> {name, options, transforms}."""
    head, *transforms = split_outside(text, "+") or [""]
    return {**parse_part(head, kind), "transforms": [parse_part(part, "transformation") for part in transforms]}


def part_text(name: str, options: Mapping[str, Any]) -> str:
    """`name(key=value,...)`, the inverse of `parse_part`."""
    values = (f"{key}={str(value).replace(' ', '').replace(chr(39), '')}" for key, value in options.items())
    return name + (f"({','.join(values)})" if options else "")
