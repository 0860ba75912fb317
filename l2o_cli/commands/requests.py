"""What the commands share that run optimizers and write what came of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import click
from click.core import ParameterSource

from l2o_cli.commands.field_options import field_option
from l2o_cli.errors import BadInput
from l2o_cli.files import new_folder
from l2o_cli.spec import ComparisonSpec, EvaluationSpec, from_texts

Spec = TypeVar("Spec", EvaluationSpec, ComparisonSpec)


def request_options(spec: type[EvaluationSpec | ComparisonSpec]) -> Callable:
    """The options that all these commands have; `asked` takes them."""
    options = (
        field_option(spec, "problems", "--problems", "--problem", metavar="A,B", note="Comma-separated or repeated."),
        field_option(spec, "optimizers", "--optimizer", metavar="NAME|DIR", note="Repeatable."),
        field_option(spec, "steps"),
        field_option(spec, "seeds"),
        field_option(spec, "seed"),
        field_option(spec, "every", metavar="N"),
        field_option(spec, "xla"),
    )
    return _all_of(options)


def run_options(command: Callable) -> Callable:
    """The options that say how it is run, and what is written."""
    options = (
        click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder for the results."),
        click.option("--overwrite", is_flag=True, help="Write into --out although it is not empty."),
        click.option("--resume", is_flag=True, help="Go on with what was begun in --out, as its spec.yaml says."),
        click.option("--fresh", is_flag=True, help="Make every run, and keep none; else what was run before is not run again."),
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            default=1,
            show_default=True,
            help="Processes, each with a problem of its own. With more than one the times are those of a busy machine.",
        ),
        click.option(
            "--minutes",
            type=click.FloatRange(min=0, min_open=True),
            help="End after this time, start-up included, with a report on the problems that are complete.",
        ),
        click.option("--report/--no-report", default=True, help="Write report.html and the pictures, or leave them out."),
        click.option("--json", "as_json", is_flag=True, help="Print only the rows, as JSON; all else goes to stderr."),
        click.option("--quiet", is_flag=True, help="No progress on stderr."),
    )
    return _all_of(options)(command)


def _all_of(options: tuple[Callable, ...]) -> Callable:
    def decorate(command: Callable) -> Callable:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def spec_and_folder(
    ctx: click.Context, model: type[Spec], config: str | None, out: Path | None, resume: bool
) -> tuple[Spec, Path]:
    """The spec that a command line means, and the folder of its results.

    It is that of --out where it is resumed; else CONFIG, its fields replaced by the options that are given.
    """
    from l2o_cli.assets import find_config
    from l2o_cli.spec.reading import read_request

    said = [name for name in model.model_fields if ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE]
    if resume:
        if out is None:
            raise BadInput("--resume needs --out, the folder of the results")
        if config or said:
            raise BadInput(f"--resume goes on as {out / 'spec.yaml'} says; leave out CONFIG and what is in it")
        if not (out / "spec.yaml").is_file():
            raise BadInput(f"--out {out}: nothing to resume, there is no spec.yaml")
        return read_request(model, out / "spec.yaml", {}), out
    given = from_texts({name: ctx.params[name] for name in said})
    spec = read_request(model, find_config(config) if config else None, given)
    default = Path("runs") / f"{ctx.info_name}-{datetime.now():%Y%m%d-%H%M%S}"
    return spec, out or ctx.with_resource(new_folder(default))


def end_of(minutes: float | None) -> float:
    """The value of time.monotonic() at which the command ends."""
    return math.inf if minutes is None else time.monotonic() + 60 * minutes
