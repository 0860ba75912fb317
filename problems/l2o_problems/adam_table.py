"""How far tuned Adam gets on each problem: the rows of adam.csv, which `l2o calibrate` writes.

A row is found by the problem's identity and its data. Titles are for people: anything may be called `digits_mlp`.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from l2o_problems.data.dataset import DataMissing

if TYPE_CHECKING:  # scoring saved curves needs no TensorFlow
    from l2o_problems.base import Problem

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
    identity: str  # Problem.identity
    source: str  # of the data that it was measured on

    @property
    def improved(self) -> bool:
        """Whether Adam got below the initial loss, so that losses can be measured by the way it went."""
        return math.isfinite(self.initial_loss) and self.best_loss < self.initial_loss


class Reference(NamedTuple):
    """What losses on a problem can be normalized by."""

    row: AdamRow | None
    why: str = ""  # they cannot, for people


COLUMNS = tuple(field.name for field in dataclasses.fields(AdamRow))
_TYPES: dict[str, Any] = {"int": int, "float": float, "str": str}


def read_table(path: Path) -> dict[str, AdamRow]:
    """{title: row}.

    Raises:
        ValueError: the file is not such a table; the message says where.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
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


def find_adam(identity: str | None, source: str | None) -> Reference:
    """The row of the problem with this identity, measured on the data of this source, and why losses cannot be normalized."""
    if not identity:
        return Reference(None, "no record says which problem it is")
    rows = [row for row in _table().values() if row.identity == identity]
    if not rows:
        return Reference(None, "not in the table of tuned Adam")
    here = [row for row in rows if row.source == source]
    if not here:
        return Reference(None, f"tuned Adam was measured on other data: {rows[0].source}")
    return Reference(here[0], "" if here[0].improved else "tuned Adam gets no lower than the initial loss")


def adam_of(problem: Problem) -> Reference:
    """The same of a problem with the data that are on this machine."""
    try:
        return find_adam(problem.identity, problem.source)
    except DataMissing as error:
        return Reference(None, str(error))


def adam_row(problem: Problem) -> AdamRow | None:
    return adam_of(problem).row
