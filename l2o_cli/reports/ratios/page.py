"""What is said of loss ratios: lines for a terminal and a page, plain values for JSON, a section of a report, its pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from l2o_cli.files import file_name
from l2o_cli.reports.comparison.pictures import Picture, make_picture
from l2o_cli.reports.html import folded, listed, note, number, table, tag
from l2o_cli.reports.ratios.plots import panels_of, ratio_figure
from l2o_cli.scoring.loss_ratios import LossRatios, Point

REMARK = "Below the line at 1 it is lower. Arrows: beyond the axis, or diverged."


def ratio_text(ratio: float | None) -> str:
    """With 3 significant digits."""
    if ratio is None:
        return "-"
    return f"{ratio:.3g}" if math.isfinite(ratio) else "infinite (it diverged)"


def ratio_lines(ratios: Sequence[LossRatios]) -> list[str]:
    """Of each optimizer how often its loss is lower and where it is furthest above, and of its sweeps the trends."""
    lines = []
    for one in ratios:
        lines.append(_summary(one))
        if one.trends:
            trends = ", ".join(f"{trend.sweep} ×{2**trend.slope:.2f}" for trend in one.trends)
            lines.append(f"  Its ratio changes with each doubling of what is varied: {trends}.")
    return lines


def _summary(one: LossRatios) -> str:
    kinds = {point.sweep is None for point in one.points}
    what = {1: "problems" if True in kinds else "values of sweeps", 2: "problems and values of sweeps"}[len(kinds)]
    what = what.removesuffix("s") if what == "problems" and len(one.points) == 1 else what
    said = f"{one.optimizer} has a lower final training loss than {one.reference} at {one.lower} of {len(one.points)} {what}"
    said += f" ({100 * one.share:.0f} %)."
    if one.largest is not None:
        where = f"{'on ' if one.largest.sweep is None else ''}{one.largest.where}"
        said += f" Its largest ratio is {ratio_text(one.largest.ratio)}, {where}."
    if one.left_out:
        said += f" {one.reference} did not run in these sweeps, which are left out: {', '.join(one.left_out)}."
    return said


def ratio_rows(ratios: Sequence[LossRatios]) -> list[dict[str, Any]]:
    """Plain values for JSON; None is infinite or unknown."""
    return [
        {
            "optimizer": one.optimizer,
            "reference": one.reference,
            "points": len(one.points),
            "lower": one.lower,
            "share": one.share,
            "largest_ratio": _finite(one.largest.ratio) if one.largest else None,
            "largest_at": one.largest.where if one.largest else None,
            "left_out": list(one.left_out),
            "trends": [{"sweep": trend.sweep, "over": trend.axis, "slope": trend.slope} for trend in one.trends],
            "at": [_row(point) for point in one.points],
        }
        for one in ratios
    ]


def _row(point: Point) -> Mapping[str, Any]:
    return {
        "where": point.where,
        "sweep": point.sweep,
        "value": point.place,
        "parameters": point.parameters,
        "loss": _finite(point.loss),
        "reference_loss": _finite(point.reference),
        "ratio": _finite(point.ratio),
        "lower": point.lower,
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def ratio_pictures(ratios: Sequence[LossRatios]) -> dict[str, Picture]:
    """{optimizer: its picture}, of those of which a point has a place: no record need say how many parameters problems have."""
    taken: set[str] = set()
    return {
        one.optimizer: make_picture(
            file_name(f"ratio {one.optimizer}", taken),
            f"Final training loss of {one.optimizer} over that of {one.reference}",
            REMARK,
            partial(ratio_figure, one),
        )
        for one in ratios
        if panels_of(one)
    }


def ratio_section(ratios: Sequence[LossRatios], pictures: Mapping[str, Picture]) -> Iterator[str]:
    """The elements of a page about them; none if there are none."""
    if not ratios:
        return
    reference = ratios[0].reference
    yield tag("h2", f"Against {reference}, problem by problem and size by size")
    yield note(
        f"Median final training loss over that of {reference} as tuned there, on each problem and at each value of a sweep; "
        "over a sweep, the factor by which the ratio changes per doubling, by least squares of the logarithms."
    )
    yield listed(ratio_lines(ratios))
    for one in ratios:
        if one.optimizer in pictures:
            yield pictures[one.optimizer].on_page()
        rows = (
            (
                tag("span", point.where),
                number(point.parameters),
                number(point.loss),
                number(point.reference),
                f"<b>{ratio_text(point.ratio)}</b>" if point.lower else ratio_text(point.ratio),
            )
            for point in one.points
        )
        headings = ("", "parameters", f"loss of {one.optimizer}", f"of {one.reference}", "ratio")
        yield folded(f"All ratios of {one.optimizer}", table(headings, rows))
