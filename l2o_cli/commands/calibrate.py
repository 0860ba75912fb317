"""`l2o calibrate`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from l2o_cli.commands.requests import field_option
from l2o_cli.commands.workers import cluster_of, worker_options
from l2o_cli.executor import Where
from l2o_cli.spec import EvaluationSpec


@click.command(
    short_help="Measure how far tuned Adam gets on problems.",
    epilog="""\b
Examples:
  l2o calibrate --problem mnist_mlp --problem rosenbrock
  l2o calibrate --problem wichrowska2017 --steps 500 --out wichrowska.csv
  l2o calibrate --out adam.csv --resume
""",
)
@click.option(
    "--problem",
    "problems",
    multiple=True,
    metavar="NAME",
    help="Repeatable: as in `l2o evaluate`, or an ensemble.  [default: all problems and ensembles whose data are here]",
)
@field_option(EvaluationSpec, "steps")
@field_option(EvaluationSpec, "seeds", default=2)
@click.option("--out", type=click.Path(path_type=Path), default="adam.csv", show_default=True, metavar="FILE", help="The table.")
@click.option("--overwrite", is_flag=True, help="Replace FILE.")
@click.option("--resume", is_flag=True, help="Go on with FILE: what is in it, of the same problem and data, is not run again.")
@field_option(EvaluationSpec, "xla")
@worker_options("problems", " With more than one the times are those of a busy machine.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def calibrate(problems, steps, seeds, out, overwrite, resume, xla, workers, scheduler, quiet):
    """Measure how far Adam gets on problems with its best learning rate.

    The rate is chosen by the final loss on one tuning seed, among 15 half a decade apart from 1e-6 to 1e1. While the best is the
    least or greatest of them, 3 more are tried beyond it, at most 3 times. Then it runs on other seeds, one alone at a time.
    All problems and ensembles take hours; --resume goes on with what was interrupted.

    \b
    Written to --out, complete after each problem; medians over the seeds:
      problem            as it is named in other commands
      parameters         their number
      learning_rate      the best
      edge               low or high, where it is still the least or greatest of those that were tried
      initial_loss       the minibatch loss before the first update
      best_loss          the least mean loss over a window of a hundredth of the steps
      final_loss         mean loss over the last 5 % of the steps, inf for a run that diverged
      step_milliseconds  wall-clock of the compiled loop per step of one instance that runs alone
      diverged           how many of the seeds diverged
      steps, seeds       as asked for
      identity, source   which problem, by its class and options, and which data the row belongs to

    `l2o problems NAME` shows the row of the table that comes with l2o.
    """
    from l2o_cli import runtime

    where = Where(workers, scheduler)
    if where.scheduler is not None:
        runtime.same_threads_everywhere()
    from l2o_cli.comparison.calibrate import Calibration
    from l2o_cli.comparison.calibrate import calibrate as run
    from l2o_cli.errors import BadInput
    from l2o_cli.export.resolve import resolve
    from l2o_cli.signals import StopOnSignal
    from l2o_cli.stages import Stages, Stopped

    if overwrite and resume:
        raise BadInput("--overwrite and --resume exclude each other")
    wanted = Calibration(resolve("adam"), out, steps, seeds, problems=problems, overwrite=overwrite, resume=resume, xla=xla)
    how = f"go on with --resume --out {out}"
    with cluster_of(where, quiet) as cluster, StopOnSignal(how=how) as stop:
        try:
            rows = run(wanted, Stages(quiet, stop=stop), cluster)
        except Stopped:
            click.echo(f"stopped; {how}", err=True)
            sys.exit(stop.code)
    click.echo(f"wrote {out}: {len(rows)} problems")
