"""`l2o export`."""

from __future__ import annotations

from pathlib import Path

import click

FORMATS = ("keras", "safetensors")


@click.command(short_help="Write a learned optimizer as Keras or safetensors.")
@click.option(
    "--optimizer",
    "-o",
    required=True,
    metavar="O",
    help="A published checkpoint or hand-designed optimizer by name, the folder of a run or an artifact, or a file made here.",
)
@click.option("--format", "format_", type=click.Choice(FORMATS), required=True, help="What to write; see above.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Where: a file (keras) or a directory (safetensors).")
@click.option("--overwrite", is_flag=True, help="Replace what is at PATH.")
def export(optimizer: str, format_: str, out: Path, overwrite: bool) -> None:
    """Write an optimizer with its weights, to be used elsewhere.

    \b
    keras        one JSON file: the configuration of a Keras optimizer, weights included.
                 LearnedOptimizer("FILE") makes it, as does keras.optimizers.deserialize.
    safetensors  an artifact directory: weights.safetensors (float32) and card.yaml, which
                 says what optimizer it is, how it was meta-trained, and its scores.

    `l2o evaluate` and LearnedOptimizer take either.

    \b
    Example:
      l2o export --optimizer hrnn --format keras --out hrnn.json
    """
    from l2o_cli.export.files import check_place, write
    from l2o_cli.export.resolve import resolve
    from l2o_cli.optimizers.transforms import names_of

    check_place(out, format_, overwrite)
    loaded = resolve(optimizer)
    write(loaded, out, format_)
    count = sum(value.size for value in loaded.weights.values())
    click.echo(f"wrote {out}: {loaded.label} ({loaded.source}), optimizer {names_of(loaded.optimizer)}, {count:,} weights")
    click.echo("use it:")
    click.echo("    from l2o_cli import LearnedOptimizer")
    click.echo(f'    model.compile(optimizer=LearnedOptimizer.load("{out}"), loss="mse")')
    click.echo("    model.fit(x, y)")
