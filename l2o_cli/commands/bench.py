"""`l2o bench`."""

import json
import sys

import click

from l2o_cli.errors import BadInput


@click.command(
    epilog="""\b
Examples:
  l2o bench
  l2o bench --json > bench.json
  l2o bench --estimators
  l2o bench --optimizers
"""
)
@click.option("--estimators", is_flag=True, help="Measure instead every estimator of the meta-gradient on three problems.")
@click.option("--optimizers", is_flag=True, help="Measure instead an update of every optimizer, beside Adam's.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def bench(estimators, optimizers, as_json):
    """Measure the inner loop on this machine.

    Prints inner steps (updates of one problem instance) per second of meta-training and of evaluation, for 16 instances
    under XLA and for one instance without; the seconds of the first call, which compiles; the cost of one update of 10,000,
    100,000 and 1,000,000 parameters as a multiple of Adam's; and the peak memory. Other work on the machine spoils the figures.

    With --estimators: inner steps per second of truncations of 20 steps, of 16 instances with the hierarchical RNN; those
    that run antithetic pairs run twice as many and are credited with one half.

    With --optimizers: the milliseconds of such an update by each optimizer, and as a multiple of Adam's, which is timed in
    turn with it; and its bytes of state for each of a million parameters.
    """
    from l2o_cli.benchmark import measure, measure_estimators, measure_optimizers

    def tell(line):
        if sys.stderr.isatty():
            click.echo(line, err=True)

    if estimators and optimizers:
        raise BadInput("--estimators and --optimizers exclude each other")
    figures = (measure_estimators if estimators else measure_optimizers if optimizers else measure)(tell)
    if as_json:
        click.echo(json.dumps(figures, indent=2))
    elif estimators:
        _print_estimators(figures)
    elif optimizers:
        _print_optimizers(figures)
    else:
        _print(figures)


def _print(figures):
    for name, value in figures.items():
        if isinstance(value, dict):
            for size, entry in value.items():
                click.echo(f"{name.replace('_', ' ')}, {int(size):,} parameters: {entry:,.1f}")
        else:
            click.echo(f"{name.replace('_', ' ')}: {value if isinstance(value, str) else f'{value:,.1f}'}")


def _print_estimators(figures):
    click.echo(f"{'problem':<26}{'estimator':<28}{'inner steps/s':>14}{'first call, s':>15}")
    for row in figures:
        rate, first = row["inner_steps_per_second"], row["compile_seconds"]
        click.echo(f"{row['problem']:<26}{row['estimator']:<28}{rate:>14,.0f}{first:>15.1f}")


def _print_optimizers(figures):
    click.echo(f"{'optimizer':<20}{'bytes':>8}{'parameters':>14}{'milliseconds':>15}{'Adams':>9}")
    for row in figures:
        for cost in row["update"]:
            size, milliseconds, adams = cost["parameters"], cost["milliseconds"], cost["adams"]
            bytes_each = row["state_bytes_per_parameter"]
            click.echo(f"{row['optimizer']:<20}{bytes_each:>8.4g}{size:>14,}{milliseconds:>15.3g}{adams:>9.3g}")
