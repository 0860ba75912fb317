"""`l2o ablate`."""

import json
import sys
from pathlib import Path

import click

from l2o_cli.commands.workers import cluster_of, worker_options
from l2o_cli.executor import Where


@click.command(
    epilog="""\b
Examples:
  l2o ablate ablations --minutes 5 --out runs/ablations
  l2o ablate configs/ablations --minutes 5 --seeds 3 --set optimizer.options.absolute_rate=true
"""
)
@click.argument("folder")
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    help="For each run, start-up included.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs/ablations"), show_default=True, help="Output directory."
)
@click.option("--set", "overrides", multiple=True, metavar="A.B=VALUE", help="Override a field of all specs; repeatable.")
@click.option(
    "--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Runs of each spec, with different seeds."
)
@click.option("--xla/--no-xla", default=True, help="Compile with XLA, or run an ordinary TensorFlow graph (slow).")
@worker_options("runs", " Then not each run has the machine to itself.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def ablate(folder, minutes, out, overrides, seeds, xla, workers, scheduler, as_json):
    """Meta-train each spec in FOLDER for the same time, and compare their meta-validation.

    FOLDER holds base.yaml and specs that extend it, one change each; it may be the name of a folder that l2o ships (ablations).
    All are validated as base.yaml says, on the same problems by the same objective, whatever they are trained to minimize.
    Each run is a process of its own with a run directory in --out. A command that was interrupted or killed goes on when it is
    repeated: runs that are finished are not made again, and with more minutes or seeds what is missing is added.

    With --workers or --scheduler several runs are made at once, each worker making one at a time; what they say is not shown.
    Workers on other machines need --out and FOLDER on a file system that all of them share.

    \b
    Written to --out:
      ablations.csv               one row for each run; scores are means over the validation problems, less is better
      ablations.png, .svg         the best score of each spec, the untrained one, and the base as a line
      NAME-seed-N/                the runs, as `l2o meta-train` writes them
    """
    from l2o_cli import runtime

    where = Where(workers, scheduler)
    if where.scheduler is not None:
        runtime.same_threads_everywhere()
    from l2o_cli.ablation import experiment
    from l2o_cli.ablation.results import as_plain, draw, print_summaries, summaries
    from l2o_cli.meta.run_tables import read_run
    from l2o_cli.reports.meta_training.validation import unit
    from l2o_cli.signals import StopOnSignal
    from l2o_cli.stages import Stages

    place = experiment.find_folder(folder)
    runs = experiment.members(place, out, seeds, overrides)
    options = () if xla else ("--no-xla",)
    with (
        cluster_of(where) as cluster,
        StopOnSignal(lambda: experiment.save(cluster), "the same command goes on") as stop,
    ):
        try:
            rows = experiment.run_all(runs, out, minutes, Stages(stop=stop), cluster=cluster, options=options)
        except experiment.Interrupted:
            print("stopped and saved; the same command goes on", file=sys.stderr)
            sys.exit(stop.code)
    entries = summaries(rows)
    pictures = [out / "ablations.png", out / "ablations.svg"]
    draw(entries, pictures, unit(read_run(runs[0].path)), f"{place.name}: at most {minutes:g} minutes of meta-training each")
    if as_json:
        click.echo(json.dumps(as_plain(entries), indent=2, allow_nan=False))
    else:
        print_summaries(entries)
        click.echo("best score, untrained: meta-validation, less is better; against base: below 0 is better than base.yaml")
    for path in (out / "ablations.csv", *pictures):
        click.echo(f"wrote {path}", err=as_json)
