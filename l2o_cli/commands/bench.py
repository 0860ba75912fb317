"""`l2o bench`."""

import json
import sys

import click


@click.command(
    epilog="""\b
Examples:
  l2o bench
  l2o bench --json > bench.json
"""
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def bench(as_json):
    """Measure the inner loop on this machine.

    Prints inner steps (updates of one problem instance) per second of meta-training and of evaluation, for 16 instances
    under XLA and for one instance without; the seconds of the first call, which compiles; the cost of one update of 100,000
    and of 1,000,000 parameters as a multiple of Adam's; and the peak memory. Other work on the machine spoils the figures.
    """
    from l2o_cli.benchmark import measure

    figures = measure(lambda line: print(line, file=sys.stderr) if sys.stderr.isatty() else None)
    if as_json:
        click.echo(json.dumps(figures, indent=2))
        return
    for name, value in figures.items():
        if isinstance(value, dict):
            for size, entry in value.items():
                click.echo(f"{name.replace('_', ' ')}, {int(size):,} parameters: {entry:,.1f}")
        else:
            click.echo(f"{name.replace('_', ' ')}: {value if isinstance(value, str) else f'{value:,.1f}'}")
