"""`l2o score`."""

from pathlib import Path

import click

from l2o_cli.scoring.measures import COMPARED


@click.command(
    epilog="""\b
Examples:
  l2o score runs/compare-20250101-120000
  l2o score runs/compare-20250101-120000 --measure final_validation_loss --json
"""
)
@click.argument("results", type=click.Path(path_type=Path))
@click.option(
    "--measure",
    type=click.Choice(COMPARED),
    help="The score of a run by which the verdict is given.  [default: the one that hyperparameters were chosen by, or"
    " final_train_loss]",
)
@click.option(
    "--reference",
    metavar="OPTIMIZER",
    help="The optimizer that speed-up and targets refer to.  [default: the tuned adam]",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the bootstrap.")
@click.option("--json", "as_json", is_flag=True, help="Print all tables as JSON.")
def score(results, measure, reference, seed, as_json):
    """Score the runs in the folder RESULTS of a comparison or an evaluation, without running anything.

    Only RESULTS/curves.csv is needed, or sweeps.csv and sweeps.yaml of sweeps alone; where RESULTS/scores.csv is there too, the
    verdict tells how many settings were tried, and compare.yaml or evaluation.yaml say which problems these are: else losses are
    not normalized. Runs on one problem that differ
    in length are cut to the length that all of them have, and that is said. Intervals, in brackets, are of 95 %, from a bootstrap
    that draws the runs of each problem anew. A diverged run counts as the worst and is listed.

    \b
    normalized loss  interquartile mean of the final training loss, 1 being the initial one and 0 the best of tuned Adam
    at equal time    the same when the fastest optimizer is at its end
    speed-up         interquartile mean; the time of the tuned adam over ours to the lowest loss that both reach
    profile          share of problems within a factor of the fastest to the target, mean over factors from 1 to 4;
                     the target is the best training loss of the tuned adam after 3/4 of its steps
    loss ratio       median final training loss over that of the first baseline, at each problem and at each value of a
                     sweep: how often it is below 1, the largest, and how it changes per doubling of a sweep's value

    --json prints one object: verdict, verdicts, reference, measure, left_out, not_normalized (why losses are not), cut (what was
    done to runs of different lengths), loss_ratios (slope: log2 of the factor per doubling; of sweeps alone there is nothing
    else) and the tables optimizers, pairs, problems, runs and profiles. null is infinite (a diverged run, a target never reached)
    or unknown. docs/comparison.md defines each score.
    """
    from l2o_cli.reports.comparison.printed import print_scores, scores_as_json
    from l2o_cli.scoring.results_folder import read_results

    scored = read_results(results, reference=reference, measure=measure, seed=seed)
    if as_json:
        click.echo(scores_as_json(scored))
    else:
        print_scores(scored)
