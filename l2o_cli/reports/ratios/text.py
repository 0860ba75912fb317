"""What is said of loss ratios: lines for a terminal and a page, and plain values for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from l2o_cli.scoring.loss_ratios import LossRatios, Point


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
            lines.append(f"{one.optimizer}: its ratio changes per doubling of what is varied: {trends}")
    return lines


def _summary(one: LossRatios) -> str:
    kinds = {point.sweep is None for point in one.points}
    what = {1: "problems" if True in kinds else "values of sweeps", 2: "problems and values of sweeps"}[len(kinds)]
    what = what.removesuffix("s") if what == "problems" and len(one.points) == 1 else what
    said = f"{one.optimizer}: lower final training loss than {one.reference} at {one.lower} of {len(one.points)} {what}"
    said += f" ({100 * one.share:.0f} %)"
    if one.largest is not None:
        said += (
            f"; largest ratio {ratio_text(one.largest.ratio)}, {'on ' if one.largest.sweep is None else ''}{one.largest.where}"
        )
    if one.left_out:
        said += f"; without {one.reference}, and left out: {', '.join(one.left_out)}"
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
