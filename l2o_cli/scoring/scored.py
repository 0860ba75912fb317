"""What a comparison scores: rows of runs, problems, optimizers, pairs of optimizers and performance profiles."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from l2o_cli.scoring.curves import Curve
from l2o_cli.scoring.run_scores import RunScore
from l2o_cli.scoring.statistics import Estimate


@dataclass(frozen=True)
class ProblemScore:
    """One optimizer on one problem: the medians of its runs, a diverged one being the worst; None: not for all runs."""

    problem: str
    optimizer: str
    runs: int
    diverged: int
    medians: dict[str, float | None]  # of each of MEASURES
    best: bool  # whether no other optimizer has a lower median of the measure


@dataclass(frozen=True)
class OptimizerScore:
    """One optimizer on all problems that every optimizer ran on: interquartile means of its runs."""

    optimizer: str
    problems: int
    runs: int
    diverged: int
    pooled: dict[str, Estimate | None]  # of each of POOLED, over the problems where every optimizer has it
    pooled_at_least: dict[str, bool]  # whether the interquartile mean is a lower bound
    profile_steps: float | None  # integral of the performance profile
    profile_seconds: float | None
    best_on: int  # problems


@dataclass(frozen=True)
class PairScore:
    """One optimizer against another, on the problems that both ran on."""

    optimizer: str
    other: str
    measure: str
    problems: int
    fewest_runs: int  # of either on a problem
    wins: float  # problems on which the median is lower, a tie being half
    improvement: Estimate  # probability of improvement

    @property
    def turned(self) -> PairScore:
        """The other one against the one."""
        return dataclasses.replace(
            self,
            optimizer=self.other,
            other=self.optimizer,
            wins=self.problems - self.wins,
            improvement=self.improvement.complement,
        )

    @property
    def win_rate(self) -> float:
        return self.wins / self.problems


@dataclass(frozen=True)
class ProfilePoint:
    """The share of problems on which an optimizer's cost to the target is within `factor` of the least."""

    optimizer: str
    factor: float
    steps: float
    seconds: float


@dataclass(frozen=True)
class Scoring:
    reference: str | None
    measure: str
    trials: dict[str, tuple[int, ...]]  # of each optimizer where it is known: the settings tried on each problem
    runs: list[RunScore]
    problems: list[ProblemScore]
    optimizers: list[OptimizerScore]
    pairs: list[PairScore]  # each ordered pair, by each measure
    profiles: list[ProfilePoint]
    left_out: dict[str, list[str]]  # what could not be scored everywhere: the problems where it could not
    curves: list[Curve]  # that were scored: those on a problem are equally long
    cut: list[str]  # what was done for that, in lines
    not_normalized: dict[str, str]  # {problem: why}

    @property
    def diverged(self) -> list[RunScore]:
        return [run for run in self.runs if run.diverged]

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        """Tables of plain values for JSON and CSV; None is infinite (a diverged run, a target never reached) or unknown."""
        names = ("optimizers", "pairs", "problems", "runs", "profiles")
        tables = {name: [_plain(row) for row in getattr(self, name)] for name in names}
        for row, pair in zip(tables["pairs"], self.pairs, strict=True):
            row["win_rate"] = pair.win_rate
        return tables


def _plain(row: Any) -> dict[str, Any]:
    """One level: an estimate is three values, `name`, `name_low` and `name_high`, and a dictionary its values."""
    result: dict[str, Any] = {}
    for field in dataclasses.fields(row):
        value = getattr(row, field.name)
        for name, one in value.items() if isinstance(value, dict) else [(field.name, value)]:
            key = f"{name}_at_least" if field.name.endswith("at_least") else name
            if isinstance(one, Estimate):
                result |= {key: one.value, f"{key}_low": one.low, f"{key}_high": one.high}
            else:
                result[key] = one
    return {name: None if isinstance(one, float) and not math.isfinite(one) else one for name, one in result.items()}
