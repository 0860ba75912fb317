"""`l2o meta-train`."""

import contextlib
import functools
import json
import math
import sys
import time
from pathlib import Path

import click

from l2o_cli.commands.requests import field_option
from l2o_cli.commands.workers import begin, worker_options
from l2o_cli.spec import MetaTraining


@click.command(
    epilog="""\b
Examples:
  l2o meta-train configs/quick.yaml --out runs/quick
  l2o meta-train quick --set meta_steps=500 --set optimizer.options.attention=true
  l2o meta-train --resume --out runs/quick --minutes 30
"""
)
@click.argument("config", required=False)
@click.option("--out", type=click.Path(path_type=Path), help="Run directory.  [default: runs/NAME-seed-SEED]")
@click.option("--set", "overrides", multiple=True, metavar="A.B=VALUE", help="Override a field of the spec; repeatable.")
@field_option(MetaTraining, "seed", default=None, show_default=False, note="As --set seed=N.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out from its last checkpoint.")
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    help="End after this time, start-up included; the run is saved and its best weights so far are written.",
)
@worker_options("meta-gradients and meta-validation")
@click.option("--xla/--no-xla", default=True, help="Compile with XLA, or run an ordinary TensorFlow graph (slow).")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def meta_train(config, out, overrides, seed, resume, minutes, workers, scheduler, xla, as_json):
    """Meta-train a learned optimizer as CONFIG says.

    CONFIG is a YAML file, or the name of a spec that l2o ships (such as quick). `l2o spec meta-train` shows its fields, what each
    means and its default, and docs/meta-training.md says when to choose what.

    The run directory gets the resolved spec.yaml with every field, metrics.csv, validation.csv, horizons.csv, checkpoints,
    TensorBoard events and, at the end, the trained optimizer in artifact/. Ctrl-C, SIGTERM or SIGHUP saves the run before it ends
    (exit code 130, 143 or 129); --resume goes on with it, bit for bit. SIGUSR1 and SIGUSR2, which clusters send ahead of a time
    limit, save the run, and it goes on.

    With --workers or --scheduler the families are on workers of Dask, with the same bits as in one process whatever becomes of
    the workers: see docs/cluster.md.
    """
    until = math.inf if minutes is None else time.monotonic() + 60 * minutes
    from l2o_cli import runtime
    from l2o_cli.assets import find_config
    from l2o_cli.errors import BadInput
    from l2o_cli.executor import Where
    from l2o_cli.progress import MetaTrainingProgress
    from l2o_cli.signals import StopOnSignal
    from l2o_cli.spec.reading import read_meta_training

    if resume and out is None:
        raise BadInput("--resume needs --out, the directory of the run")
    if config is None and not resume:
        raise BadInput("CONFIG is missing: a YAML file, or the name of a spec that l2o ships")
    if config is None and (overrides or seed is not None):
        raise BadInput("--set and --seed need CONFIG; a resumed run keeps its own spec")
    spec = source = None
    if config is not None:
        path = find_config(config)
        spec = read_meta_training(path, [*overrides, *([f"seed={seed}"] if seed is not None else [])])
        source = " ".join([path.name, *(f"--set {override}" for override in overrides)])
        out = out or Path("runs") / f"{path.stem}-seed-{spec.seed}"

    runtime.same_threads_everywhere()
    where = Where(workers, scheduler)
    with contextlib.ExitStack() as stack:
        from l2o_cli.meta.trainer import Interrupted, Trainer

        cluster = None if where.here else functools.partial(begin, stack, where)
        trainer = Trainer.open(spec, out, resume=resume, xla=xla, config=source, cluster=cluster)
        done = f", going on after meta-step {trainer.state.meta_step}" if resume else ""
        print(f"meta-training {trainer.describe()} in {out}{done}", file=sys.stderr)
        how = f"go on with --resume --out {out}"
        with (
            StopOnSignal(trainer.save, how) as stop,
            MetaTrainingProgress(trainer.state.meta_step, trainer.spec.meta_steps) as progress,
        ):
            try:
                trainer.run(progress, stop, until)
            except Interrupted:
                print(f"{trainer.save()}; {how}", file=sys.stderr)
                sys.exit(stop.code)
    if not trainer.complete:
        reached = f"meta-step {trainer.state.meta_step} of {trainer.spec.meta_steps}"
        print(f"time is up: saved after {reached}; {how}", file=sys.stderr)
    summary = trainer.summary()
    if as_json:
        click.echo(json.dumps(summary, indent=2))
    else:
        click.echo("\n".join(f"{name.replace('_', ' ')}: {value}" for name, value in summary.items()))
