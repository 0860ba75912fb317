"""What is printed for people: text as it is, and tables that keep whole names, however narrow the terminal is."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text


def plain_console(stderr: bool = False) -> Console:
    """For text that stays as it is: no [brackets] or :codes: in names mean anything, and only the terminal breaks lines."""
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], names: int = 1) -> None:
    """A table on stdout, whose first `names` columns are texts and the others numbers; nothing is cut or folded.

    A row is a line where that fits, or where the output is no terminal. On a narrower terminal names have lines of their own,
    and stand above their numbers, which have lines of their own too where they are too many.

    Args:
        headings: on a terminal they may have several lines.
    """
    console = plain_console()
    if not console.is_terminal:
        headings = [_on_one_line(heading) for heading in headings]
    # Without control characters, of which rich takes tabs and ends of lines for what they say.
    table = [[Text(re.sub(r"\s", " ", cell)).plain for cell in row] for row in rows]
    widths = [max(map(cell_len, [*heading.split("\n"), *column])) for heading, *column in zip(headings, *table, strict=True)]
    if not console.is_terminal or sum(widths) + 2 * (len(widths) - 1) <= console.width:
        for line in _heading_lines(headings, widths, names):
            console.print(Text(line, style="bold" if console.is_terminal else ""))
        for row in table:
            console.print(Text(_line(row, widths, names)))
        return
    numbers = widths[names:]
    gap = 2 if sum(numbers) + 2 * len(numbers) <= console.width else 1
    wide = sum(numbers) + gap * len(numbers) > console.width
    for line in [] if wide else _heading_lines(headings[names:], numbers, 0, gap):
        console.print(Text(" " * gap + line, style="bold"))
    before: Sequence[str] = []
    for row in table:
        same = list(itertools.takewhile(lambda pair: pair[0] == pair[1], zip(before[: names - 1], row, strict=False)))
        for level, name in enumerate(row[:names]):
            if level >= len(same):
                console.print(Text("  " * level + name))
        if wide:
            for heading, cell in zip(headings[names:], row[names:], strict=True):
                console.print(Text(f"{'  ' * names}{_on_one_line(heading)}: {cell}"))
        else:
            console.print(Text(" " * gap + _line(row[names:], numbers, 0, gap)))
        before = row


def _on_one_line(heading: str) -> str:
    return heading.replace("-\n", "").replace("\n", " ")


def _heading_lines(headings: Sequence[str], widths: Sequence[int], names: int, gap: int = 2) -> list[str]:
    """The lines of the headings, which end at the bottom."""
    columns = [heading.split("\n") for heading in headings]
    height = max(map(len, columns), default=0)
    padded = [[""] * (height - len(lines)) + lines for lines in columns]
    return [_line(line, widths, names, gap) for line in zip(*padded, strict=True)]


def _line(cells: Sequence[str], widths: Sequence[int], names: int, gap: int = 2) -> str:
    """Names to the left, numbers to the right, by the columns that characters take on a terminal."""
    padded = []
    for index, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        space = " " * (width - cell_len(cell))
        padded.append(cell + space if index < names else space + cell)
    return (" " * gap).join(padded).rstrip()


def print_text(text: str) -> None:
    """A text on stdout, which a terminal breaks between words."""
    _print_wrapped(plain_console(), text, "", "")


def print_facts(title: str, facts: Mapping[str, str]) -> None:
    """A title on stdout, lines `name  value` below it and an empty line; long values have lines of their own on a terminal."""
    console = plain_console()
    print_text(title)
    width = max(map(cell_len, facts), default=0)
    for name, value in facts.items():
        if not console.is_terminal or 4 + width + cell_len(value) <= console.width:
            console.print(Text(f"  {name}{' ' * (width - cell_len(name))}  {value}"))
            continue
        console.print(Text(f"  {name}"))
        _print_wrapped(console, value, "    ", "    ")
    console.print()


def print_list(title: str, texts: Sequence[str]) -> None:
    """A title on stdout, the texts below it and an empty line; a terminal breaks them between words."""
    console = plain_console()
    print_text(title)
    for text in texts:
        _print_wrapped(console, text, "  - ", "    ")
    console.print()


def _print_wrapped(console: Console, text: str, first: str, further: str) -> None:
    """Further lines begin with `further`, which is as wide as `first`."""
    width = max(20, console.width - len(first)) if console.is_terminal else max(1, cell_len(text))
    for index, line in enumerate(Text(re.sub(r"\s+", " ", text)).wrap(console, width)):
        console.print(Text((further if index else first) + line.plain.rstrip()))


def several(count: int, word: str) -> str:
    """`1 run`, `1,200 runs`."""
    return f"{count:,} {word}" + ("" if count == 1 else "s")


def duration(seconds: float) -> str:
    """`1 h 2 min`, `3 min 4 s`, `5 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
