"""`l2o evaluate`."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from l2o_cli.errors import BadInput
from l2o_cli.files import new_folder

# Of a spec, by the parameter of the commands that says it.
FIELDS = {
    "problems": "problems",
    "optimizers": "optimizers",
    "baselines": "baselines",
    "tiers": "tuning",
    "trials": "trials",
    "tuning_seeds": "tuning_seeds",
    "select": "select",
    "steps": "steps",
    "seeds": "seeds",
    "seed": "seed",
    "every": "every",
    "xla": "xla",
    "settings": "settings",
}


def run_options(command: Callable) -> Callable:
    """The options of every command that runs optimizers and writes what came of it."""
    for option in reversed(
        (
            click.option(
                "--every",
                type=click.IntRange(min=1),
                metavar="N",
                help="Steps per window, one record each.  [default: a hundredth of the steps]",
            ),
            click.option(
                "--seed",
                type=click.IntRange(min=0),
                default=0,
                show_default=True,
                help="The reporting seeds are S, S+1, ...",
            ),
            click.option("--xla/--no-xla", default=True, help="Compile with XLA, or run an ordinary TensorFlow graph."),
            click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder for the results."),
            click.option("--overwrite", is_flag=True, help="Write into --out although it is not empty."),
            click.option("--resume", is_flag=True, help="Go on with what was begun in --out, as its spec.yaml says."),
            click.option(
                "--fresh", is_flag=True, help="Make every run, and keep none; else what was run before is not run again."
            ),
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
    ):
        command = option(command)
    return command


def asked(ctx: click.Context, model: type, config: str | None, out: Path | None, resume: bool) -> tuple[Any, Path]:
    """The spec that a command line means, and the folder of its results.

    It is that of --out where it is resumed; else CONFIG, its fields replaced by the options that are given.
    """
    from l2o_cli.assets import find_config
    from l2o_cli.spec import read_request

    given = {
        FIELDS[name]: value
        for name, value in ctx.params.items()
        if name in FIELDS and ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE
    }
    if resume:
        if out is None:
            raise BadInput("--resume needs --out, the folder of the results")
        if config or given:
            raise BadInput(f"--resume goes on as {out / 'spec.yaml'} says; leave out CONFIG and what is in it")
        if not (out / "spec.yaml").is_file():
            raise BadInput(f"--out {out}: nothing to resume, there is no spec.yaml")
        return read_request(model, out / "spec.yaml", {}), out
    spec = read_request(model, find_config(config) if config else None, _meant(given))
    default = Path("runs") / f"{ctx.info_name}-{datetime.now():%Y%m%d-%H%M%S}"
    return spec, out or ctx.with_resource(new_folder(default))


def _meant(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a spec that the texts of options mean."""
    from l2o_cli.spec import named_problems, split_outside

    fields = dict(given)
    for name in ("problems", "baselines", "tuning"):
        if name in fields:
            # Commas within brackets belong to a name.
            fields[name] = [text for value in fields[name] for text in split_outside(value, ",")]
    if "problems" in fields:
        fields["problems"] = named_problems(fields["problems"])
    if "settings" in fields:
        fields["settings"] = dict(map(_setting, fields["settings"]))
    return fields


def end_of(minutes: float | None) -> float:
    """The value of time.monotonic() at which the command ends."""
    return math.inf if minutes is None else time.monotonic() + 60 * minutes


def _setting(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not name or not math.isfinite(number):
        raise BadInput(f"--set {text!r}: expected NAME=NUMBER, such as learning_rate=0.01")
    return name, number


@click.command(
    epilog="""\b
Examples:
  l2o evaluate --problem mnist_conv
  l2o evaluate --problem digits_mlp --problem mnist_mlp --optimizer runs/quick --optimizer hrnn:untrained --steps 2000
  l2o evaluate --problem quadratic --optimizer adam --set learning_rate=0.03 --json
  l2o evaluate runs/evaluate-20250101-120000/spec.yaml --seeds 10 --out runs/again
"""
)
@click.argument("config", required=False)
@click.option(
    "--problem",
    "--problems",
    "problems",
    multiple=True,
    metavar="NAME",
    help="Repeatable, or comma-separated; see `l2o problems`.",
)
@click.option(
    "--optimizer",
    "optimizers",
    multiple=True,
    default=("hrnn",),
    show_default=True,
    metavar="NAME|DIR",
    help="Repeatable: a hand-designed optimizer or published checkpoint by name, the folder of a run or an export, or lbfgs.",
)
@click.option("--steps", type=click.IntRange(min=1), default=1000, show_default=True, help="Steps of a run.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Runs per problem and optimizer.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=NUMBER",
    help="Repeatable: a hyperparameter of the hand-designed optimizers, such as learning_rate=0.01.",
)
@run_options
@click.pass_context
def evaluate(ctx, config, out, overwrite, resume, fresh, workers, minutes, report, as_json, quiet, **options):
    """Run optimizers on problems as they are; write their curves and scores.

    CONFIG is a YAML file with the fields problems, optimizers, steps, seeds, seed, every, settings and xla, such as the spec.yaml
    that every evaluation leaves with its results. Options replace its fields; without it they say all.

    A run is one (problem, optimizer, hyperparameters, seed) for N steps. The same seed means the same task, initial
    params, minibatches and random optimizer state for every optimizer, whatever else is run.

    lbfgs is L-BFGS of SciPy, for problems without minibatches and noise: a step is then one evaluation of the loss and its
    gradient, and the loss of a step the least one so far.

    \b
    Scores of a run (lower is better); the table shows medians over the seeds:
      final_train_loss       mean minibatch loss over the last 5 % of the steps (at least one window)
      mean_log_train_loss    mean over steps of log(max(loss, 0) + 1e-12), the loss of a step being the mean of its window
      final_validation_loss  loss on the whole validation split after the last step; none without held-out data
      final_test_loss        the same on the test split
    A run whose loss or params become non-finite has diverged: it is stopped and counted, and its scores are the
    worst there are (inf in scores.csv, null in JSON, "diverged" in the table when the median is infinite).
    For the keys of --json see `l2o compare --help`.

    Every finished run is kept in ~/.cache/l2o/runs (L2O_RUNS=DIR or off) under a key of all that it depends on, the version of
    the code included, and is not made again: an evaluation that was interrupted goes on with --resume --out DIR, or when it
    is asked for once more.

    \b
    Written to --out (default runs/evaluate-DATE-TIME):
      curves.csv       problem,optimizer,trial,seed,step,seconds,train_loss,validation_loss,test_loss
                       one line per window of --every steps, and one at step 0; train_loss is the mean minibatch
                       loss of the window; seconds is the wall-clock of the compiled loop, without compilation and
                       validation, divided by the runs that ran together; test_loss is measured after the last
                       step; nan once a run has diverged
      scores.csv       the scores of each run, and the step at which it diverged
      evaluation.yaml  the request, versions, and sources of data and weights
      spec.yaml        the spec: l2o evaluate DIR/spec.yaml does it again
      report.html      everything on one page, and in pictures/ its pictures as PNG and SVG
    """
    until = end_of(minutes)
    from l2o_cli.comparison.run import carry_out, make_plan
    from l2o_cli.reports.comparison.printed import conclude
    from l2o_cli.runs.store import user_store
    from l2o_cli.signals import StopOnSignal
    from l2o_cli.spec import EvaluationSpec
    from l2o_cli.stages import Stages

    if not (config or resume or options["problems"]):
        raise BadInput("no problem is given: --problem NAME, or a CONFIG that names some")
    spec, out = asked(ctx, EvaluationSpec, config, out, resume)
    store = user_store(fresh, workers)
    plan, how = make_plan(spec, store), {"overwrite": overwrite, "resume": resume, "workers": workers}
    with StopOnSignal(how=f"go on with --resume --out {out}") as stop:
        outcome = carry_out(plan, out, Stages(quiet, until=until, stop=stop), **how)
        conclude(outcome, out, report=report, json_only=as_json)
        if stop():
            sys.exit(stop.code)
