"""`l2o export`."""

from __future__ import annotations

from pathlib import Path

import click

from l2o_cli.export.formats import FORMATS, check_place, listing, options_of

HELP = f"""Write an optimizer with its weights, to be used elsewhere.

\b
{listing()}

`l2o evaluate` and LearnedOptimizer take the first two.

\b
Examples:
  l2o export --optimizer tensor_rnn --format keras --out tensor_rnn.json
  l2o export --optimizer tensor_rnn --format saved_model --shapes "kernel=784x10,bias=10" --steps 1000 --out served
"""


@click.command(help=HELP, short_help=f"Write a learned optimizer as {' or '.join(FORMATS)}.")
@click.option(
    "--optimizer",
    "-o",
    required=True,
    metavar="O",
    help="A published checkpoint or hand-designed optimizer by name, the folder of a run or an artifact, or a file made here.",
)
@click.option("--format", "format_", type=click.Choice(list(FORMATS)), required=True, help="What to write; see above.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Where: a file or a directory, as the format says.")
@click.option("--shapes", metavar="S", help="saved_model: of the params, as kernel=784x10,bias=10, or a model.keras.")
@click.option("--steps", type=click.IntRange(min=1), help="saved_model: how many updates will be made, if you know it.")
@click.option("--overwrite", is_flag=True, help="Replace what is at PATH.")
def export(optimizer: str, format_: str, out: Path, shapes: str | None, steps: int | None, overwrite: bool) -> None:
    from l2o_cli.export.resolve import resolve
    from l2o_cli.optimizers.transforms import names_of

    check_place(out, format_, overwrite)
    options = options_of(format_, {"shapes": shapes, "steps": steps})
    loaded = resolve(optimizer)
    FORMATS[format_].write(loaded, out, **options)
    count = sum(value.size for value in loaded.weights.values())
    click.echo(f"wrote {out}: {loaded.label} ({loaded.source}), optimizer {names_of(loaded.optimizer)}, {count:,} weights")
    click.echo("use it:")
    for line in FORMATS[format_].use:
        click.echo("    " + line.format(out=out))
