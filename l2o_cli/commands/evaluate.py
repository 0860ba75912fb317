"""`l2o evaluate`."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import click

from l2o_cli.errors import BadInput


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
            click.option("--json", "as_json", is_flag=True, help="Print only the rows, as JSON; all else goes to stderr."),
            click.option("--quiet", is_flag=True, help="No progress on stderr."),
        )
    ):
        command = option(command)
    return command


def results_folder(command: str, out: Path | None) -> Path:
    """`out`, or runs/COMMAND-DATE-TIME."""
    return out or Path("runs") / f"{command}-{datetime.now():%Y%m%d-%H%M%S}"


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
"""
)
@click.option("--problem", "problems", multiple=True, required=True, metavar="NAME", help="Repeatable; see `l2o problems`.")
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
def evaluate(problems, optimizers, steps, seeds, settings, every, seed, xla, out, overwrite, as_json, quiet):
    """Run optimizers on problems as they are; write their curves and scores.

    A run is one (problem, optimizer, hyperparameters, seed) for N steps. The same seed means the same task, initial
    params, minibatches and random optimizer state for every optimizer, whatever else is run.

    lbfgs is L-BFGS of SciPy, for problems without minibatches and noise: a step is then one evaluation of the loss and its
    gradient, and the loss of a step the least one so far.

    \b
    Scores of a run (lower is better); the table shows medians over the seeds:
      final_train_loss       mean minibatch loss over the last 5 % of the steps (at least one window)
      mean_log_train_loss    mean over steps of log(max(loss, 0) + 1e-12), minibatch losses before each update
      final_validation_loss  loss on the whole validation split after the last step; none without held-out data
    A run whose loss or params become non-finite has diverged: it is stopped and counted, and its scores are the
    worst there are (inf in scores.csv, null in JSON, "diverged" in the table when the median is infinite).
    For the keys of --json see `l2o compare --help`.

    \b
    Written to --out (default runs/evaluate-DATE-TIME):
      curves.csv       problem,optimizer,trial,seed,step,seconds,train_loss,validation_loss
                       one line per window of --every steps, and one at step 0; train_loss is the mean minibatch
                       loss of the window; seconds is the wall-clock of the compiled loop, without compilation and
                       validation, divided by the runs that ran together; nan once a run has diverged
      scores.csv       the scores of each run, and the step at which it diverged
      evaluation.yaml  the request, versions, and sources of data and weights
      PROBLEM.png      the curves, medians and ranges
    """
    from l2o_cli.evaluation.evaluate import Request
    from l2o_cli.evaluation.evaluate import evaluate as run
    from l2o_cli.evaluation.lbfgs import contender
    from l2o_cli.evaluation.progress import Stages
    from l2o_cli.evaluation.report import print_outcome

    request = Request(
        problems=problems,
        contenders=[contender(name) for name in optimizers],
        steps=steps,
        seeds=seeds,
        every=every,
        seed=seed,
        settings=dict(map(_setting, settings)),
        out=results_folder("evaluate", out),
        overwrite=overwrite,
        xla=xla,
    )
    print_outcome(run(request, Stages(quiet)), as_json)
