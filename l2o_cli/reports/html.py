"""The parts of which the page of a report is made: numbers, titles, tables and pictures as HTML."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from l2o_cli.errors import BadInput

TITLE = 44  # characters of a problem's title
TEMPLATE = Path(__file__).with_name("template.html")
MARK = b'<meta name="generator" content="l2o report">'


def check_place(path: Path) -> None:
    """BadInput if something is at `path` that is not a report."""
    if path.is_dir() or (path.exists() and MARK not in path.read_bytes()[:1000]):
        raise BadInput(f"--out {path}: exists already and is not a report; choose another path")


def document(title: str, parts: Iterable[str]) -> str:
    """A whole page of elements."""
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(title=escape(title), body="\n".join(parts))


def numbers(shown: Iterable[tuple[str, Any]]) -> str:
    """The numbers that matter most, each under its name."""
    entries = "".join(f"<div>{tag('dt', name)}{tag('dd', value)}</div>" for name, value in shown)
    return f'<dl class="numbers">{entries}</dl>'


def tag(name: str, text: Any, **attributes: str) -> str:
    """An element with plain text in it; `class_` is the attribute `class`."""
    written = "".join(f' {key.rstrip("_")}="{escape(value)}"' for key, value in attributes.items())
    return f"<{name}{written}>{escape(str(text))}</{name}>"


def note(text: str) -> str:
    return tag("p", text, class_="note")


def listed(lines: Iterable[str]) -> str:
    return f"<ul>{''.join(tag('li', line) for line in lines)}</ul>"


def folded(title: str, content: str) -> str:
    """What is seen when its title is clicked."""
    return f"<details>{tag('summary', title)}{content}</details>"


def number(value: float | None) -> str:
    """Whole numbers in full, others rounded; a dash for what is not known."""
    if value is None or math.isnan(value):
        return "-"
    if math.isinf(value):
        return "infinite"
    return f"{value:,.0f}" if value == round(value) and abs(value) < 1e15 else f"{value:.3g}"


def figure(caption: str, svg: str, remark: str = "", full: str = "", first: bool = False) -> str:
    """A picture under its caption; `full` is shown where the mouse rests on it. In `pairs`, the `first` begins a row."""
    extra = f" <span>{escape(remark)}</span>" if remark else ""
    start = '<figure class="first">' if first else "<figure>"
    return f'{start}<figcaption title="{escape(full or caption)}">{escape(caption)}{extra}</figcaption>{svg}</figure>'


def grid(figures: Iterable[str], kind: str = "plots") -> str:
    """Pictures beside each other as far as the page is wide; of the kind `plots pairs` two at most."""
    return f'<div class="{kind}">{"".join(figures)}</div>'


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "figures") -> str:
    """A table whose cells are HTML; of the kind `figures` all columns but the first are numbers."""
    head = f"<tr>{''.join(tag('th', heading) for heading in headings)}</tr>" if headings else ""
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table class="{kind}">{head}{body}</table></div>'


def short_titles(titles: Iterable[str]) -> dict[str, str]:
    """{title: at most about `TITLE` characters of it}, no two alike; options of transformations are left out first."""
    result: dict[str, str] = {}
    for title in titles:
        short = _shortened(title)
        same = sum(other == short or other.startswith(f"{short} · ") for other in result.values())
        result[title] = f"{short} · {same + 1}" if same else short
    return result


def _shortened(title: str) -> str:
    if len(title) <= TITLE:
        return title
    first, *others = re.split(r"\+(?![^(]*\))", title)  # at a plus that is not within brackets
    end = "".join("+" + re.sub(r"\(.*\)", "(…)", other) for other in others)
    room = TITLE - len(end)
    if len(first) > room and "(" in first:
        # As many of its options as there is room for, and its name in any case.
        first = first[: max(room - 2, first.index("(") + 1)].rstrip(",=") + "…)"
    whole = first + end
    return whole if len(whole) <= TITLE else f"{whole[: TITLE - 1]}…"


def abbreviated(title: str, short: Mapping[str, str]) -> str:
    """The short title, its full text where the mouse rests on it."""
    return tag("span", short[title], title=title)
