"""How the listing commands print: JSON for programs, a table on a terminal, aligned columns where piped."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click
from rich.cells import cell_len


def print_listing(rows: Sequence[dict[str, Any]], as_json: bool) -> None:
    """Print rows of the same keys; in the table floats have six digits, a list is joined by commas, None and [] are "-"."""
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    cells = [{key: _cell(value) for key, value in row.items()} for row in rows]
    widths = {key: max(cell_len(row[key]) for row in [{key: key}, *cells]) for key in cells[0]}
    if sys.stdout.isatty():
        _print_table(cells, widths)
        return
    for row in [{key: key for key in widths}, *cells]:
        line = "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(row.values(), widths.values(), strict=True))
        click.echo(line.rstrip())


def _cell(value: Any) -> str:
    if value is None or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return ", ".join(value) if isinstance(value, list) else str(value)


def _print_table(cells: Sequence[dict[str, str]], widths: Mapping[str, int]) -> None:
    """On narrow terminals long texts are broken between words, and where a name is too long within it: nothing is left out."""
    from rich.table import Table
    from rich.text import Text

    from l2o_cli.terminal import plain_console

    console = plain_console()
    table = Table(box=None, header_style="bold", pad_edge=False)
    for index, (key, width) in enumerate(widths.items()):
        table.add_column(key, overflow="fold", min_width=min(width, console.width // 2) if index == 0 else None)
    for row in cells:
        table.add_row(*(Text(value) for value in row.values()))
    console.print(table, soft_wrap=False)
