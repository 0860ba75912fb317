"""How the listing commands print: JSON for programs, a table on a terminal, aligned columns where piped."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import click


def print_listing(rows: Sequence[dict[str, Any]], as_json: bool) -> None:
    """Print rows of the same keys; in the table floats have six digits, a list is joined by commas, None and [] are "-"."""
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    cells = [{key: _cell(value) for key, value in row.items()} for row in rows]
    if sys.stdout.isatty():
        _print_table(cells)
        return
    widths = {key: max(len(row[key]) for row in [{key: key}, *cells]) for key in cells[0]}
    for row in [{key: key for key in widths}, *cells]:
        click.echo("  ".join(row[key].ljust(width) for key, width in widths.items()).rstrip())


def _cell(value: Any) -> str:
    if value is None or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return ", ".join(value) if isinstance(value, list) else str(value)


def _print_table(cells: Sequence[dict[str, str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for key in cells[0]:
        table.add_column(key, no_wrap=key == "name")
    for row in cells:
        table.add_row(*(Text(value) for value in row.values()))
    Console().print(table)
