"""What the files of a results folder say besides its curves: the record of what was asked, and how much was tuned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from l2o_problems.adam_table import Reference, find_adam

from l2o_cli import yaml12
from l2o_cli.errors import BadInput
from l2o_cli.files import read_csv

RECORDS = ("compare.yaml", "evaluation.yaml")


def adam_references(record: Mapping[str, Any]) -> dict[str, Reference]:
    """{problem: what losses on it are normalized by}, by what the record says that it is and was measured on."""
    described = part(record, "problems")
    known = {str(title): part(described, title) for title in described}
    return {title: find_adam(one.get("identity"), one.get("source")) for title, one in known.items()}


def trials_of(rows: Sequence[Mapping[str, str]]) -> dict[str, tuple[int, ...]]:
    """{optimizer: settings tried on each problem}, as the rows of scores.csv say, if there are any."""
    found: dict[str, dict[str, int]] = {}
    for row in rows:
        if row.get("trials", "").isdigit() and {"optimizer", "problem"} <= row.keys():
            found.setdefault(row["optimizer"], {})[row["problem"]] = int(row["trials"])
    return {optimizer: tuple(by_problem.values()) for optimizer, by_problem in found.items()}


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, as text; none where there is no such file."""
    return [row for _, row in read_csv(path)] if path.is_file() else []


def read_record(folder: Path) -> Mapping[str, Any]:
    """What was asked and with what it was done; {} where no record is there, BadInput where it is none."""
    for name in RECORDS:
        path = folder / name
        if path.is_file():
            record = yaml12.read(path)
            if not isinstance(record, Mapping):
                raise BadInput(f"{path}: expected a record, as `l2o {name.split('.')[0]}` writes it")
            return record
    return {}


def part(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A section of a record; empty where it is missing."""
    value = record.get(name)
    return value if isinstance(value, Mapping) else {}
