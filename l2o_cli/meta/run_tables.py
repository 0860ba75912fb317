"""The tables of a meta-training run, read back, and the numbers that sum them up."""

from __future__ import annotations

import csv
import io
import itertools
import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from l2o_cli.errors import BadInput, Failure
from l2o_cli.files import locked
from l2o_cli.meta.meta_step import DIAGNOSTIC
from l2o_cli.meta.watchdog import RunWarning, Watchdog, no_progress
from l2o_cli.spec.text import read_yaml

Row = dict[str, Any]  # numbers as floats; empty cells are left out

TEXT = "problem"  # the one column that is not numbers
LAST = 20  # draws of a family, at most, over which its first and last meta-losses are means


@dataclass(frozen=True)
class Run:
    """What a run directory holds, of a run that is finished or not."""

    path: Path
    spec: dict[str, Any]  # as it is written: an older one may lack fields
    metrics: list[Row]
    validation: list[Row]
    horizons: list[Row] | None  # None: the run did not record them
    state: str  # finished, running or not finished

    @property
    def meta_steps(self) -> int:
        """Updates made, as far as metrics.csv knows."""
        return int(self.metrics[-1]["meta_step"])

    @property
    def families(self) -> dict[str, list[Row]]:
        """The rows of each family that was drawn, by its title."""
        return _grouped(self.metrics)

    @property
    def validation_problems(self) -> dict[str, list[Row]]:
        return _grouped(self.validation)

    @property
    def diagnostics(self) -> dict[str, str]:
        """The columns of the estimator's own, by what they are."""
        prefix = DIAGNOSTIC.format("")
        names = sorted({name for row in self.metrics for name in row if name.startswith(prefix)})
        return {name.removeprefix(prefix).replace("_", " "): name for name in names}

    def watch(self) -> list[RunWarning]:
        """What the watchdog says of the rows."""
        return Watchdog(no_progress(self.spec.get("objective", {}))).replay(self.metrics, self.validation)


def read_table(path: Path) -> list[Row]:
    """The whole rows of a CSV file; a run that goes on, or was killed, may have half a row at its end.

    Raises:
        BadInput: a cell is not a number; the message names file, line and column.
    """
    text = path.read_text(encoding="utf-8-sig")
    reader = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1]))
    rows = []
    for cells in reader:
        if None in cells or None in cells.values():
            continue
        row: Row = {}
        for name, cell in cells.items():
            try:
                if cell != "":
                    row[name] = cell if name == TEXT else float(cell)
            except ValueError:
                raise BadInput(f"{path}, line {reader.line_num}: {name}: expected a number, found {cell!r}") from None
        if TEXT not in row or "meta_step" not in row:
            raise BadInput(f"{path}, line {reader.line_num}: expected a meta_step and a problem")
        rows.append(row)
    return rows


def read_run(path: Path) -> Run:
    """The run in the directory `path`.

    Raises:
        BadInput: there is none, or one of its files is not what a run writes.
        Failure: it has not made its first meta-step yet.
    """
    if not (path / "spec.yaml").is_file():
        what = "no spec.yaml in it" if path.is_dir() else "no such directory"
        raise BadInput(f"{path}: not the directory of a meta-training run: {what}")
    spec = read_yaml(path / "spec.yaml")
    metrics, validation, horizons = (
        read_table(file) if (file := path / f"{name}.csv").exists() else None for name in ("metrics", "validation", "horizons")
    )
    if not metrics:
        raise Failure(f"{path / 'metrics.csv'}: nothing to report yet, no meta-step has been made")
    done = metrics[-1]["meta_step"] >= spec.get("meta_steps", math.inf) and (path / "artifact").is_dir()
    state = "finished" if done else "running" if _in_use(path) else "not finished"
    return Run(path, spec, metrics, validation or [], horizons, state)


def _in_use(path: Path) -> bool:
    """Whether a process is training there, as far as this can be known."""
    lock = path / ".lock"
    try:
        if not lock.exists():
            return False
        with locked(lock) as alone:
            return not alone
    except OSError:  # somebody else's file
        return False


def _grouped(rows: Sequence[Row]) -> dict[str, list[Row]]:
    groups: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row[TEXT]].append(row)
    return dict(groups)


def column(rows: Sequence[Row], name: str) -> list[float]:
    """One number for each row, NaN where it has none."""
    return [row.get(name, math.nan) for row in rows]


def total(rows: Sequence[Row], name: str) -> int:
    """The sum of a column of counts."""
    return int(sum(row.get(name, 0) for row in rows))


def by_meta_step(rows: Sequence[Row]) -> list[tuple[int, list[Row]]]:
    """The rows of each meta-step."""
    return [(int(step), list(group)) for step, group in itertools.groupby(rows, lambda row: row["meta_step"])]


def mean(values: Sequence[float]) -> float:
    """Of the finite values; NaN if there are none."""
    finite = [value for value in values if math.isfinite(value)]
    return statistics.fmean(finite) if finite else math.nan


def median(values: Sequence[float]) -> float:
    """Of all values that are not NaN; NaN if there are none."""
    known = [value for value in values if not math.isnan(value)]
    return statistics.median(known) if known else math.nan


def validation_scores(run: Run) -> list[tuple[int, float]]:
    """(meta-step, mean objective over the problems) of each validation."""
    return [(step, statistics.fmean(column(rows, "objective"))) for step, rows in by_meta_step(run.validation)]


def best_validation(run: Run) -> tuple[int, float] | None:
    """(meta-step, mean objective) of the validation whose weights are kept; None before the first."""
    return min(validation_scores(run), key=lambda score: math.inf if math.isnan(score[1]) else score[1], default=None)


def of_family(rows: Sequence[Row]) -> dict[str, float]:
    """The numbers of one family."""
    losses, norms = column(rows, "meta_loss"), column(rows, "gradient_norm")
    some = max(1, min(LAST, len(rows) // 4))
    return {
        "draws": len(rows),
        "meta_loss_first": mean(losses[:some]),
        "meta_loss_last": mean(losses[-some:]),
        "gradient_norm_median": median(norms),
        "gradient_norm_greatest": max(norms),
        **{name: total(rows, name) for name in ("nonfinite_entries", "diverged", "replaced")},
    }


def worst_first(run: Run) -> dict[str, dict[str, float]]:
    """The numbers of each family, those that got least far at the end of the run first."""
    families = {title: of_family(rows) for title, rows in run.families.items()}

    def last(title: str) -> float:
        value = families[title]["meta_loss_last"]
        return math.inf if math.isnan(value) else value

    return {title: families[title] for title in sorted(families, key=last, reverse=True)}


def speeds(run: Run) -> list[float]:
    """Inner steps per second of each meta-step."""
    return [
        total(rows, "inner_steps") / seconds if (seconds := rows[0].get("seconds", 0)) > 0 else math.nan
        for _, rows in by_meta_step(run.metrics)
    ]


def summary(run: Run) -> dict[str, Any]:
    """What the report says in numbers, for JSON: null stands for what is not known or not finite."""
    steps = by_meta_step(run.metrics)
    best = best_validation(run)
    compiling = [name for name in run.metrics[0] if name.startswith("compile")]
    numbers = {
        "run": str(run.path),
        "state": run.state,
        "meta_steps": run.meta_steps,
        "meta_steps_of": run.spec.get("meta_steps"),
        "inner_steps": total(run.metrics, "inner_steps"),
        "seconds": round(sum(rows[0].get("seconds", 0) for _, rows in steps), 1),
        "compile_seconds": round(sum(max(column(rows, compiling[0])) for _, rows in steps), 1) if compiling else None,
        "inner_steps_per_second": round(median(speeds(run)), 1),
        "families": worst_first(run),
        "best_validation": {"meta_step": best[0], "objective": best[1]} if best else None,
        "validation": {
            title: {name: rows[-1].get(name, math.nan) for name in ("objective", "final_ratio", "diverged")}
            for title, rows in run.validation_problems.items()
        },
        "warnings": [vars(warning) for warning in run.watch()],
    }
    return to_jsonable_python(numbers, inf_nan_mode="null")
