"""What is in a results folder, for its report: nothing but files is read, and only curves.csv has to be there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from l2o_cli.reports.comparison.curve_plots import Line, describe
from l2o_cli.reports.drawing import Style, styles
from l2o_cli.scoring.curves import Curve
from l2o_cli.scoring.record import part, read_rows
from l2o_cli.scoring.results_folder import Results
from l2o_cli.scoring.scored import Scoring
from l2o_cli.scoring.verdict import ranking


@dataclass(frozen=True)
class Reported:
    """The files of a results folder; what is not there is empty."""

    folder: Path
    scoring: Scoring
    record: Mapping[str, Any]
    score_rows: Sequence[Mapping[str, str]]
    tuning_rows: list[dict[str, str]]

    @property
    def curves(self) -> list[Curve]:
        return self.scoring.curves

    @property
    def problems(self) -> list[str]:
        return list(dict.fromkeys(curve.problem for curve in self.curves))

    @property
    def optimizers(self) -> list[str]:
        return [score.optimizer for score in self.scoring.optimizers]

    @cached_property
    def learned(self) -> dict[str, bool | None]:
        """Of each optimizer whether it is a learned one; None where no record says so."""
        said = part(self.record, "optimizers")
        return {name: part(said, name).get("learned") for name in self.optimizers}

    @cached_property
    def styles(self) -> dict[str, Style]:
        """Of each optimizer, the same in all pictures."""
        return dict(zip(self.optimizers, styles([bool(self.learned[name]) for name in self.optimizers]), strict=True))

    @cached_property
    def rivals(self) -> tuple[list[str], list[str]]:
        """Whose improvement is asked for, and over whom: the learned over the other optimizers, else the best over the rest."""
        learned = [name for name in self.optimizers if self.learned[name]]
        others = [name for name in self.optimizers if name not in learned]
        if learned and others:
            return learned, others
        first = (ranking(self.scoring) or self.optimizers)[:1]
        return first, [name for name in self.optimizers if name not in first]

    @cached_property
    def choices(self) -> dict[tuple[str, str], Mapping[str, Any]]:
        """{(problem, optimizer): what the record says of how its hyperparameters were chosen}."""
        rows = self.record.get("tuning")
        known = [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
        return {(str(row.get("problem")), str(row.get("optimizer"))): row for row in known}

    def lines(self, problem: str) -> list[Line]:
        """What is drawn of a problem, an optimizer each."""
        by_optimizer: dict[str, list[Curve]] = {}
        for curve in self.curves:
            if curve.problem == problem:
                by_optimizer.setdefault(curve.optimizer, []).append(curve)
        return [
            Line(name, self._label(problem, name, own), self.styles[name], own)
            for name in self.optimizers
            if (own := by_optimizer.get(name))
        ]

    def _label(self, problem: str, optimizer: str, curves: Sequence[Curve]) -> str:
        choice = self.choices.get((problem, optimizer), {})
        row = next((row for row in self.score_rows if (row.get("problem"), row.get("optimizer")) == (problem, optimizer)), {})
        trials = row.get("trials") or ""
        return describe(
            optimizer,
            learned=self.learned[optimizer],
            rate=_rate(row.get("hyperparameters") or ""),
            trials=int(trials) if trials.isdigit() else 0,
            problems=int(choice.get("problems") or 1),
            edge=choice.get("edge"),
            diverged=(sum(curve.diverged for curve in curves), len(curves)),
        )


def reported_of(results: Results) -> Reported:
    """All of a results folder with curves that a report shows."""
    folder, scoring = results.folder, results.scoring
    assert scoring is not None
    return Reported(folder, scoring, results.record, results.score_rows, read_rows(folder / "tuning.csv"))


def _rate(settings: str) -> float | None:
    """The learning rate in `name=value name=value`."""
    values = dict(text.split("=", 1) for text in settings.split() if "=" in text)
    try:
        return float(values["learning_rate"])
    except (KeyError, ValueError):
        return None
