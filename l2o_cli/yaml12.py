"""YAML as people write it: the core schema of YAML 1.2, bounded, every fault on one line; and written so that it reads back.

PyYAML reads YAML 1.1, in which `on` is true, 010 is 8, 1:30 is 90 and 1e-3 is a text. Here its parser gives the events alone, and
plain scalars mean what they do in YAML 1.2: true and false, null and ~, integers as 10, 0o17 and 0x1F, floats, .inf and .nan, and
else texts. There are no dates and no merge keys. Keys are texts, and a mapping has each once.
"""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from l2o_cli.errors import BadInput, shown

MOST_BYTES = 8_000_000  # of a file
MOST_NODES = 500_000  # values and keys, those that an alias stands for counted each time
MOST_LEVELS = 50
MOST_DIGITS = 300  # of a number

_NULL = re.compile(r"(?:null|Null|NULL|~|)\Z")
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
_INTEGER = re.compile(r"[-+]?[0-9]+\Z|0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_SPECIAL = re.compile(r"[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z")

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")

_TAG = "tag:yaml.org,2002:"
_SCALARS, _COLLECTIONS = ("str", "null", "bool", "int", "float"), ("seq", "map")

# The parser of libyaml is twenty times as fast, and not everywhere.
_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class YamlFault(ValueError):
    """What is wrong with a text, in one line, and in which line of it, from 1; None where that is not known."""

    def __init__(self, fault: str, line: int | None = None):
        super().__init__(fault)
        self.line = line


def parse(text: str) -> Any:
    """The value of a YAML text of one document: None for an empty one. YamlFault says what is wrong."""
    forbidden = _FORBIDDEN.search(text)
    if forbidden:
        line = text.count("\n", 0, forbidden.start()) + 1
        raise YamlFault(f"not YAML: the character U+{ord(forbidden[0]):04X}, which is no text", line)
    try:
        return _composed(yaml.parse(text.removeprefix("\ufeff"), Loader=_Parser))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        fault = getattr(error, "problem", None) or "cannot be parsed"
        # The mark of libyaml may lie beyond the end.
        raise YamlFault(f"not YAML: {fault}", min(mark.line, text.count("\n")) + 1 if mark else None) from None
    except (RecursionError, OverflowError, MemoryError, UnicodeError) as error:
        raise YamlFault(f"not YAML that can be read ({type(error).__name__})") from None


def read(path: Path) -> Any:
    """The value of a YAML file; BadInput, which names the file and the line, if there is none or it cannot be read."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > MOST_BYTES:
        raise BadInput(f"{path}: too large for a YAML file; {MOST_BYTES / 1e6:.0f} MB are read at most")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadInput(f"{path}, line {line}: not a text file in UTF-8") from None
    try:
        return parse(text)
    except YamlFault as fault:
        place = "" if fault.line is None else f", line {fault.line}"
        raise BadInput(f"{path}{place}: {fault}") from None


class _Open:
    """A mapping or list that is being read."""

    def __init__(self, event: Any, line: int):
        self.anchor, self.line = event.anchor, line
        self.value: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
        self.nodes = 1
        self.key: str | None = None
        self.lines: dict[str, int] = {}  # of the keys

    def add(self, value: Any, nodes: int, line: int, plain: bool) -> None:
        self.nodes += nodes
        if self.nodes > MOST_NODES:
            raise YamlFault(f"more than {MOST_NODES:,} values, aliases counted each time", line)
        if isinstance(self.value, list):
            self.value.append(value)
        elif self.key is None:
            self.key = self._new_key(value, line, plain)
        else:
            self.value[self.key] = value
            self.key = None

    def _new_key(self, key: Any, line: int, plain: bool) -> str:
        if not isinstance(key, str):
            raise YamlFault(f"a field's name must be a text, but is {shown(key)}", line)
        if key == "<<" and plain:
            raise YamlFault("merge keys (<<) are not of YAML 1.2; write the fields out, or extend a spec with `extends`", line)
        if key in self.lines:
            raise YamlFault(f"{shown(key)} is there twice, in lines {self.lines[key]} and {line}", line)
        self.lines[key] = line
        return key


class _Anchored(NamedTuple):
    value: Any
    nodes: int


def _composed(events: Iterator[Any]) -> Any:
    """The value that the events of a parser make, without recursion."""
    stack: list[_Open] = []
    anchors: dict[str, _Anchored | None] = {}  # None: of what is not complete yet
    result, documents = None, 0
    for event in events:
        line = event.start_mark.line + 1
        plain, name = False, None
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise YamlFault("a second document, where one is read", line)
            continue
        if isinstance(event, yaml.ScalarEvent):
            made, plain, name = _Anchored(_scalar(event, line), 1), event.style is None or event.style == "", event.anchor
        elif isinstance(event, yaml.AliasEvent):
            made = _copied(anchors, event.anchor or "", line)
        elif isinstance(event, yaml.CollectionStartEvent):
            _check_tag(event.tag, "map" if isinstance(event, yaml.MappingStartEvent) else "seq", line)
            if len(stack) == MOST_LEVELS:
                raise YamlFault(f"more than {MOST_LEVELS} levels, one within another", line)
            stack.append(_Open(event, line))
            if event.anchor:
                anchors[event.anchor] = None
            continue
        elif isinstance(event, yaml.CollectionEndEvent):
            ended = stack.pop()
            made, line, name = _Anchored(ended.value, ended.nodes), ended.line, ended.anchor
        else:
            continue
        if name:
            anchors[name] = made
        if stack:
            stack[-1].add(*made, line, plain)
        else:
            result = made.value
    return result


def _copied(anchors: dict[str, _Anchored | None], name: str, line: int) -> _Anchored:
    """What an alias stands for, as a value of its own."""
    if name not in anchors:
        raise YamlFault(f"not YAML: *{name} stands for nothing, there is no &{name} before it", line)
    made = anchors[name]
    if made is None:
        raise YamlFault(f"*{name} stands for what it is in itself", line)
    return made._replace(value=copy.deepcopy(made.value))


def _check_tag(tag: str | None, expected: str, line: int) -> None:
    if tag not in (None, "!", _TAG + expected):
        known = ", ".join(f"!!{name}" for name in (*_SCALARS, *_COLLECTIONS))
        raise YamlFault(f"unknown tag {shown(tag.replace(_TAG, '!!'))}; there are {known}", line)


def _scalar(event: Any, line: int) -> Any:
    text, tag = event.value, event.tag
    forbidden = _FORBIDDEN.search(text)
    if forbidden:
        raise YamlFault(f"the character U+{ord(forbidden[0]):04X}, which is no text", line)
    if tag is None:
        return _meant(text, line) if event.implicit[0] else text
    if tag == "!":
        return text
    kind = tag.removeprefix(_TAG)
    if kind not in _SCALARS:
        _check_tag(tag, "str", line)
    if kind == "str":
        return text
    value = _meant(text, line)
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value).__name__.removesuffix("Type").lower().replace("none", "null") != kind:
        raise YamlFault(f"{shown(text)} is no !!{kind}", line)
    return value


def _meant(text: str, line: int | None = None) -> Any:
    """What a plain scalar means."""
    if _NULL.match(text):
        return None
    if _BOOL.match(text):
        return text[0] in "tT"
    integer = _INTEGER.match(text)
    if len(text) > MOST_DIGITS and (integer or _FLOAT.match(text)):
        raise YamlFault(f"a number of {len(text):,} digits; at most {MOST_DIGITS} are read", line)
    if integer:
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _FLOAT.match(text):
        value = float(text)
        digits = re.split("[eE]", text)[0]
        if math.isinf(value) or (value == 0 and digits.strip("+-0.")):
            raise YamlFault(f"{shown(text)} is beyond the numbers that there are, about 1e-308 to 1e308", line)
        return value
    if _SPECIAL.match(text):
        return float(text.replace(".", ""))
    return text


class _Dumper(yaml.SafeDumper):
    """Writes in quotes what either version of YAML would take for something else than a text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _kind, _pattern in (("bool", _BOOL), ("int", _INTEGER), ("float", _FLOAT), ("float", _SPECIAL), ("null", _NULL)):
    _Dumper.add_implicit_resolver(_TAG + _kind, _pattern, None)


def write(content: Any, width: float = 120, unicode: bool = False, brackets: bool = False) -> str:
    """YAML that `parse` reads as the same; keys in their order.

    Args:
        content: plain values: dicts with texts for keys, lists, texts, numbers, booleans, None.
        unicode: whether letters beyond ASCII stand for themselves.
        brackets: whether lists and mappings are written within brackets.
    """
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=width, allow_unicode=unicode, default_flow_style=brackets)


def flow(value: Any) -> str:
    """A value within one line and brackets, as short as `parse` allows: [8,relu,{name: x}]."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{flow(key)}: {flow(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(flow, value)) + "]"
    if value is None:
        return "null"
    if isinstance(value, float):
        return {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}.get(repr(value), repr(value))
    text = str(value)
    if not isinstance(value, str) or (re.fullmatch(r"(?!\.\.\.\Z)[\w./][\w./*-]*", text) and _meant(text) == text):
        return text
    # JSON would write letters beyond U+FFFF as two, which YAML does not put together.
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(sign if sign.isprintable() else f"\\U{ord(sign):08x}" for sign in quoted)
