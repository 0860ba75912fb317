"""`l2o optimizers`."""

from __future__ import annotations

import click

from l2o_cli.commands.listing import print_listing


@click.command(short_help="List the optimizers and the published checkpoints.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of objects instead of a table.")
def optimizers(as_json: bool) -> None:
    """List the update rules, whether they are learned, and the published checkpoints of each.

    `--optimizer` of the other commands takes the name of a hand-designed rule or of a checkpoint.

    \b
    Example:
      l2o optimizers --json
    """
    from l2o_cli import assets
    from l2o_cli.export.artifact import CARD, read_card
    from l2o_cli.optimizers import OPTIMIZERS

    published: dict[str, list[str]] = {name: [] for name in OPTIMIZERS}
    for card in sorted(assets.checkpoints().glob(f"*/{CARD}")):
        published.setdefault(read_card(card)["optimizer"]["name"], []).append(card.parent.name)
    rows = [
        {"name": name, "summary": cls.summary, "learned": cls.learned, "checkpoints": published[name]}
        for name, cls in sorted(OPTIMIZERS.items())
    ]
    print_listing(rows, as_json)
