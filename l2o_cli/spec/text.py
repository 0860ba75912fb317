"""YAML files of specs: reading with overrides, writing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pydantic
import yaml

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
    """The mapping in a YAML file, with `a.b=value` overrides; BadInput names the file and what is wrong."""
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
    for override in overrides:
        _override(content, override)
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
