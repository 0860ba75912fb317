"""`l2o problems`."""

from __future__ import annotations

import json
import math
from pathlib import Path

import click

from l2o_cli.commands.given import given
from l2o_cli.commands.listing import print_listing
from l2o_cli.errors import BadInput

OF_PICTURES = {"optimizers", "steps", "seed", "starts", "overwrite", "quiet"}


@click.command(
    short_help="List the problems; describe or draw one.",
    epilog="""\b
Examples:
  l2o problems
  l2o problems wichrowska2017
  l2o problems "mnist_mlp(hidden=[32, 32])+gradient_noise(deviation=0.1)"
  l2o problems rosenbrock --plot rosenbrock.png --optimizer adam --optimizer momentum --start -1.5,2
  l2o problems valley --plot valley.png --start 2,0 --start 0,-1.5 --start -1,2
  l2o problems digits_mlp --plot digits.pdf --steps 500
""",
)
@click.argument("name", required=False)
@click.option("--transforms", is_flag=True, help="List the transformations instead.")
@click.option("--ensembles", is_flag=True, help="List the ensembles instead.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw NAME into a .png, .svg or .pdf file.")
@click.option(
    "--optimizer",
    "optimizers",
    multiple=True,
    default=("adam", "hrnn"),
    show_default=True,
    metavar="NAME|DIR",
    help="Repeatable: an optimizer in the picture, as in `l2o evaluate`.",
)
@click.option("--steps", type=click.IntRange(min=1), help="Steps of a run.  [default: 200 with two parameters, else 1000]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the task, start and minibatches.")
@click.option(
    "--start",
    "starts",
    multiple=True,
    metavar="X,Y",
    help="Repeatable: start there, with two parameters.  [default: drawn with the seed]",
)
@click.option("--overwrite", is_flag=True, help="Replace FILE.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
@click.pass_context
def problems(ctx, name, transforms, ensembles, plot, optimizers, steps, seed, starts, overwrite, as_json, quiet):
    """List the problems, describe one, or draw it.

    Without NAME: the problems, with what they are by default: the number of parameters and of tensors, the least possible loss
    where it is known, where the data come from.

    NAME is the name of a problem, `name(option=value, ...)+transformation(...)`, or `FILE.py:NAME`: its options, tensors, data,
    least loss, and how far tuned Adam gets where that was measured (see `l2o calibrate`). With the name of an ensemble: its
    families, their shares of the draws, and how many instances of them run together.

    --plot draws a problem of two parameters as its surface, with the way of each optimizer over it. The surface is the training
    loss, without the noise that gradients may have: the mean over 8 minibatches where there are any. All optimizers have the
    task, starts, minibatches and noise of the seed; a hand-designed one has, for each start, the best of 15 learning rates by
    the mean loss of the last 5 % of this same run. Other problems are drawn as training and validation loss of 3 seeds, the
    learning rates tuned as `l2o compare` does, on one other seed.
    """
    from l2o_problems.transforms import TRANSFORMS

    from l2o_cli.catalog import problems as catalog
    from l2o_cli.catalog.text import transform_rows

    _check_options(ctx)
    if not name:
        rows = transform_rows(TRANSFORMS) if transforms else catalog.ensemble_rows() if ensembles else catalog.problem_rows()
        print_listing(rows, as_json)
        return
    if catalog.is_ensemble(name):
        if plot:
            raise BadInput(f"--plot draws one problem, and {name!r} is an ensemble")
        print_listing(catalog.family_rows(name), as_json)
        return
    family = catalog.family_of(name)
    if plot:
        import numpy as np

        from l2o_cli.export.resolve import resolve
        from l2o_cli.portraits.portrait import Portrait, check_file, draw
        from l2o_cli.stages import Stages

        points = np.array([_start(text) for text in starts]) if starts else None
        check_file(plot, overwrite)
        contenders = [resolve(one) for one in optimizers]
        portrait = Portrait(plot, family.title, family.make(), contenders, steps=steps, seed=seed, starts=points)
        click.echo(f"wrote {draw(portrait, Stages(quiet))}")
        return
    description = catalog.describe(family)
    click.echo(json.dumps(description, indent=2) if as_json else catalog.text_of(description))


def _check_options(ctx: click.Context) -> None:
    """BadInput for options that say nothing together."""
    said = given(ctx)
    kinds = [flag for name, flag in said.items() if name in ("name", "transforms", "ensembles")]
    if len(kinds) > 1:
        raise BadInput(f"{' and '.join(kinds).replace('name', 'NAME')} exclude each other")
    if "plot" not in said:
        for name in OF_PICTURES & said.keys():
            raise BadInput(f"{said[name]} is for pictures and needs --plot")
    elif "name" not in said:
        raise BadInput("--plot needs NAME, the problem to draw")
    elif "as_json" in said:
        raise BadInput("--plot and --json exclude each other")


def _start(text: str) -> list[float]:
    """`X,Y` -> [X, Y]."""
    try:
        numbers = [float(number) for number in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 2 or not all(map(math.isfinite, numbers)):
        raise BadInput(f"--start {text!r}: expected X,Y, two numbers such as 1.5,-2")
    return numbers
