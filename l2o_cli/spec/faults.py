"""What is wrong with a spec, in one line."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

import pydantic

from l2o_cli.errors import LONGEST_VALUE, BadInput, shown
from l2o_cli.spec.strict import Misplaced

LONGEST_LIST = 150  # characters of names that a message lists


def unknown(kind: str, name: str, known: Iterable[str]) -> BadInput:
    """The error for a name that is not there, with the nearest one that is."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else listed(known, name)
    return BadInput(f"unknown {kind} {shown(name)}; {hint}")


def listed(names: Collection[str], like: str = "") -> str:
    """`there are: a, b, c`; of many those alone that are most `like` what was given."""
    chosen = list(names)
    if sum(len(name) + 2 for name in chosen) > LONGEST_LIST:
        nearest = difflib.get_close_matches(like[:LONGEST_LIST], chosen, n=8, cutoff=0.0)
        chosen = [*nearest, f"and {len(chosen) - len(nearest)} more"]
    return f"there are: {', '.join(chosen)}"


def first_problem(error: pydantic.ValidationError, section: str = "") -> str:
    """The first complaint of a validation, as `section.field.path: what is wrong (got value)`."""
    complaint = error.errors()[0]
    path = [*([section] if section else []), *(str(part)[:LONGEST_VALUE] for part in complaint["loc"])]
    message = complaint["msg"]
    if complaint["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        message = "unknown field"
    elif complaint["type"] == "value_error":  # our own checks: their message names the field
        fault = complaint["ctx"]["error"]
        message = str(fault)
        if isinstance(fault, Misplaced):
            path.append(fault.place)
    elif complaint["type"] != "missing":
        message += f" (got {shown(complaint['input'])})"
    return f"{'.'.join(path)}: {message}" if path else message
