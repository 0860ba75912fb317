"""`l2o bench`."""

import json
import sys

import click

from l2o_cli import devices, runtime
from l2o_cli.benchmark import text
from l2o_cli.benchmark.nets import NETS, measure_net
from l2o_cli.commands.given import check_needed
from l2o_cli.errors import BadInput

BACKENDS = ("tensorflow", "jax", "torch")


@click.command(
    epilog="""\b
Examples:
  l2o bench
  l2o bench --json > bench.json
  l2o bench --estimators
  l2o bench --optimizers
  l2o bench --sweep
  l2o bench --net resnet50v2 --batch 32 --optimizer tensor_rnn
"""
)
@click.option("--estimators", is_flag=True, help="Measure instead every estimator of the meta-gradient on three problems.")
@click.option("--optimizers", is_flag=True, help="Measure instead an update of every optimizer, beside Adam's.")
@click.option("--sweep", is_flag=True, help="Measure instead a tuning sweep beside the same runs with Keras (half an hour).")
@click.option(
    "--net",
    type=click.Choice(list(NETS)),
    help=f"Measure instead training steps in Keras: {'; '.join(f'{name}, {net.summary}' for name, net in NETS.items())}.",
)
@click.option("--batch", type=click.IntRange(min=1), default=32, show_default=True, help="--net: examples in a minibatch.")
@click.option("--optimizer", "-o", "which", multiple=True, metavar="O", help="--net: beside Adam; several times for several.")
@click.option("--backend", type=click.Choice(BACKENDS), default=BACKENDS[0], show_default=True, help="--net: of Keras.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.pass_context
def bench(ctx, estimators, optimizers, sweep, net, batch, which, backend, as_json):
    """Measure the inner loop on this machine.

    Prints what TensorFlow computes on, the processor or a GPU; inner steps (updates of one problem instance) per second of
    meta-training and of evaluation, for 16 instances under XLA and for one instance without; the seconds of the first call,
    which compiles; the cost of one update of 10,000, 100,000 and 1,000,000 parameters as a multiple of Adam's; and the peak
    memory. Other work on the machine spoils the figures.

    With --estimators: inner steps per second of truncations of 20 steps, of 16 instances with the hierarchical RNN; those
    that run antithetic pairs run twice as many and are credited with one half.

    With --optimizers: the milliseconds of such an update by each optimizer, and as a multiple of Adam's, which is timed in
    turn with it; and its bytes of state for each of a million parameters.

    With --sweep: on digits_mlp and mnist_conv, the seconds that Adam with 15 learning rates, 5 seeds each, takes for 1,000 steps,
    compiled anew, and those of the same 75 runs one after the other with the `model.fit` of Keras, called in the fastest of
    several ways, and with its default of one step per execution where that is much slower; half of them before and half after,
    and the final losses of both. This takes half an hour.

    With --net: the median milliseconds of a step of ResNet50V2, InceptionV3 or a transformer, with Adam and with each optimizer,
    and as a multiple of Adam's; and the peak of memory, the accelerator's where there is one. Each has a process of its own.
    """
    if estimators + optimizers + sweep + bool(net) > 1:
        raise BadInput("--estimators, --optimizers, --sweep and --net exclude each other")
    if not net:
        check_needed(ctx, ("which", "batch", "backend"), "--net")
    if sweep:
        runtime.compile_anew()  # before TensorFlow is imported

    def tell(line):
        if sys.stderr.isatty():
            click.echo(line, err=True)

    if net:
        figures, lines_of = measure_net(net, batch, which or ["tensor_rnn"], backend, tell), text.of_nets
    else:
        measure, lines_of = _measurement(estimators, optimizers, sweep)
        figures = measure(tell)
        device = {"device": devices.text()}
        figures = device | figures if isinstance(figures, dict) else [device | row for row in figures]
    if as_json:
        versions = {"environment": runtime.environment()} if isinstance(figures, dict) else {}
        click.echo(json.dumps({**figures, **versions} if versions else figures, indent=2))
        return
    if not isinstance(figures, dict):
        click.echo(f"device: {figures[0]['device']}")
    click.echo("\n".join(lines_of(figures)))


def _measurement(estimators, optimizers, sweep):
    """The function that measures, and the one that makes its figures lines of text."""
    if sweep:
        from l2o_cli.benchmark.sweep import measure_sweeps

        return measure_sweeps, text.of_sweeps
    from l2o_cli.benchmark.inner_loop import measure, measure_estimators, measure_optimizers

    if estimators:
        return measure_estimators, text.of_estimators
    return (measure_optimizers, text.of_optimizers) if optimizers else (measure, text.of_inner_loop)
