"""Loss ratios as a section of a report and as files of pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from l2o_cli.files import file_name
from l2o_cli.reports.comparison.pictures import Picture, make_picture
from l2o_cli.reports.html import note, number, table, tag
from l2o_cli.reports.ratios.plots import panels_of, ratio_figure
from l2o_cli.reports.ratios.text import ratio_lines, ratio_text
from l2o_cli.scoring.loss_ratios import LossRatios

REMARK = "Below the line at 1 it is lower. Arrows: beyond the axis, or diverged."


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
    yield f"<ul>{''.join(tag('li', line) for line in ratio_lines(ratios))}</ul>"
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
        yield f"<details>{tag('summary', f'All ratios of {one.optimizer}')}{table(headings, rows)}</details>"
