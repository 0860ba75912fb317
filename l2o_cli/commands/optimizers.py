"""`l2o optimizers`."""

from __future__ import annotations

import json

import click

from l2o_cli.commands.given import check_needed
from l2o_cli.commands.listing import print_listing
from l2o_cli.errors import BadInput


@click.command(
    short_help="List the optimizers; describe one.",
    epilog="""\b
Examples:
  l2o optimizers
  l2o optimizers --transforms
  l2o optimizers mlp
  l2o optimizers hrnn --no-cost
  l2o optimizers "adamw+schedule(kind=cosine)" --no-cost
""",
)
@click.argument("name", required=False)
@click.option("--transforms", is_flag=True, help="List the transformations instead, which go around any optimizer.")
@click.option("--cost/--no-cost", default=True, show_default=True, help="Time updates of NAME, half a minute in all.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
@click.pass_context
def optimizers(ctx: click.Context, name: str | None, transforms: bool, cost: bool, as_json: bool, quiet: bool) -> None:
    """List the update rules, whether they are learned, and the published checkpoints of each; or describe one.

    `--optimizer` of the other commands takes the name of a hand-designed rule or of a checkpoint, or the folder of a run, with
    transformations around it, the innermost first: `adam(beta_1=0.95)+clipping(norm=1)+schedule(kind=cosine,warmup=0.05)`,
    `hrnn+weight_decay(rate=0.001)`. The numeric options of a hand-designed one and of what is around it are its
    hyperparameters, there called learning_rate, clipping/norm and so on.

    With NAME, which may be any of that and the name of a learned rule too: what it computes, its options and weights, the bytes
    of state for each parameter (of a two-layer network of a million), and what an update costs as a multiple of Adam's.

    Of one that was meta-trained its card says how, what it has seen of networks, batches and lengths, its final losses as
    multiples of tuned Adam's, those on large networks where they were measured, and what it is bad at.
    """
    from l2o_cli.catalog import optimizers as catalog
    from l2o_cli.catalog.card import print_card
    from l2o_cli.catalog.text import transform_rows
    from l2o_cli.optimizers.transforms import TRANSFORMS

    if not name:
        check_needed(ctx, ("cost", "quiet"), "NAME")
        print_listing(transform_rows(TRANSFORMS) if transforms else catalog.optimizer_rows(), as_json)
        return
    if transforms:
        raise BadInput("NAME and --transforms exclude each other")
    loaded = catalog.find(name)
    description = catalog.describe(loaded, cost, (lambda line: None) if quiet else (lambda line: click.echo(line, err=True)))
    if as_json:
        click.echo(json.dumps(description, indent=2))
        return
    click.echo(catalog.text_of(description))
    if description["card"]:
        click.echo()
        print_card(description["card"])
