"""What a command leaves on disk: curves, scores and the record of the request, as CSV and YAML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from l2o_cli import files, yaml12
from l2o_cli.comparison.tuning.tiers import Choice
from l2o_cli.errors import BadInput
from l2o_cli.runs.records import Run
from l2o_cli.scoring.curves import KEY, SPLITS, curve_of
from l2o_cli.scoring.measures import CRITERIA
from l2o_cli.scoring.run_scores import SUMMARIZED, Summary, score

CURVE_COLUMNS = (*KEY, "step", "seconds", *(f"{split}_loss" for split in SPLITS))
SCORE_COLUMNS = (
    "problem",
    "optimizer",
    "trials",
    "trial",
    "hyperparameters",
    "seed",
    "steps",
    *SUMMARIZED,
    "diverged_at",
    "step_milliseconds",
)
TUNED_BY = [name for name in SUMMARIZED if name in CRITERIA]
TUNING_COLUMNS = (
    "problem",
    "optimizer",
    "tier",
    "trials",
    "trial",
    "learning_rate",
    "hyperparameters",
    "seed",
    *TUNED_BY,
    "diverged_at",
    "chosen",
)


@dataclass(frozen=True)
class Entry:
    """One optimizer on one problem: its runs on the reporting seeds, and how a baseline's hyperparameters were chosen."""

    summary: Summary
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


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Floats with 8 digits, `nan` and `inf` as such; None as an empty cell."""
    files.write_csv(
        path, columns, ([f"{cell:.8g}" if isinstance(cell, float | np.floating) else cell for cell in row] for row in rows)
    )


def write_yaml(path: Path, content: Mapping[str, Any]) -> None:
    files.write_atomically(path, yaml12.write(dict(content), unicode=True))


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
            curve, unknown = curve_of(run), [None] * len(run.seconds)
            losses = (curve.losses.get(split, unknown) for split in SPLITS)
            for record in zip(curve.steps, curve.seconds, *losses, strict=True):
                yield (run.problem, run.optimizer, run.trial, run.seed, *record)


def score_rows(entries: Iterable[Entry]) -> Iterator[tuple]:
    """One row per run; inf is the score of a diverged one, and diverged_at the step at which it was stopped."""
    for entry in entries:
        for run in entry.runs:
            scores = score(run)
            yield (
                run.problem,
                run.optimizer,
                entry.summary.trials,
                run.trial,
                _settings(run.hyperparameters),
                run.seed,
                run.steps,
                *(scores[name] for name in SUMMARIZED),
                run.diverged_at,
                scores.step_milliseconds,
            )


def write_results(out: Path, record: Mapping[str, Any], entries: Sequence[Entry]) -> None:
    """The tables, once there is anything in them, and the record."""
    compares = record["command"] == "compare"
    if entries:
        write_csv(out / "curves.csv", CURVE_COLUMNS, curve_rows(entries))
        write_csv(out / "scores.csv", SCORE_COLUMNS, score_rows(entries))
    if entries and compares:
        write_csv(out / "tuning.csv", TUNING_COLUMNS, tuning_rows(entries))
    if compares:
        record = {**record, "tuning": tuning_record(entries)}
    write_yaml(out / ("compare.yaml" if compares else "evaluation.yaml"), record)


def tuning_record(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """How the hyperparameters of each baseline were chosen on each problem, as plain values."""
    return [
        {
            "problem": entry.summary.problem,
            "optimizer": entry.summary.optimizer,
            "tier": entry.tuning.tier.text,
            "trials": entry.tuning.trials,
            "trial": entry.tuning.trial,
            "learning_rate": entry.summary.hyperparameters.get("learning_rate"),
            "hyperparameters": entry.summary.hyperparameters,
            "tried": entry.tuning.tried,
            "problems": entry.tuning.problems,
            "runs": len(entry.tuning.runs),
            "edge": entry.tuning.edge,
        }
        for entry in entries
        if entry.tuning
    ]


def tuning_rows(entries: Iterable[Entry]) -> Iterator[tuple]:
    """One row per run on the tuning seeds; chosen is 1 for the setting that was reported.

    A baseline whose hyperparameters are its own has one row, without a run.
    """
    for entry in entries:
        choice = entry.tuning
        if choice is None:
            continue
        begin = (entry.summary.problem, entry.summary.optimizer, choice.tier.text, choice.trials)
        if not choice.runs:
            own = entry.summary.hyperparameters
            yield (*begin, choice.trial, own.get("learning_rate"), _settings(own), *[None] * 5, 1)
        for run in choice.runs:
            scores = score(run)
            yield (
                *begin,
                run.trial,
                run.hyperparameters.get("learning_rate"),
                _settings(run.hyperparameters),
                run.seed,
                *(scores[name] for name in TUNED_BY),
                run.diverged_at,
                int(run.trial == choice.trial),
            )
