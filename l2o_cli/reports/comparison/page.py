"""The report on a comparison or an evaluation: one page with everything in it, and its pictures as files."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from l2o_cli import yaml12
from l2o_cli.files import write_atomically
from l2o_cli.reports.comparison import pictures, tables
from l2o_cli.reports.comparison.reported import Reported, reported_of
from l2o_cli.reports.drawing import INK, Style
from l2o_cli.reports.html import check_place, document, folded, grid, listed, note, numbers, short_titles, table, tag
from l2o_cli.reports.ratios.page import ratio_pictures, ratio_section
from l2o_cli.reports.sweeps.page import sweep_section, write_sweep_pictures
from l2o_cli.scoring.measures import MEASURES
from l2o_cli.scoring.record import part
from l2o_cli.scoring.results_folder import Results
from l2o_cli.scoring.scored import Scoring
from l2o_cli.scoring.verdict import ENOUGH_RUNS, evidence, find_pair, judge, ranking, side_of, verdict, verdicts
from l2o_cli.terminal import several

PAGE = "report.html"
HELD_OUT = ("final_validation_loss", "final_test_loss")
MADE = "How this was made"
TUNING_ROWS = 60  # of a record, beyond which they are left to the file

DEFINITIONS = (
    ("final loss", "of training the mean over the last 5 % of the steps; of validation and test on the whole split at the end"),
    ("diverged run", "its loss was no longer finite: it counts as infinite, the worst there is, and is never dropped"),
    ("probability of improvement", "of all pairs of runs on a problem the share in which the one has the lower loss; the mean"),
    ("normalized loss", "final training loss; 1: the initial loss, 0: the best of tuned Adam after 1,000 steps; cut to [-2, 2]"),
    ("at equal time", "the same when the fastest optimizer is at its end"),
    ("improvement", "of the normalized loss, the other's minus its own; else log10 of the other's loss over its own"),
    ("speed-up", "time of the tuned Adam of this comparison over the optimizer's, to the lowest loss that both reach"),
    ("target", "the best training loss of that Adam after 3/4 of its steps"),
    ("performance profile", "the share of problems whose target is reached within a factor of the fastest optimizer's time"),
    ("interquartile mean", "of the runs of all problems, without the quarter of them at each end"),
    ("interval", "of 95 %, from 2,000 bootstrap resamples of the runs of each problem: of other seeds, not of other problems"),
)


def write_comparison_report(results: Results, *, out: Path | None = None) -> list[Path]:
    """Write the report on a results folder, and its pictures; nothing is run. Both are replaced if they are there.

    Args:
        out: write the page there, and no pictures; None: `report.html` and `pictures/` within the folder.

    Returns:
        The page, then PNG and SVG files.

    Raises:
        BadInput: the page's place is taken.
    """
    page = out or results.folder / PAGE
    check_place(page)
    drawn = ratio_pictures(results.ratios)
    against, swept = ratio_section(results.ratios, drawn), sweep_section(results)
    made = [tag("h2", MADE), *again(results.folder, results.record), *recorded(results.record)]
    if results.scoring is None:
        title, body = f"Sweeps: {results.folder.resolve().name}", [*against, *swept, *made]
        files = [] if out else pictures.write_each(results.folder / "pictures", drawn.values())
    else:
        reported = reported_of(results)
        overall = list(pictures.overall(reported))
        pictured, why = pictures.pictured_problems(reported)
        who = f"{len(reported.optimizers)} optimizers" if len(reported.optimizers) > 1 else reported.optimizers[0]
        title = f"{who} on {several(len(reported.problems), 'problem')}: {results.folder.resolve().name}"
        body = [*_answer(reported.scoring), *_key_numbers(reported), *tables.tunings(reported), *tables.problems(reported)]
        body += tables.overall(reported)
        body += [_legend(reported), grid(picture.on_page() for picture in overall)] if overall else []
        body += [*against, *_losses(reported, pictured, why), *tables.cautions(reported), *swept, *made, *definitions()]
        files = [] if out else pictures.write_pictures(reported, [*overall, *drawn.values()], pictured)
    write_atomically(page, document(title, [tag("h1", title), *body]))
    return [page, *files, *([] if out else write_sweep_pictures(results))]


def _answer(scoring: Scoring) -> Iterator[str]:
    ranked = ranking(scoring)
    if len(ranked) < 2:
        return
    first = verdict(scoring)
    yield f'<p class="verdict">{tag("b", first.plain)}</p>'
    yield tag("p", first.statistics)
    yield tag("p", in_plain_words(scoring, ranked[0], ranked[1]))
    others = [said for measure in HELD_OUT if measure != scoring.measure and (said := _by_another(scoring, measure, *ranked[:2]))]
    others += [said.text for said in verdicts(scoring) if said != first]
    if others:
        yield listed(others)


def _by_another(scoring: Scoring, measure: str, one: str, other: str) -> str | None:
    """What another measure says of the same two optimizers; None where they have it on no problem."""
    by_it = dataclasses.replace(scoring, measure=measure)
    pair = find_pair(by_it, one, other)
    return f"{judge(by_it, one, other).plain} {evidence(by_it, pair)}." if pair else None


def in_plain_words(scoring: Scoring, one: str, other: str) -> str:
    """What the verdict on two optimizers means, for those who do not know its words."""
    pair = find_pair(scoring, one, other)
    assert pair is not None
    estimate = pair.improvement
    said = (
        f"Take 100 pairs of a run of {one} and a run of {other} on the same problem. In about {_percent(estimate.value)} of them "
        f"{one} has the lower {MEASURES[pair.measure].title}; 50 would be a coin flip."
    )
    if estimate.low is None or estimate.high is None:
        return f"{said} One run on a problem does not tell how much of that is chance."
    low, high = _percent(estimate.low), _percent(estimate.high)
    said += f" With other random seeds it would be about {low if low == high else f'{low} to {high}'}"
    side = side_of(pair)
    if side == 0:
        return f"{said}: the difference may be chance."
    if pair.fewest_runs < ENOUGH_RUNS:
        return f"{said}, but there are too few runs to rely on that."
    return f"{said}: {'more' if side > 0 else 'fewer'} than chance would give."


def _percent(share: float) -> str:
    """Whole, but 0 and 100 only where it is none or all."""
    return f"{100 * share:.0f}" if share in (0, 1) or 0.005 <= share < 0.995 else f"{100 * share:.3g}"


def _key_numbers(reported: Reported) -> Iterator[str]:
    curves = reported.curves
    steps, seeds = ({getattr(run, name) for run in reported.scoring.runs} for name in ("steps", "seed"))
    diverged = len(reported.scoring.diverged)
    shown = [
        ("problems", f"{len(reported.problems):,}"),
        ("optimizers", f"{len(reported.optimizers):,}"),
        ("runs", f"{len(curves):,}"),
        ("steps of a run", _range(steps)),
        ("seeds", f"{len(seeds):,}"),
        ("diverged runs", f"{diverged:,}"),
    ]
    if reported.tuning_rows:
        shown.append(("runs spent on tuning", f"{sum(bool(row.get('seed')) for row in reported.tuning_rows):,}"))
    yield numbers(shown)


def _range(values: set[int]) -> str:
    least, most = min(values), max(values)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _legend(reported: Reported) -> str:
    """The line of each optimizer as all pictures have it."""
    kinds = {True: " (learned)", False: " (hand-designed)", None: ""}
    items = (
        f"<li>{_key(reported.styles[name])} {escape(name)}{kinds[reported.learned[name]]}</li>" for name in reported.optimizers
    )
    return f'<ul class="legend">{"".join(items)}</ul>'


def _key(style: Style) -> str:
    width = 4 if style.learned else 2.4
    dashes = "" if style.dash == "-" else f' stroke-dasharray="{" ".join(f"{width * length:g}" for length in style.dash[1])}"'
    ink = "currentColor" if style.colour == INK else style.colour
    return (
        '<svg class="key" viewBox="0 0 40 10" aria-hidden="true">'
        f'<line x1="0" y1="5" x2="40" y2="5" stroke="{ink}" stroke-width="{width}"{dashes}/></svg>'
    )


def _losses(reported: Reported, pictured: Sequence[str], why: str) -> Iterator[str]:
    yield tag("h2", "Loss curves")
    yield note(
        f"{why} Lines: medians over the seeds, a diverged run being infinite. Bands: from the best to the worst run. Crosses: "
        "where a run diverged. Training losses are means of minibatches; validation losses are of the whole split.".strip()
    )
    yield _legend(reported)
    short = short_titles(pictured)
    figures = [list(pictures.losses_on_page(name, short[name], reported.lines(name))) for name in pictured]
    kind = "plots pairs" if max(map(len, figures)) > 1 else "plots"
    yield grid((one for of_problem in figures for one in of_problem), kind)


def again(folder: Path, record: Mapping[str, Any]) -> Iterator[str]:
    """The commands that make the results, the scores and the page."""
    name = folder.resolve().name
    if (folder / "spec.yaml").is_file():
        yield tag("p", "To do all of it again:")
        yield tag("pre", f"l2o {record.get('command') or 'compare'} {shlex.quote(f'{name}/spec.yaml')} --out NEW")
    yield tag("p", "This page, and all scores as JSON, without running anything:")
    yield tag("pre", f"l2o report {shlex.quote(name)} --json")


def recorded(known: Mapping[str, Any]) -> Iterator[str]:
    """Versions, sources of data and of optimizers, and all that was recorded."""
    if not known:
        yield note("There is no record of what was asked.")
        return
    versions = [f"{str(name).replace('_', ' ')} {value}" for name, value in part(known, "environment").items()]
    if versions:
        yield tag("p", f"Made with {', '.join(versions)}.")
    sources: dict[tuple[str, str], list[str]] = {}
    for kind in ("problems", "optimizers"):
        section = part(known, kind)
        for name in section:
            sources.setdefault((kind, str(part(section, name).get("source") or "-")), []).append(str(name))
    rows = ([kind, escape(", ".join(names)), escape(source)] for (kind, source), names in sources.items())
    shown = dict(known)
    if isinstance(known.get("tuning"), list) and len(known["tuning"]) > TUNING_ROWS:
        shown["tuning"] = f"{len(known['tuning'])} rows, in the file"
    text = yaml12.write(shown, width=100, unicode=True)
    content = table(("", "name", "source"), rows, kind="what") + tag("pre", text)
    yield folded("Data, options, seeds and versions, as they were recorded", content)


def definitions() -> Iterator[str]:
    rows = ([tag("b", name), escape(text)] for name, text in DEFINITIONS)
    exactly = note("Defined exactly in docs/comparison.md of the project.")
    yield folded("What the scores mean", table((), rows, kind="what") + exactly)
