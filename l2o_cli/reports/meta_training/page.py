"""A report on a meta-training run: one page with everything in it."""

from __future__ import annotations

import datetime
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from l2o_cli import yaml12
from l2o_cli.files import write_atomically
from l2o_cli.meta.run_tables import Row, Run, by_meta_step, column, mean, median, speeds, summary, worst_first
from l2o_cli.reports.html import (
    abbreviated,
    check_place,
    document,
    figure,
    folded,
    grid,
    note,
    number,
    numbers,
    short_titles,
    table,
    tag,
)
from l2o_cli.reports.meta_training import plots
from l2o_cli.reports.meta_training.validation import unit, validation
from l2o_cli.terminal import duration

PICTURED = 12  # families with curves of their own


def write_report(run: Run, path: Path) -> Path:
    """Write the page; a report that is there is replaced. BadInput if something else is."""
    check_place(path)
    write_atomically(path, page(run))
    return path


def page(run: Run) -> str:
    """The report as HTML, with everything that it shows."""
    title = f"Meta-training of {run.spec.get('optimizer', {}).get('name', 'an optimizer')}: {run.path}"
    sections = (_state, _warnings, _what, _losses, validation, _gradients, _families, _lengths, _diagnostics, _spec)
    body = [tag("h1", title)] + [part for section in sections for part in section(run)]
    return document(title, body)


def _state(run: Run) -> Iterator[str]:
    totals = summary(run)
    written = datetime.datetime.fromtimestamp((run.path / "metrics.csv").stat().st_mtime)
    total = totals["meta_steps_of"]
    shown = [
        ("state", run.state),
        ("meta-steps", f"{run.meta_steps:,}" + (f" of {total:,}" if total else "")),
        ("inner steps", f"{totals['inner_steps']:,}"),
        ("time in meta-steps", duration(totals["seconds"])),
        ("median inner steps/s", f"{totals['inner_steps_per_second'] or 0:,.0f}"),
        ("last row written", f"{written:%Y-%m-%d %H:%M}"),
    ]
    if totals["compile_seconds"] is not None:
        shown.append(("time compiling", duration(totals["compile_seconds"])))
    ages = [age for age in column(run.metrics, "age") if not math.isnan(age)]
    if ages:
        late = sum(int(rows[0].get("late", 0)) for _, rows in by_meta_step(run.metrics))
        shown.append(("age of meta-gradients", f"{median(ages):g} updates, at most {max(ages):g}; {late:,} dropped"))
    if totals["best_validation"]:
        best = totals["best_validation"]
        shown.append(("best validation", f"{number(best['objective'])} at {best['meta_step']:,}"))
    yield numbers(shown)


def _warnings(run: Run) -> Iterator[str]:
    yield tag("h2", "Warnings")
    warnings = run.watch()
    if warnings:
        yield f'<ul class="warnings">{"".join(tag("li", warning) for warning in warnings)}</ul>'
    else:
        yield note("None: no meta-gradient stayed far above or below its usual size, and validation did not get steadily worse.")


def _what(run: Run) -> Iterator[str]:
    spec = run.spec
    yield tag("h2", "What was trained")
    families = f"{len(spec.get('problems', []))}, of which {len(run.families)} were drawn so far"
    rows = [("problem families", families), ("reproduce", f"l2o meta-train {shlex.quote(str(run.path / 'spec.yaml'))} --out NEW")]
    if run.state == "not finished":
        rows.append(("go on", f"l2o meta-train --resume --out {shlex.quote(str(run.path))}"))
    shown = ("seed", "optimizer", "families_per_step", "instances", "truncation", "horizon", "objective", "estimator")
    for name in (*shown, "meta_optimizer", "ema"):
        if name in spec:
            rows.append((name.replace("_", " "), _in_a_line(spec[name])))
    record = dict(spec.get("record") or {})
    sources = sorted(set(record.pop("data", {}).values()))
    rows += [("made with", _in_a_line(record)), ("data", "; ".join(sources))]
    yield table((), ((tag("b", name), escape(text)) for name, text in rows if text), kind="what")


def _in_a_line(value: Any) -> str:
    """A part of a spec as short text; what is off or empty is left out."""
    if isinstance(value, Mapping):
        parts = ((key.replace("_", " "), _in_a_line(part)) for key, part in value.items() if part not in (None, {}, [], False))
        return ", ".join(f"{name} {text}" for name, text in parts)
    if isinstance(value, list):
        return "[" + ", ".join(_in_a_line(part) for part in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _losses(run: Run) -> Iterator[str]:
    yield tag("h2", "Meta-loss")
    yield note(f"In units of {unit(run)}; less is better. Faint: each meta-step or draw; bold: a running mean.")
    steps = by_meta_step(run.metrics)
    losses = [mean(column(rows, "meta_loss")) for _, rows in steps]
    x = [step for step, _ in steps]
    yield grid(
        [
            figure("Mean over the families drawn", plots.curves(x, [(unit(run), losses, False)])),
            figure("Speed", plots.curves(x, [("inner steps/s", speeds(run), True)])),
        ]
    )


def _gradients(run: Run) -> Iterator[str]:
    steps = by_meta_step(run.metrics)
    x = [step for step, _ in steps]
    families = [median(column(rows, "gradient_norm")) for _, rows in steps]
    norms, rates = (column([rows[0] for _, rows in steps], name) for name in ("mean_norm", "learning_rate"))
    figures = [figure("Families' meta-gradients", plots.curves(x, [("median norm", families, True)]), "before clipping")]
    if not all(map(math.isnan, norms)):
        figures.append(figure("Combined meta-gradient", plots.curves(x, [("norm", norms, True)]), "as applied"))
    if not all(map(math.isnan, rates)):
        figures.append(figure("Meta-learning rate", plots.line(x, "learning rate", rates)))
    yield tag("h2", "Meta-gradients")
    yield grid(figures)


def _families(run: Run) -> Iterator[str]:
    worst = worst_first(run)
    short = short_titles(worst)
    families = run.families
    yield tag("h2", "Families")
    if len(worst) > PICTURED:
        yield note(f"Curves of the {PICTURED} of {len(worst)} with the greatest meta-loss at the end; the table has all.")
    yield grid(_family(title, short[title], families[title]) for title in list(worst)[:PICTURED])
    yield note(
        "First and last: mean meta-loss of the first and last quarter of the draws, at most 20. Norms are of the family's "
        "meta-gradient before clipping. Non-finite: entries of it, set to 0. Diverged, replaced: instances, over all draws."
    )
    headings = ("family", "draws", "first", "last", "median norm", "greatest norm", "non-finite", "diverged", "replaced")
    yield table(headings, ([abbreviated(title, short), *map(number, row.values())] for title, row in worst.items()))


def _family(title: str, short: str, rows: Sequence[Row]) -> str:
    losses, norms = column(rows, "meta_loss"), column(rows, "gradient_norm")
    panels = [("meta-loss", losses, False), ("gradient norm", norms, True)]
    return figure(short, plots.curves(column(rows, "meta_step"), panels), full=title)


def _lengths(run: Run) -> Iterator[str]:
    yield tag("h2", "Lengths")
    drawn = [("truncation", "Truncations", column(run.metrics, "truncation"))]
    if run.horizons is None:
        yield note("The horizons are not shown: this run recorded none (there is no horizons.csv).")
    else:
        drawn.append(("horizon", "Horizons of the instances started", column(run.horizons, "horizon")))
    figures = []
    for name, caption, values in drawn:
        known = [value for value in values if math.isfinite(value)]
        if known:
            logarithmic = run.spec.get(name, {}).get("distribution") == "log_uniform"
            remark = f"{len(known):,} draws, median {number(median(known))}"
            figures.append(figure(caption, plots.histogram(known, f"{name} (inner steps)", logarithmic), remark))
    yield grid(figures)


def _diagnostics(run: Run) -> Iterator[str]:
    if not run.diagnostics:
        return
    yield tag("h2", "Estimator")
    figures = []
    for label, name in run.diagnostics.items():
        rows = [row for row in run.metrics if name in row]
        values = column(rows, name)
        known = [value for value in values if math.isfinite(value)]
        log = bool(known) and min(known) > 0 and max(known) > 100 * min(known)
        figures.append(figure(label, plots.curves(column(rows, "meta_step"), [(label, values, log)]), "of each family"))
    yield grid(figures)


def _spec(run: Run) -> Iterator[str]:
    text = yaml12.write(run.spec, width=100)
    yield tag("h2", "Spec") + folded("The whole spec, as it was resolved", tag("pre", text))
