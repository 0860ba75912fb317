"""`l2o compare`."""

from __future__ import annotations

from pathlib import Path

import click

from l2o_cli.commands.evaluate import results_folder, run_options

SELECT = ("final_train_loss", "mean_log_train_loss", "final_validation_loss")


def _names(values: tuple[str, ...]) -> list[str]:
    """Repeated options, each a comma list, as one list; commas within brackets belong to a name."""
    from l2o_cli.spec import split_outside

    return [name for value in values for name in split_outside(value, ",")]


@click.command(
    epilog="""\b
Examples:
  l2o compare
  l2o compare --problems mnist_conv --baselines adam,rmsprop --trials 7 --steps 300 --out runs/conv
  l2o compare --problems digits_mlp,mnist_mlp --optimizer runs/quick --optimizer hrnn --json > rows.json
"""
)
@click.option(
    "--problems",
    "--problem",
    multiple=True,
    default=("digits_mlp,mnist_mlp,mnist_conv",),
    show_default=True,
    metavar="A,B",
    help="Problems, comma-separated or repeated.",
)
@click.option(
    "--baselines",
    "--baseline",
    multiple=True,
    default=("adam,rmsprop",),
    show_default=True,
    metavar="A,B",
    help="Hand-designed optimizers whose learning rate is tuned on each problem.",
)
@click.option(
    "--optimizer",
    "optimizers",
    multiple=True,
    default=("hrnn",),
    show_default=True,
    metavar="NAME|DIR",
    help="Repeatable, not tuned: a checkpoint or hand-designed optimizer by name, the folder of a run or export, or lbfgs.",
)
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    default=15,
    show_default=True,
    help="Learning rates per baseline and problem, half a decade apart: 15 span 1e-6 to 1e1, fewer lie around its default.",
)
@click.option("--steps", type=click.IntRange(min=1), default=500, show_default=True, help="Steps of a run.")
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True, help="Runs that are reported.")
@click.option(
    "--tuning-seeds",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Other seeds, on which the rate is chosen.",
)
@click.option(
    "--select",
    type=click.Choice(SELECT),
    default=SELECT[0],
    show_default=True,
    help="The score by whose median over the tuning seeds the rate is chosen.",
)
@click.option(
    "--into-card",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Record the rows as the scores in the card of the artifact DIR.",
)
@run_options
def compare(
    problems,
    baselines,
    optimizers,
    trials,
    steps,
    seeds,
    tuning_seeds,
    select,
    into_card,
    every,
    seed,
    xla,
    out,
    overwrite,
    as_json,
    quiet,
):
    """Compare optimizers as they are with hand-designed ones tuned on each problem.

    The learning rate of each baseline is chosen by a sweep, half a decade apart, on seeds that are not reported. While the best
    rate is the least or greatest of the sweep, 3 more are tried beyond it, at most 3 times; where it is still at
    the edge, that is said. Then everything runs on the same reporting seeds. A diverged run is never dropped: it has the worst
    score. The number of learning rates tried is printed (trials); 0 means that nothing was tuned.

    For what a run, a window and the scores are, see `l2o evaluate --help`.

    \b
    Written to --out (default runs/compare-DATE-TIME):
      curves.csv    problem,optimizer,trial,seed,step,seconds,train_loss,validation_loss of the reporting runs;
                    trial is 0 for what is not tuned, or the index of the chosen rate in tuning.csv
      scores.csv    the scores of each reporting run
      tuning.csv    the scores of each run of the sweeps, with its learning rate
      compare.yaml  the request, versions, sources of data and weights, and the chosen rates
      PROBLEM.png   the curves, medians and ranges

    \b
    --json prints a list of objects, one per problem and optimizer, medians over the seeds:
      problem, optimizer, trials, hyperparameters, final_train_loss, mean_log_train_loss,
      final_validation_loss, diverged, seeds, step_milliseconds
    null is an infinite median (see diverged, the number of diverged seeds) or no held-out data; step_milliseconds is
    wall-clock per step of one instance while all seeds run together, in one compiled call per window.
    """
    from l2o_cli.evaluation.compare import Comparison
    from l2o_cli.evaluation.compare import compare as run
    from l2o_cli.evaluation.evaluate import Request
    from l2o_cli.evaluation.lbfgs import contender
    from l2o_cli.evaluation.progress import Stages
    from l2o_cli.evaluation.report import print_outcome
    from l2o_cli.evaluation.scores import card_section
    from l2o_cli.export.artifact import add_to_card, load_artifact
    from l2o_cli.export.resolve import resolve

    if into_card:
        load_artifact(into_card)  # rather an error now than after the runs

    request = Request(
        problems=_names(problems),
        contenders=[contender(name) for name in optimizers],
        steps=steps,
        seeds=seeds,
        every=every,
        seed=seed,
        out=results_folder("compare", out),
        overwrite=overwrite,
        xla=xla,
    )
    comparison = Comparison(
        request=request,
        baselines=[resolve(name) for name in _names(baselines)],
        trials=trials,
        tuning_seeds=tuning_seeds,
        select=select,
    )
    outcome = run(comparison, Stages(quiet))
    if into_card:
        setting = {"steps": steps, "select": select, "tuning_seeds": tuning_seeds}
        add_to_card(into_card, "scores", card_section(setting, [entry.row for entry in outcome.entries]))
    print_outcome(outcome, as_json)
