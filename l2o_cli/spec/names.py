"""From names and options to problems."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from l2o_problems.base import Problem
from l2o_problems.contract import Broken, check
from l2o_problems.file_names import is_file_name
from l2o_problems.from_file import place, problem_in_file, said
from l2o_problems.registry import PROBLEMS
from l2o_problems.transforms import TRANSFORMS, SumOfProblems

from l2o_cli.errors import BadInput, naming, shown
from l2o_cli.spec.building import WRONG_OPTIONS, build, called, first_wrong


def make_problem(name: str, options: Mapping[str, Any] | None = None, transforms: Iterable[Any] = ()) -> Problem:
    """The problem `name` with its options, inside each transformation in turn; BadInput when any of them is wrong.

    Args:
        name: of a problem, or `FILE.py:NAME` of one in a file.
        options: those of `sum` have problems, each a mapping with the arguments of this function.
        transforms: mappings with `name` and `options`; the first is the innermost.
    """
    options = dict(options or {})
    if PROBLEMS.get(name) is SumOfProblems and "problems" in options:
        options["problems"] = tuple(_part(index, entry) for index, entry in enumerate(options["problems"]))
    problem = _own_problem(name, options) if is_file_name(name) else build("problem", PROBLEMS, name, options)
    for one in transforms:
        problem = build("transformation", TRANSFORMS, one["name"], one.get("options", {}), inner=problem)
    return problem


def _own_problem(name: str, options: Mapping[str, Any]) -> Problem:
    """The problem `FILE.py:NAME`, which has been tried; BadInput for whatever is wrong with it or its file."""
    found = False
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what it says is no result
            factory = problem_in_file(name)
            found = True
            problem = called(factory, options)
            check(problem)
        return problem
    except WRONG_OPTIONS as error:
        fault, cause = first_wrong(error), None
    except Broken as error:
        fault, cause = str(error), error.__cause__
    except (Exception, SystemExit) as error:
        where = place(error, name)
        if not where and isinstance(error, (OSError, TypeError, ValueError)):  # there is no such file, name or argument
            fault, cause = str(error).split("() got an ")[-1], None
        else:
            fault, cause = "it cannot be made" if found else "the file cannot be run", error
    if cause is not None:
        fault = ": ".join(filter(None, (fault, place(cause, name), said(cause))))
    raise BadInput(f"problem {name!r}: {fault}") from cause


def _part(index: int, entry: Any) -> Problem:
    if isinstance(entry, Problem):
        return entry
    field = f"problem 'sum': options.problems.{index}"
    if not isinstance(entry, Mapping) or "name" not in entry or not {"name", "options", "transforms"} >= entry.keys():
        raise BadInput(f"{field}: expected name, options and transforms, found {shown(entry)}")
    with naming(field):
        return make_problem(**entry)
