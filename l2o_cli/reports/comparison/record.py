"""How the results that are reported were made, how to make them again, and what the scores mean."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from l2o_cli import yaml12
from l2o_cli.reports.html import note, table, tag
from l2o_cli.scoring.record import part

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
    yield (
        "<details><summary>Data, options, seeds and versions, as they were recorded</summary>"
        f"{table(('', 'name', 'source'), rows, kind='what')}{tag('pre', text)}</details>"
    )


def definitions() -> Iterator[str]:
    rows = ([tag("b", name), escape(text)] for name, text in DEFINITIONS)
    yield (
        "<details><summary>What the scores mean</summary>"
        f"{table((), rows, kind='what')}{note('Defined exactly in docs/comparison.md of the project.')}</details>"
    )
