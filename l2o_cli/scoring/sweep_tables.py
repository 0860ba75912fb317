"""Sweeps as they were written: sweeps.csv and sweeps.yaml, read back as lines over the values of what is varied.

Shape letters: V values, S seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l2o_cli import yaml12
from l2o_cli.errors import Failure
from l2o_cli.files import read_csv
from l2o_cli.scoring.measures import MEASURES
from l2o_cli.scoring.statistics import median

TABLE, FACTS = "sweeps.csv", "sweeps.yaml"
MEASURED = {  # at each value: the titles of what is
    **{name: MEASURES[name].title for name in ("final_train_loss", "final_validation_loss")},
    "step_milliseconds": "milliseconds of a step",
}
AXES = {
    "learning_rate": "initial learning rate",
    "width": "width",
    "depth": "depth",
    "batch_size": "batch size",
    "input_scale": "factor of the inputs",
    "horizon": "steps of a run",
    "step_time": "batch size",
    "training_problems": "problems of meta-training",
}


@dataclass(frozen=True)
class Line:
    """One optimizer over the values.

    Attributes:
        measured: {measure: the numbers of the runs at each value, [V][S]}, inf for a diverged run; no run: [].
        meta_trained: least and greatest of what is varied that it was meta-trained on, if that is known.
    """

    label: str
    learned: bool
    meta_trained: tuple[float, float] | None
    measured: Mapping[str, Sequence[Sequence[float]]]

    def medians(self, measure: str) -> list[float]:
        """[V]; inf where half of the runs diverged, NaN where there is none."""
        return [median(runs) if runs else math.nan for runs in self.measured[measure]]

    def diverged(self, measure: str) -> list[int]:
        """How many of the runs diverged, [V]."""
        return [sum(math.isinf(value) for value in runs) for runs in self.measured[measure]]


@dataclass(frozen=True)
class SweepTable:
    """One sweep.

    Attributes:
        values: of what is varied, in ascending order if they are numbers, [V].
        places: where they stand on an axis: the values themselves, of horizons the steps; None for values that are no numbers.
        parameters: of the problem at each value, [V]; None where that is not known.
    """

    name: str
    over: str
    option: str | None
    problem: str
    seeds: int
    values: Sequence[Any]
    places: Sequence[float] | None
    lines: Sequence[Line]
    parameters: Sequence[int | None]

    @property
    def joined(self) -> bool:
        """Whether there is something between the values: they are several numbers."""
        return self.places is not None and len(self.places) > 1

    @property
    def measures(self) -> list[str]:
        """Those that were measured, in the order of MEASURED."""
        if self.over == "step_time":
            return ["step_milliseconds"]
        losses = [measure for measure in MEASURED if measure != "step_milliseconds"]
        return [measure for measure in losses if any(any(line.measured[measure]) for line in self.lines)]


def read_tables(folder: Path) -> list[SweepTable]:
    """The sweeps of a results folder; none if it has none. Failure if a file is damaged."""
    if not ((folder / TABLE).exists() and (folder / FACTS).exists()):
        return []
    try:
        facts = yaml12.read(folder / FACTS)["sweeps"]
        rows = [row for _, row in read_csv(folder / TABLE)]
        return [_table(fact, [row for row in rows if row["sweep"] == fact["name"]]) for fact in facts]
    except (Failure, OSError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise Failure(f"{folder / TABLE}: cannot be read with {FACTS}: {error!r}") from None


def _table(fact: Mapping[str, Any], rows: Sequence[Mapping[str, str]]) -> SweepTable:
    pairs = list({str(value): (value, steps) for value, steps in zip(fact["values"], fact["steps"], strict=True)}.values())
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value, _ in pairs)
    if numeric:
        pairs.sort(key=lambda pair: pair[0])
    values = [value for value, _ in pairs]
    places = [float(steps if fact["over"] == "horizon" else value) for value, steps in pairs] if numeric else None
    lines = []
    for label, about in fact["optimizers"].items():
        own = [row for row in rows if row["optimizer"] == label]
        measured = {measure: [_numbers(own, value, measure) for value in values] for measure in MEASURED}
        known = about["meta_trained"]
        lines.append(Line(label, about["learned"], (known[0], known[1]) if known else None, measured))
    about = (fact["name"], fact["over"], fact.get("option"), fact["problem"], len(fact["seeds"]))
    return SweepTable(*about, values, places, lines, _parameters(fact, rows, values))


def _parameters(fact: Mapping[str, Any], rows: Sequence[Mapping[str, str]], values: Sequence[Any]) -> list[int | None]:
    """Of the problem that the rows of each value are of."""
    known = fact.get("parameters") or {}
    problems = {row["value"]: row.get("problem", "") for row in rows}
    return [known.get(problems.get(value_cell(value))) for value in values]


def _numbers(rows: Sequence[Mapping[str, str]], value: Any, measure: str) -> list[float]:
    """What was measured at a value; what is not finite counts as diverged."""
    known = [float(row[measure]) for row in rows if row["value"] == value_cell(value) and row[measure]]
    return [math.inf if math.isnan(number) else number for number in known]


def axis_label(table: SweepTable) -> str:
    return table.option or AXES[table.over]


def value_text(value: object) -> str:
    """1e-05 as 1e-5, lists without blanks."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:g}".replace("e-0", "e-").replace("e+0", "e")
    return str(value).replace(" ", "")


def value_texts(table: SweepTable) -> list[str]:
    """The values with their unit, [V]."""
    return [value_text(value) + ("×" if table.over == "horizon" else "") for value in table.values]


def value_cell(value: Any) -> str:
    """A value as it stands in the table."""
    return f"{value:.8g}" if isinstance(value, float) else str(value)
