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
  l2o compare --baselines adam,random:adam8p:10,list:10 --tuning defaults,global,sweep
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
    metavar="A,B[:TIER]",
    help="Hand-designed optimizers, each with its tier of tuning after a colon, if it has one of its own.",
)
@click.option(
    "--tuning",
    "tiers",
    multiple=True,
    default=("sweep",),
    show_default=True,
    metavar="TIER",
    help="The tier of the baselines that name none; several, comma-separated or repeated, make as many baselines of each.",
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
    help="Learning rates of a sweep, half a decade apart: 15 span 1e-6 to 1e1, fewer lie around the optimizer's default.",
)
@click.option("--steps", type=click.IntRange(min=1), default=500, show_default=True, help="Steps of a run.")
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True, help="Runs that are reported.")
@click.option(
    "--tuning-seeds",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Other seeds, on which hyperparameters are chosen.",
)
@click.option(
    "--select",
    type=click.Choice(SELECT),
    default=SELECT[0],
    show_default=True,
    help="The score by whose median over the tuning seeds hyperparameters are chosen.",
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
    tiers,
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
    """Compare optimizers as they are with hand-designed ones that are tuned.

    The hyperparameters of each baseline are chosen on seeds that are not reported. Then everything runs on the same reporting
    seeds. A diverged run is never dropped: it has the worst score. What is going to run is printed first.

    
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

    \b
    Written to --out (default runs/compare-DATE-TIME):
      curves.csv    problem,optimizer,trial,seed,step,seconds,train_loss,validation_loss of the reporting runs;
                    trial is 0 for what is not tuned, or the index of the chosen setting in tuning.csv
      scores.csv    the scores of each reporting run
      tuning.csv    the scores of each run on the tuning seeds, with its hyperparameters; a line without a run
                    for defaults
      compare.yaml  the request, versions, sources of data and weights, and what was chosen from how many
      PROBLEM.png   the curves, medians and ranges

    \b
    --json prints a list of objects, one per problem and optimizer, medians over the seeds:
      problem, optimizer, trials, hyperparameters, final_train_loss, mean_log_train_loss,
      final_validation_loss, diverged, seeds, step_milliseconds
    null is an infinite median (see diverged, the number of diverged seeds) or no held-out data; step_milliseconds is
    wall-clock per step of one instance while all seeds run together, in one compiled call per window.
    """
    from l2o_cli.evaluation.compare import compare as run
    from l2o_cli.evaluation.comparison import Comparison
    from l2o_cli.evaluation.evaluate import Request
    from l2o_cli.evaluation.lbfgs import contender
    from l2o_cli.evaluation.progress import Stages
    from l2o_cli.evaluation.report import print_outcome
    from l2o_cli.evaluation.scores import card_section
    from l2o_cli.evaluation.tiers import parse_baselines
    from l2o_cli.export.artifact import add_to_card, load_artifact

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
        baselines=parse_baselines(_names(baselines), _names(tiers)),
        trials=trials,
        tuning_seeds=tuning_seeds,
        select=select,
    )
    outcome = run(comparison, Stages(quiet))
    if into_card:
        setting = {"steps": steps, "select": select, "tuning_seeds": tuning_seeds}
        add_to_card(into_card, "scores", card_section(setting, [entry.row for entry in outcome.entries]))
    print_outcome(outcome, as_json)
