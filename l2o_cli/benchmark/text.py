"""The figures of `l2o bench` as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Figures = Mapping[str, Any]


def of_inner_loop(figures: Figures) -> Iterator[str]:
    for name, value in figures.items():
        if isinstance(value, dict):
            for size, entry in value.items():
                yield f"{name.replace('_', ' ')}, {int(size):,} parameters: {entry:,.1f}"
        else:
            yield f"{name.replace('_', ' ')}: {value if isinstance(value, str) else f'{value:,.1f}'}"


def of_estimators(figures: Sequence[Figures]) -> Iterator[str]:
    yield f"{'problem':<26}{'estimator':<28}{'inner steps/s':>14}{'first call, s':>15}"
    for row in figures:
        rate, first = row["inner_steps_per_second"], row["compile_seconds"]
        yield f"{row['problem']:<26}{row['estimator']:<28}{rate:>14,.0f}{first:>15.1f}"


def of_optimizers(figures: Sequence[Figures]) -> Iterator[str]:
    yield f"{'optimizer':<20}{'bytes':>8}{'parameters':>14}{'milliseconds':>15}{'Adams':>9}"
    for row in figures:
        for cost in row["update"]:
            size, milliseconds, adams = cost["parameters"], cost["milliseconds"], cost["adams"]
            bytes_each = row["state_bytes_per_parameter"]
            yield f"{row['optimizer']:<20}{bytes_each:>8.4g}{size:>14,}{milliseconds:>15.3g}{adams:>9.3g}"


def of_nets(figures: Sequence[Figures]) -> Iterator[str]:
    first = figures[0]
    yield f"{first['net']}, {first['parameters']:,} parameters, minibatches of {first['batch']}, Keras on {first['backend']}"
    yield f"{'optimizer':<28}{'step, ms':>10}{'Adams':>8}{'first call, s':>15}{'peak, GB':>10}"
    for row in figures:
        times = f"{row['milliseconds']:>10,.1f}{row['adams']:>8.2f}{row['first_call_seconds']:>15.1f}"
        yield f"{row['optimizer']:<28}{times}{row['peak_gigabytes']:>10.2f}"


def of_sweeps(figures: Sequence[Figures]) -> Iterator[str]:
    for row in figures:
        runs = row["rates"] * row["seeds"]
        yield f"{row['problem']}: Adam, {row['rates']} learning rates x {row['seeds']} seeds, {row['steps']:,} steps"
        yield f"  l2o: {row['seconds']:.1f} s with compilation, {row['compiled_seconds']:.1f} s without"
        for side in row["keras"]:
            times = f"the first run {side['first_run_seconds']:.2f} s, each of the others {side['other_run_seconds']:.2f} s"
            yield f"  Keras, {side['call']}: {side['seconds']:.1f} s, {times}"
            yield f"  l2o / Keras: {side['ratio']:.3f}; {runs} runs of each, half of Keras's before and half after"
        yield f"  ways to call model.fit:{'first call, s':>64}{'step, ms':>10}"
        for way in row["keras_ways"]:
            yield f"    {way['call']:<70}{way['first_call_seconds']:>13.2f}{way['step_milliseconds']:>10.3f}"
        yield f"  {'learning rate':<15}{'validation loss, l2o':>21}{'Keras':>11}"
        for loss in row["losses"]:
            ours, theirs = ("diverged" if value is None else f"{value:.4g}" for value in (loss["loss"], loss["keras_loss"]))
            yield f"  {loss['learning_rate']:<15.3g}{ours:>21}{theirs:>11}"


def of_scale_out(figures: Figures) -> Iterator[str]:
    parts = figures["parts"]
    yield f"{figures['config']}, {figures['weights']:,} weights; a meta-step in milliseconds:"
    yield f"  computing a family {1e3 * parts['computing']:.1f} (at most {1e3 * parts['computing_longest']:.1f}), on one thread"
    yield (
        f"  of this process for each family: asking {1e3 * parts['asking']:.2f}, transfer {1e3 * parts['transfer']:.2f}, "
        f"combining {1e3 * parts['combining']:.3f}; once: {1e3 * parts['update']:.1f}"
    )
    yield f"  compiling a family on one more worker: {parts['compiling']:.1f} s"
    yield "efficiency, simulated: the share of the workers' time that is used"
    heads = ("workers", "families", "even", "uneven", "lost", "async", "async, lost", "families for 90 %")
    yield "".join(f"{head:>12}" for head in heads[:-1]) + f"{heads[-1]:>20}  limited by"
    for row in figures["simulated"]:
        kinds = ("even", "uneven", "with_losses", "asynchronous", "asynchronous_with_losses")
        shares = "".join(f"{row[kind]['efficiency']:>12.0%}" for kind in kinds)
        wanted = "none is enough" if row["families_wanted"] is None else f"{row['families_wanted']:,}"
        limits = f"{row['uneven']['limit']}; async: {row['asynchronous']['limit']}"
        yield f"{row['workers']:>12,}{row['families']:>12,}{shares}{wanted:>20}  {limits}"
    yield "seconds of a meta-step here, and as simulated"
    for run in figures["real"]:
        yield f"{run['workers']:>12,} workers{run['seconds']:>12.3f}{run['simulated_seconds']:>12.3f}"
