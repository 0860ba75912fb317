"""`l2o bench`."""

import json
import sys

import click


@click.command(
    epilog="""\b
Examples:
  l2o bench
  l2o bench --json > bench.json
  l2o bench --estimators
"""
)
@click.option("--estimators", is_flag=True, help="Measure instead every estimator of the meta-gradient on three problems.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def bench(estimators, as_json):
    """Measure the inner loop on this machine.

    Prints inner steps (updates of one problem instance) per second of meta-training and of evaluation, for 16 instances
    under XLA and for one instance without; the seconds of the first call, which compiles; the cost of one update of 100,000
    and of 1,000,000 parameters as a multiple of Adam's; and the peak memory. Other work on the machine spoils the figures.

    With --estimators: inner steps per second of truncations of 20 steps, of 16 instances with the hierarchical RNN; those
    that run antithetic pairs run twice as many and are credited with one half.
    """
    from l2o_cli.benchmark import measure, measure_estimators

    def tell(line):
        if sys.stderr.isatty():
            click.echo(line, err=True)

    figures = measure_estimators(tell) if estimators else measure(tell)
    if as_json:
        click.echo(json.dumps(figures, indent=2))
        return
    if estimators:
        click.echo(f"{'problem':<26}{'estimator':<28}{'inner steps/s':>14}{'first call, s':>15}")
        for row in figures:
            rate, first = row["inner_steps_per_second"], row["compile_seconds"]
            click.echo(f"{row['problem']:<26}{row['estimator']:<28}{rate:>14,.0f}{first:>15.1f}")
        return
    for name, value in figures.items():
        if isinstance(value, dict):
            for size, entry in value.items():
                click.echo(f"{name.replace('_', ' ')}, {int(size):,} parameters: {entry:,.1f}")
        else:
            click.echo(f"{name.replace('_', ' ')}: {value if isinstance(value, str) else f'{value:,.1f}'}")
