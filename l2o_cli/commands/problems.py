"""`l2o problems`."""

from __future__ import annotations

from typing import Any

import click

from l2o_cli.commands.listing import print_listing


@click.command(short_help="List the problems.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of objects instead of a table.")
def problems(as_json: bool) -> None:
    """List the problems, with what they are by default.

    Columns: the number of parameters and of tensors, the least possible loss where it is known, where the data come from.

    \b
    Example:
      l2o problems --json
    """
    from problems.registry import PROBLEMS

    print_listing([_describe(name, PROBLEMS[name]) for name in sorted(PROBLEMS)], as_json)


def _describe(name: str, cls: Any) -> dict[str, Any]:
    import math

    problem = cls()
    shapes = problem.param_shapes.values()
    return {
        "name": name,
        "summary": problem.summary,
        "parameters": sum(math.prod(shape) for shape in shapes),
        "tensors": len(shapes),
        "minimum": problem.minimum,
        "source": problem.source,
    }
