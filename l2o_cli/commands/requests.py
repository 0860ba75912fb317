"""What commands share: options that are fields of a spec; and to run optimizers as one says, and write what came of it."""

from __future__ import annotations

import contextlib
import functools
import math
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click
import pydantic

from l2o_cli.commands.given import check_needed, given
from l2o_cli.commands.workers import cluster_of, worker_options
from l2o_cli.errors import BadInput
from l2o_cli.executor import Where
from l2o_cli.files import new_folder
from l2o_cli.spec import ComparisonSpec, EvaluationSpec, from_texts
from l2o_cli.spec.fields import LARGEST, Kind, described

Spec = TypeVar("Spec", EvaluationSpec, ComparisonSpec)


def field_option(spec: type[pydantic.BaseModel], field: str, *names: str, note: str = "", **settings: Any) -> Callable:
    """An option for a field of a spec, of which the default, the kind, the range and the meaning are those of the field.

    Args:
        names: of the option; `--field` if none is given.
        note: a sentence that the help says besides.
        settings: of `click.option`, where they are other ones.
    """
    known = described(field, spec.model_fields[field])
    default = None if known.required else known.default
    meaning, _, without = known.description.partition("; null: ")
    text = f"{meaning[0].upper()}{meaning[1:]}. {note}".rstrip()
    own: dict[str, Any] = {"default": default, "show_default": without or True, "help": text}
    names = names or (f"--{field.replace('_', '-')}",)
    if known.kind.name == "true or false":
        names = (f"{names[0]}/--no-{names[0].removeprefix('--')}",)
    elif known.kind.name in ("list", "mapping"):
        own |= {"default": default or None, "multiple": True}
    else:
        own["type"] = _type(known.kind)
    return click.option(*names, field, **own | settings)


def _type(kind: Kind) -> click.ParamType | None:
    if kind.choices:
        return click.Choice(kind.choices)
    least, most = kind.least, None if kind.most is None or kind.most >= LARGEST else kind.most
    if kind.name == "integer":
        return click.IntRange(_whole(least), _whole(most))
    if kind.name == "number":
        return click.FloatRange(least, most, min_open=kind.above, max_open=kind.below)
    return None


def _whole(bound: float | None) -> int | None:
    return None if bound is None else int(bound)


def request_options(spec: type[EvaluationSpec | ComparisonSpec]) -> Callable:
    """The options that all these commands have."""
    return _all_of(
        field_option(spec, "problems", "--problems", "--problem", metavar="A,B", note="Comma-separated or repeated."),
        field_option(spec, "optimizers", "--optimizer", metavar="NAME|DIR", note="Repeatable."),
        *(field_option(spec, name) for name in ("steps", "seeds", "seed")),
        field_option(spec, "every", metavar="N"),
        field_option(spec, "xla"),
    )


def run_options() -> Callable:
    """The options that say how it is run, and what is written."""
    return _all_of(
        click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder for the results."),
        click.option("--overwrite", is_flag=True, help="Write into --out although it is not empty."),
        click.option("--resume", is_flag=True, help="Go on with what was begun in --out, as its spec.yaml says."),
        click.option("--fresh", is_flag=True, help="Make every run, and keep none; else what was run before is not run again."),
        worker_options(
            "runs, each with a problem or a value of a sweep at a time",
            " With more than one the times are those of a busy machine.",
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


def _all_of(*options: Callable) -> Callable:
    return lambda command: functools.reduce(lambda made, option: option(made), reversed(options), command)


def spec_and_folder(ctx: click.Context, model: type[Spec]) -> tuple[Spec, Path]:
    """The spec that a command line means, and the folder of its results.

    It is that of --out where it is resumed; else CONFIG, its fields replaced by the options that are given.
    """
    from l2o_cli.assets import find_config
    from l2o_cli.spec.reading import read_request

    config, out = ctx.params["config"], ctx.params["out"]
    options = given(ctx)
    said = [name for name in model.model_fields if name in options]
    if ctx.params["resume"]:
        if out is None:
            raise BadInput("--resume needs --out, the folder of the results")
        if "overwrite" in options:
            raise BadInput("--overwrite and --resume exclude each other")
        if config or said:
            raise BadInput(f"--resume goes on as {out / 'spec.yaml'} says; leave out CONFIG and what is in it")
        if not (out / "spec.yaml").is_file():
            raise BadInput(f"--out {out}: nothing to resume, there is no spec.yaml")
        return read_request(model, out / "spec.yaml", {}), out
    if out is None:
        check_needed(ctx, ["overwrite"], "--out")
    fields = from_texts({name: ctx.params[name] for name in said})
    spec = read_request(model, find_config(config) if config else None, fields)
    default = Path("runs") / f"{ctx.info_name}-{datetime.now():%Y%m%d-%H%M%S}"
    return spec, out or ctx.with_resource(new_folder(default))


def run_request(ctx: click.Context, model: type[Spec]) -> None:
    """Do what the command line of an evaluation or a comparison asks for, from its spec to what is printed at the end."""
    asked = ctx.params
    until = math.inf if asked["minutes"] is None else time.monotonic() + 60 * asked["minutes"]
    from l2o_cli import runtime, signals

    where = Where(asked["workers"], asked["scheduler"])
    if where.scheduler is not None:
        runtime.same_threads_everywhere()
    from l2o_cli.comparison.plan import make_plan
    from l2o_cli.comparison.run import carry_out
    from l2o_cli.export.artifact import add_to_card, load_artifact
    from l2o_cli.reports.comparison.printed import conclude
    from l2o_cli.runs.store import user_store
    from l2o_cli.stages import Stages

    card = asked.get("into_card")
    if card:
        load_artifact(card)  # rather an error now than after the runs
    spec, out = spec_and_folder(ctx, model)
    handed = None
    if not where.here:
        folder = tempfile.TemporaryDirectory(prefix="l2o-runs-", ignore_cleanup_errors=True)
        signals.at_end(folder.cleanup)
        handed = Path(ctx.with_resource(folder))
    plan = make_plan(spec, user_store(asked["fresh"], handed))
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(cluster_of(where, asked["quiet"]))
        with signals.StopOnSignal(how=f"go on with --resume --out {out}") as stop:
            stages = Stages(asked["quiet"], until=until, stop=stop)
            outcome = carry_out(plan, out, stages, overwrite=asked["overwrite"], resume=asked["resume"], cluster=cluster)
            stack.close()  # the workers, before a report is made
            if card and outcome.complete:
                setting = {name: getattr(spec, name) for name in ("steps", "select", "tuning_seeds")}
                add_to_card(card, "scores", {**setting, "rows": [entry.summary.as_json() for entry in outcome.entries]})
            conclude(outcome, out, report=asked["report"], json_only=asked["as_json"])
            if stop():
                sys.exit(stop.code)
