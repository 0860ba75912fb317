"""What a command leaves on disk: curves, scores and the record of the request, as CSV and YAML."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from l2o_cli import yaml12
from l2o_cli.comparison.tuning.tiers import Choice
from l2o_cli.errors import BadInput
from l2o_cli.files import write_atomically
from l2o_cli.runs.records import Run
from l2o_cli.scoring.scores import Row, score

CURVE_COLUMNS = ("problem", "optimizer", "trial", "seed", "step", "seconds", "train_loss", "validation_loss", "test_loss")
SCORE_COLUMNS = (
    "problem",
    "optimizer",
    "trials",
    "trial",
    "hyperparameters",
    "seed",
    "steps",
    "final_train_loss",
    "mean_log_train_loss",
    "final_validation_loss",
    "final_test_loss",
    "diverged_at",
    "step_milliseconds",
)
TUNING_COLUMNS = (
    "problem",
    "optimizer",
    "tier",
    "trials",
    "trial",
    "learning_rate",
    "hyperparameters",
    "seed",
    "final_train_loss",
    "mean_log_train_loss",
    "final_validation_loss",
    "diverged_at",
    "chosen",
)


@dataclass(frozen=True)
class Entry:
    """One optimizer on one problem: its runs on the reporting seeds, and how a baseline's hyperparameters were chosen."""

    row: Row
    runs: Sequence[Run]
    learned: bool
    tuning: Choice | None = None


def claim(out: Path, overwrite: bool) -> None:
    """Make the folder for the results.

    Raises:
        BadInput: it is a file, or it has content and `overwrite` is false.
    """
    if out.exists() and not out.is_dir():
        raise BadInput(f"--out {out} is not a folder")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise BadInput(f"--out {out} is not empty; choose another folder or say --overwrite")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"--out {out} cannot be made: {error.strerror}") from None


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, (float, np.floating)):
        return f"{value:.8g}"
    return value


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    """Floats with 8 digits, `nan` and `inf` as such; None as an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    write_atomically(path, text.getvalue())
    return path


def write_yaml(path: Path, content: Mapping[str, Any]) -> Path:
    write_atomically(path, yaml12.write(dict(content), unicode=True))
    return path


def _settings(hyperparameters: Mapping[str, float]) -> str:
    return " ".join(f"{name}={value:g}" for name, value in hyperparameters.items())


def curve_rows(entries: Iterable[Entry]) -> Iterator[tuple]:
    """One row per record of each run.

    seconds: wall-clock of the compiled loop so far, without compilation and validation, divided by the instances that ran
    together. train_loss: mean of the minibatch losses of the window's steps; at step 0 the initial minibatch loss.
    validation_loss: on the whole validation split after that step; empty where the problem has no held-out data.
    test_loss: on the whole test split after the last step, nan before; empty as validation_loss. All are nan once the run has
    diverged.
    """
    for entry in entries:
        for run in entry.runs:
            validation = [None] * len(run.seconds) if run.validation is None else run.validation
            before = None if run.test is None else math.nan
            test = [*[before] * (len(run.seconds) - 1), run.test]
            records = zip(run.record_steps, run.seconds, run.window_losses, validation, test, strict=True)
            for record in records:
                yield (run.problem, run.optimizer, run.trial, run.seed, *record)


def score_rows(entries: Iterable[Entry]) -> Iterator[tuple]:
    """One row per run; inf is the score of a diverged one, and diverged_at the step at which it was stopped."""
    for entry in entries:
        for run in entry.runs:
            scores = score(run)
            yield (
                run.problem,
                run.optimizer,
                entry.row.trials,
                run.trial,
                _settings(run.hyperparameters),
                run.seed,
                run.steps,
                scores.final_train_loss,
                scores.mean_log_train_loss,
                scores.final_validation_loss,
                scores.final_test_loss,
                run.diverged_at,
                scores.step_milliseconds,
            )


def tuning_rows(entries: Iterable[Entry]) -> Iterator[tuple]:
    """One row per run on the tuning seeds; chosen is 1 for the setting that was reported.

    A baseline whose hyperparameters are its own has one row, without a run.
    """
    for entry in entries:
        choice = entry.tuning
        if choice is None:
            continue
        begin = (entry.row.problem, entry.row.optimizer, choice.tier.text, choice.trials)
        if not choice.runs:
            own = entry.row.hyperparameters
            yield (*begin, choice.trial, own.get("learning_rate"), _settings(own), *[None] * 5, 1)
        for run in choice.runs:
            scores = score(run)
            yield (
                *begin,
                run.trial,
                run.hyperparameters.get("learning_rate"),
                _settings(run.hyperparameters),
                run.seed,
                scores.final_train_loss,
                scores.mean_log_train_loss,
                scores.final_validation_loss,
                run.diverged_at,
                int(run.trial == choice.trial),
            )
