"""How far tuned Adam gets on each problem: the rows of adam.csv, which `l2o calibrate` writes."""

from __future__ import annotations

import csv
import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("adam.csv")


@dataclass(frozen=True)
class AdamRow:
    """One problem; medians over the seeds. `l2o calibrate --help` has the definitions."""

    problem: str  # its title
    parameters: int
    learning_rate: float
    edge: str  # "low" or "high" where the rate is at an edge of those that were tried, else empty
    initial_loss: float
    best_loss: float
    final_loss: float
    step_milliseconds: float
    diverged: int  # of the seeds
    steps: int
    seeds: int


COLUMNS = tuple(field.name for field in dataclasses.fields(AdamRow))
_TYPES: dict[str, Any] = {"int": int, "float": float, "str": str}


def read_table(path: Path) -> dict[str, AdamRow]:
    """{title: row}.

    Raises:
        ValueError: the file is not such a table; the message says where.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ValueError(f"{path}: expected the columns {','.join(COLUMNS)}")
        rows = [_row(path, reader.line_num, cells) for cells in reader]
    return {row.problem: row for row in rows}


def _row(path: Path, line: int, cells: Mapping[str, str]) -> AdamRow:
    try:
        values = {field.name: _TYPES[str(field.type)](cells[field.name]) for field in dataclasses.fields(AdamRow)}
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}, line {line}: {error}") from None
    return AdamRow(**values)


@functools.cache
def _table() -> dict[str, AdamRow]:
    return read_table(TABLE) if TABLE.exists() else {}


def adam_row(title: str) -> AdamRow | None:
    """The row of the problem with this title, such as `mnist_mlp` or `quadratic(dimension=50)`; None if there is none."""
    return _table().get(title)
