"""Which pictures a report has, on its page and as files."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from l2o_cli.files import file_name
from l2o_cli.reports.comparison import plots
from l2o_cli.reports.comparison.curve_plots import NAMES, Line, loss_figure, problem_figure, splits_of
from l2o_cli.reports.comparison.reported import Reported
from l2o_cli.reports.drawing import STYLE, heading, inline_svg, save
from l2o_cli.reports.html import figure as captioned
from l2o_cli.scoring.improvements import Improvements, find_improvements
from l2o_cli.scoring.record import part
from l2o_cli.scoring.scored import PairScore
from l2o_cli.scoring.speedup import SECONDS, STEPS
from l2o_cli.scoring.verdict import find_pair, ranking

UNITS = (STEPS, SECONDS)
PICTURED = 12  # problems with pictures of their own
HISTOGRAMS = 6
FEW = 4  # optimizers up to which all pairs are in one picture
DOTS = 160  # per inch, in PNG files
FILES = {**STYLE, "svg.fonttype": "path", "svg.hashsalt": "l2o", "savefig.dpi": DOTS}


@dataclass(frozen=True)
class Picture:
    name: str  # of its files, without a suffix
    caption: str
    remark: str
    figure: Figure
    svg: str  # for the page

    def on_page(self) -> str:
        return captioned(self.caption, self.svg, self.remark)

    def write(self, folder: Path) -> list[Path]:
        """PNG and SVG files, with the caption as a title."""
        if self.figure.get_suptitle() == "":
            heading(self.figure, self.caption)
        image = save(self.figure, folder / f"{self.name}.png")
        self.figure.set_layout_engine("none")  # as it is laid out now
        return [image, save(self.figure, folder / f"{self.name}.svg")]


def make_picture(name: str, caption: str, remark: str, draw: Callable[[], Figure]) -> Picture:
    with matplotlib.rc_context(STYLE):
        drawn = draw()
    return Picture(name, caption, remark, drawn, inline_svg(name, lambda: drawn))


def improvements_of(reported: Reported) -> list[Improvements]:
    """Of the learned optimizers over each other one, as far as there is anything to compare."""
    found = (find_improvements(reported.scoring, one, other) for one in reported.rivals[0] for other in reported.rivals[1])
    return [one for one in found if one.differences][:HISTOGRAMS]


def dotted_pairs(reported: Reported) -> list[PairScore]:
    """All pairs of a few optimizers, each the way in which it is better; of more only those with the reference, or the first."""
    ranked = ranking(reported.scoring)
    pairs = [(one, other) for index, one in enumerate(ranked) for other in ranked[index + 1 :]]
    if len(ranked) > FEW:
        centre = reported.scoring.reference or ranked[0]
        pairs = [(name, centre) for name in ranked if name != centre]
    return [pair for one, other in pairs if (pair := find_pair(reported.scoring, one, other))]


def overall(reported: Reported) -> Iterator[Picture]:
    """The pictures of all problems together."""
    styles, scoring, reference = reported.styles, reported.scoring, reported.scoring.reference
    pairs = dotted_pairs(reported)
    if pairs:
        remark = "Dots: estimates; lines: their 95 % intervals."
        yield make_picture("probability", "Probability of improvement", remark, partial(plots.probability_figure, pairs, styles))
    taken: set[str] = set()
    for one in improvements_of(reported):
        name = file_name(f"improvement {one.optimizer} over {one.other}", taken)
        caption = f"Improvement of {one.optimizer} over {one.other}"
        yield make_picture(name, caption, describe_improvements(one), partial(plots.histogram_figure, one, styles))
    remark = "The higher, the more problems are solved nearly as fast as by the fastest."
    for unit in UNITS if scoring.profiles else ():
        draw = partial(plots.profile_figure, scoring.profiles, unit, styles)
        yield make_picture(f"profile-{unit}", f"Performance profile in {unit}", remark, draw)
    remark = f"Median and quartiles of all runs. Dotted, ≥: {reference} was never as good within its run; it is greater."
    for unit in UNITS if reference else ():
        speedups = plots.speedups_of(reported.curves, str(reference), unit)
        if speedups:
            draw = partial(plots.speedup_figure, speedups, str(reference), unit, styles)
            yield make_picture(f"speedup-{unit}", f"Speed-up over {reference} in {unit}", remark, draw)


def describe_improvements(one: Improvements) -> str:
    """How often the optimizer is better, and what is shown."""
    total = len(one.differences)
    said = f"Better on {one.better} of {total} {one.each}s ({100 * one.better / total:.0f} %)"
    said += f", equal on {one.equal}" if one.equal else ""
    if one.normalized:
        amount, meaning = f"normalized loss of {one.other} minus its own", "1: from the initial loss to the best of tuned Adam"
    else:
        amount, meaning = f"log10(loss of {one.other} / its own)", "1: a tenth of the loss"
    of = "medians over the seeds" if one.each == "problem" else "runs with the same seed"
    left_out = f" Not defined on {', '.join(one.left_out)}." if one.left_out else ""
    return f"{said}. x: {amount}, of {of} ({meaning}).{left_out}"


def pictured_problems(reported: Reported) -> tuple[list[str], str]:
    """The problems that are pictured, in their order, and why these."""
    problems, ranked = reported.problems, ranking(reported.scoring)
    if len(problems) <= PICTURED:
        return problems, ""
    if len(ranked) < 2:
        return problems[:PICTURED], f"The first {PICTURED} of {len(problems)} problems; the table has all."
    first, second = ranked[:2]
    differences = find_improvements(reported.scoring, first, second, each="problem").differences
    ordered = [one.problem for one in sorted(differences, key=lambda one: one.amount)]
    half = PICTURED // 2
    chosen = {*ordered[:half], *ordered[-half:]} if len(ordered) > PICTURED else set(ordered)
    chosen |= set([name for name in problems if name not in chosen][: PICTURED - len(chosen)])
    why = (
        f"{PICTURED} of {len(problems)} problems: the {half} on which {first} is furthest ahead of {second} and the {half} on "
        f"which it is furthest behind, or least ahead. The table has all."
    )
    return [name for name in problems if name in chosen], why


def losses_on_page(problem: str, short: str, lines: Sequence[Line]) -> Iterator[str]:
    """A picture for each split."""
    for index, split in enumerate(splits_of(lines)):
        drawn = inline_svg(f"{problem} {split}", partial(loss_figure, lines, split))
        yield captioned(short, drawn, NAMES[split], full=problem, first=index == 0)


def write_pictures(reported: Reported, pictures: Iterable[Picture], problems: Sequence[str]) -> list[Path]:
    """PNG and SVG files of all pictures, in `pictures` within the folder."""
    pictures = list(pictures)
    taken = {picture.name.casefold() for picture in pictures}
    sources = part(reported.record, "problems")

    def of(problem: str) -> Picture:
        figure = problem_figure(problem, str(part(sources, problem).get("source") or ""), reported.lines(problem))
        return Picture(file_name(problem, taken), "", "", figure, "")

    return write_each(reported.folder / "pictures", itertools.chain(pictures, map(of, problems)))


def write_each(folder: Path, pictures: Iterable[Picture]) -> list[Path]:
    """PNG and SVG files of pictures in `folder`, which is made."""
    folder.mkdir(exist_ok=True)
    with matplotlib.rc_context(FILES):
        return [path for picture in pictures for path in picture.write(folder)]
