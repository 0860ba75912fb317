"""`l2o compare`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from l2o_cli.commands.field_options import field_option
from l2o_cli.commands.requests import end_of, request_options, run_options, spec_and_folder
from l2o_cli.spec import ComparisonSpec


@click.command(
    epilog="""\b
Examples:
  l2o compare
  l2o compare --problems mnist_conv --baselines adam,rmsprop --trials 7 --steps 300 --out runs/conv
  l2o compare --problems digits_mlp,mnist_mlp --optimizer runs/quick --optimizer tensor_rnn --json > rows.json
  l2o compare --baselines adam,random:adam8p:10,list:10 --tuning defaults,global,sweep
  l2o compare robustness --minutes 30
  l2o compare transfer --optimizer runs/quick
  l2o compare --resume --out runs/compare-20250101-120000
"""
)
@click.argument("config", required=False)
@request_options(ComparisonSpec)
@field_option(ComparisonSpec, "baselines", "--baselines", "--baseline", metavar="A,B[:TIER]", note="Comma-separated or repeated.")
@field_option(ComparisonSpec, "tuning", metavar="TIER", note="Comma-separated or repeated.")
@field_option(ComparisonSpec, "trials")
@field_option(ComparisonSpec, "tuning_seeds")
@field_option(ComparisonSpec, "select")
@click.option(
    "--into-card",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Record the rows as the scores in the card of the artifact DIR.",
)
@run_options
@click.pass_context
def compare(ctx, config, into_card, out, overwrite, resume, fresh, workers, minutes, report, as_json, quiet, **options):
    """Compare optimizers as they are with hand-designed ones that are tuned.

    CONFIG is a YAML file, whose fields `l2o spec compare` shows, or the name of such a spec that l2o ships: robustness, scale
    (sizes of networks and lengths of runs) or transfer (sixteen kinds of networks and data). Options replace its fields; without
    it they say all but sweeps, in which one quantity takes several values: see docs/comparison.md.

    The hyperparameters of each baseline are chosen on seeds that are not reported. Then everything runs on the same reporting
    seeds. A diverged run is never dropped: it has the worst score. What is going to run is printed first, with an estimate of its
    time from a few steps. At the end it is said who won by the score of --select, by how much and with what certainty, as by
    `l2o score`, and of each --optimizer at how many problems and values of sweeps its loss is below that of the first baseline.

    \b
    A tier says what a baseline may try. It follows its name, as in adam:global, or is that of --tuning:
      defaults        its own hyperparameters, such as those in adam(learning_rate=0.01); also for lbfgs
      sweep           --trials learning rates on each problem; sweep:N tries N
      random:SPACE:N  N settings drawn, by --seed, from a search space: adam1p, adam4p, adam6p, adam8p, nadamw;
                      without a name in front, of the space's own optimizer
      list            an ordered list of settings of NAdamW; list:N its first N; a name in front is as for random
      global          as sweep, but one learning rate for all problems: the one of best mean rank. global:N tries
                      N; global:random:SPACE:N and global:list:N choose one setting of those for all problems

    While the best rate of a sweep is its least or greatest, 3 more are tried beyond it, at most 3 times; where it is still at
    the edge, that is said. The number of settings that were tried to choose one is printed for each problem (trials): 0 for
    --optimizer, of which nothing is tuned; 1 for defaults, and for global on several problems, whose cost is printed below.

    For what a run, a window and the scores are, see `l2o evaluate --help`.

    Every finished run is kept, and is not made again: see `l2o evaluate --help`. A comparison that was interrupted, by Ctrl-C, a
    kill or --minutes, goes on with --resume --out DIR.

    \b
    Written to --out (default runs/compare-DATE-TIME):
      curves.csv    problem,optimizer,trial,seed,step,seconds,train_loss,validation_loss,test_loss of the reporting
                    runs; trial is 0 for what is not tuned, or the index of the chosen setting in tuning.csv
      scores.csv    the scores of each reporting run
      tuning.csv    the scores of each run on the tuning seeds, with its hyperparameters; a line without a run
                    for defaults
      sweeps.csv    the scores of the runs of the spec's sweeps, and sweeps.yaml what they are about
      compare.yaml  the request, versions, sources of data and weights, and what was chosen from how many
      spec.yaml     the spec: l2o compare DIR/spec.yaml does it again
      report.html   everything on one page, and in pictures/ its pictures as PNG and SVG

    \b
    --json prints a list of objects, one per problem and optimizer, medians over the seeds, to the same 8 digits as scores.csv:
      problem, optimizer, trials, hyperparameters, final_train_loss, mean_log_train_loss,
      final_validation_loss, final_test_loss, diverged, seeds, step_milliseconds
    null is an infinite median (see diverged, the number of diverged seeds) or no held-out data; step_milliseconds is
    wall-clock per step of one instance while all seeds run together, in one compiled call per window.
    """
    until = end_of(minutes)
    from l2o_cli.comparison.plan import make_plan
    from l2o_cli.comparison.run import carry_out
    from l2o_cli.export.artifact import add_to_card, load_artifact
    from l2o_cli.reports.comparison.printed import conclude
    from l2o_cli.runs.store import user_store
    from l2o_cli.signals import StopOnSignal
    from l2o_cli.stages import Stages

    if into_card:
        load_artifact(into_card)  # rather an error now than after the runs
    spec, out = spec_and_folder(ctx, ComparisonSpec, config, out, resume)
    store = user_store(fresh, workers)
    plan, how = make_plan(spec, store), {"overwrite": overwrite, "resume": resume, "workers": workers}
    with StopOnSignal(how=f"go on with --resume --out {out}") as stop:
        outcome = carry_out(plan, out, Stages(quiet, until=until, stop=stop), **how)
        if into_card and outcome.complete:
            setting = {"steps": spec.steps, "select": spec.select, "tuning_seeds": spec.tuning_seeds}
            add_to_card(into_card, "scores", {**setting, "rows": [entry.summary.as_json() for entry in outcome.entries]})
        conclude(outcome, out, report=report, json_only=as_json)
        if stop():
            sys.exit(stop.code)
