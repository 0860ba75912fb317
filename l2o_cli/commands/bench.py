"""`l2o bench`."""

import json
import sys

import click

from l2o_cli import runtime
from l2o_cli.errors import BadInput


@click.command(
    epilog="""\b
Examples:
  l2o bench
  l2o bench --json > bench.json
  l2o bench --estimators
  l2o bench --optimizers
  l2o bench --sweep
"""
)
@click.option("--estimators", is_flag=True, help="Measure instead every estimator of the meta-gradient on three problems.")
@click.option("--optimizers", is_flag=True, help="Measure instead an update of every optimizer, beside Adam's.")
@click.option("--sweep", is_flag=True, help="Measure instead a tuning sweep beside the same runs with Keras (half an hour).")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def bench(estimators, optimizers, sweep, as_json):
    """Measure the inner loop on this machine.

    Prints inner steps (updates of one problem instance) per second of meta-training and of evaluation, for 16 instances
    under XLA and for one instance without; the seconds of the first call, which compiles; the cost of one update of 10,000,
    100,000 and 1,000,000 parameters as a multiple of Adam's; and the peak memory. Other work on the machine spoils the figures.

    With --estimators: inner steps per second of truncations of 20 steps, of 16 instances with the hierarchical RNN; those
    that run antithetic pairs run twice as many and are credited with one half.

    With --optimizers: the milliseconds of such an update by each optimizer, and as a multiple of Adam's, which is timed in
    turn with it; and its bytes of state for each of a million parameters.

    With --sweep: on digits_mlp and mnist_conv, the seconds that Adam with 15 learning rates, 5 seeds each, takes for 1,000 steps,
    compiled anew, and those of the same 75 runs one after the other with the `model.fit` of Keras, called in the fastest of
    several ways, and with its default of one step per execution where that is much slower; half of them before and half after,
    and the final losses of both. This takes half an hour.
    """
    if estimators + optimizers + sweep > 1:
        raise BadInput("--estimators, --optimizers and --sweep exclude each other")
    if sweep:
        runtime.compile_anew()  # before TensorFlow is imported

    def tell(line):
        if sys.stderr.isatty():
            click.echo(line, err=True)

    measure, show = _measurement(estimators, optimizers, sweep)
    figures = measure(tell)
    if as_json:
        click.echo(json.dumps(figures, indent=2))
    else:
        show(figures)


def _measurement(estimators, optimizers, sweep):
    """The function that measures, and the one that prints its figures."""
    if sweep:
        from l2o_cli.benchmark.sweep import measure_sweeps

        return measure_sweeps, _print_sweeps
    from l2o_cli.benchmark.inner_loop import measure, measure_estimators, measure_optimizers

    if estimators:
        return measure_estimators, _print_estimators
    return (measure_optimizers, _print_optimizers) if optimizers else (measure, _print)


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


def _print_sweeps(figures):
    for row in figures:
        runs = row["rates"] * row["seeds"]
        click.echo(f"{row['problem']}: Adam, {row['rates']} learning rates x {row['seeds']} seeds, {row['steps']:,} steps")
        click.echo(f"  l2o: {row['seconds']:.1f} s with compilation, {row['compiled_seconds']:.1f} s without")
        for side in row["keras"]:
            times = f"the first run {side['first_run_seconds']:.2f} s, each of the others {side['other_run_seconds']:.2f} s"
            click.echo(f"  Keras, {side['call']}: {side['seconds']:.1f} s, {times}")
            click.echo(f"  l2o / Keras: {side['ratio']:.3f}; {runs} runs of each, half of Keras's before and half after")
        click.echo(f"  ways to call model.fit:{'first call, s':>64}{'step, ms':>10}")
        for way in row["keras_ways"]:
            click.echo(f"    {way['call']:<70}{way['first_call_seconds']:>13.2f}{way['step_milliseconds']:>10.3f}")
        click.echo(f"  {'learning rate':<15}{'validation loss, l2o':>21}{'Keras':>11}")
        for loss in row["losses"]:
            ours, theirs = ("diverged" if value is None else f"{value:.4g}" for value in (loss["loss"], loss["keras_loss"]))
            click.echo(f"  {loss['learning_rate']:<15.3g}{ours:>21}{theirs:>11}")
