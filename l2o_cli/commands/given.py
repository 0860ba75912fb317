"""Which options a command line says, and those that would say nothing."""

from __future__ import annotations

from collections.abc import Iterable

import click
from click.core import ParameterSource

from l2o_cli.errors import BadInput


def given(ctx: click.Context) -> dict[str, str]:
    """{name of a parameter: how it is written}, of those that the command line says."""
    said = {}
    for option in ctx.command.params:
        if option.name and ctx.get_parameter_source(option.name) != ParameterSource.DEFAULT:
            negated = option.secondary_opts and ctx.params[option.name] is False
            said[option.name] = (option.secondary_opts if negated else option.opts)[0]
    return said


def check_needed(ctx: click.Context, options: Iterable[str], other: str) -> None:
    """BadInput if one of the options is given, which says nothing without the other."""
    said = given(ctx)
    for name in said:
        if name in options:
            raise BadInput(f"{said[name]} goes with {other}")
