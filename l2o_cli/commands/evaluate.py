"""`l2o evaluate`."""

from __future__ import annotations

import sys

import click

from l2o_cli.commands.field_options import field_option
from l2o_cli.commands.requests import end_of, request_options, run_options, spec_and_folder
from l2o_cli.errors import BadInput
from l2o_cli.spec import EvaluationSpec


@click.command(
    epilog="""\b
Examples:
  l2o evaluate --problem mnist_conv
  l2o evaluate --problem digits_mlp --problem mnist_mlp --optimizer runs/quick --optimizer tensor_rnn --steps 2000
  l2o evaluate --problem quadratic --optimizer adam --set learning_rate=0.03 --json
  l2o evaluate runs/evaluate-20250101-120000/spec.yaml --seeds 10 --out runs/again
"""
)
@click.argument("config", required=False)
@request_options(EvaluationSpec)
@field_option(EvaluationSpec, "settings", "--set", metavar="NAME=NUMBER", note="Repeatable.")
@run_options
@click.pass_context
def evaluate(ctx, config, out, overwrite, resume, fresh, workers, minutes, report, as_json, quiet, **options):
    """Run optimizers on problems as they are; write their curves and scores.

    CONFIG is a YAML file, whose fields `l2o spec evaluate` shows; the spec.yaml that every evaluation leaves with its results is
    one. Options replace its fields; without it they say all.

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
    from l2o_cli.comparison.plan import make_plan
    from l2o_cli.comparison.run import carry_out
    from l2o_cli.reports.comparison.printed import conclude
    from l2o_cli.runs.store import user_store
    from l2o_cli.signals import StopOnSignal
    from l2o_cli.stages import Stages

    if not (config or resume or options["problems"]):
        raise BadInput("no problem is given: --problem NAME, or a CONFIG that names some")
    spec, out = spec_and_folder(ctx, EvaluationSpec, config, out, resume)
    store = user_store(fresh, workers)
    plan, how = make_plan(spec, store), {"overwrite": overwrite, "resume": resume, "workers": workers}
    with StopOnSignal(how=f"go on with --resume --out {out}") as stop:
        outcome = carry_out(plan, out, Stages(quiet, until=until, stop=stop), **how)
        conclude(outcome, out, report=report, json_only=as_json)
        if stop():
            sys.exit(stop.code)
