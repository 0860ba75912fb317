"""Choosing hyperparameters on the tuning seeds.

Shape letters: S settings, K problems.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from l2o_cli.comparison.comparison import Comparison
from l2o_cli.comparison.tuning.learning_rates import Tuning, mean_ranks, tune
from l2o_cli.comparison.tuning.tiers import SWEEP, Choice, Tier
from l2o_cli.optimizers.search_spaces import Setting
from l2o_cli.runs.batches import Batches
from l2o_cli.runs.records import Run
from l2o_cli.scoring.scores import median, score
from l2o_cli.stages import Stages


def choose(comparison: Comparison, tier: Tier, trials: Sequence[Batches], stages: Stages) -> list[Choice]:
    """The setting of one optimizer that is best on K problems together, as one choice for each of them.

    The best setting has the least median of the chosen score over the tuning seeds, and of several problems the least mean rank
    of it. A diverged run is the worst. Of equal settings a sweep prefers the least rate, the other tiers the first.

    Args:
        tier: any but `defaults`.
    """
    if tier.kind == SWEEP:
        tuning, runs = sweep(comparison, tier, trials, stages)
        setting, trial, tried, edge = {"learning_rate": tuning.rate}, tuning.chosen, len(tuning.rates), tuning.edge
    else:
        search = _Search(comparison, trials, stages)
        settings = comparison.settings(tier, trials[0].contender)
        ranks = mean_ranks(search.losses(settings, 0, "settings"))
        trial, tried, edge, runs = ranks.index(min(ranks)), len(settings), None, search.runs
        setting = settings[trial]
    return [Choice(tier, setting, trial, tried, len(trials), edge, of_problem) for of_problem in runs]


def sweep(comparison: Comparison, tier: Tier, trials: Sequence[Batches], stages: Stages) -> tuple[Tuning, list[list[Run]]]:
    """The learning rate that is best on the tuning seeds, for all of K problems, and the runs on each of them."""
    search = _Search(comparison, trials, stages)

    def losses(rates: list[float], first_trial: int) -> list[list[float]]:
        return search.losses([{"learning_rate": rate} for rate in rates], first_trial, "rates")

    rates = [setting["learning_rate"] for setting in comparison.settings(tier, trials[0].contender)]
    tuning = tune(losses, rates, mean_ranks, lambda: search.started)
    if tuning.edge and search.started:
        where = trials[0].problem_name if len(trials) == 1 else "all problems"
        stages.warn(f"{where}: the best learning rate of {trials[0].label}, {tuning.rate:.3g}, is at the {tuning.edge} edge")
    return tuning, search.runs


def try_settings(comparison: Comparison, tier: Tier, trials: Batches, stages: Stages) -> None:
    """Make the runs on one problem from which a setting for several problems is chosen, before a sweep is extended."""
    _Search(comparison, [trials], stages).losses(comparison.settings(tier, trials.contender), 0, "settings")


def any_started(runs: Sequence[Run], stages: Stages) -> bool:
    """Whether any of the runs on a problem has a finite loss before its first update; warns of those that have none."""
    lost = {run.seed: float(run.losses[0]) for run in runs if not math.isfinite(run.losses[0])}
    seeds = {run.seed for run in runs}
    if lost:
        value = "NaN" if any(map(math.isnan, lost.values())) else "infinite"
        which = f", with {len(lost)} of {len(seeds)} seeds" if len(lost) < len(seeds) else "; no optimizer can change that"
        stages.warn(f"{runs[0].problem}: the loss is {value} at step 0, before any update{which}")
    return len(lost) < len(seeds)


class _Search:
    """Runs settings on the tuning seeds of K problems, and keeps the runs."""

    def __init__(self, comparison: Comparison, trials: Sequence[Batches], stages: Stages):
        self._comparison, self._trials, self._stages = comparison, trials, stages
        self.started = False  # whether any run has a loss at its start
        self.runs: list[list[Run]] = [[] for _ in trials]

    def losses(self, settings: Sequence[Setting], first_trial: int, what: str) -> list[list[float]]:
        """The median score of each setting on each problem, [S, K]; all settings of a problem run together."""
        seeds = self._comparison.seeds_for_tuning
        columns = []
        for one, kept in zip(self._trials, self.runs, strict=True):
            kind = "tuning" if first_trial == 0 else "best at the edge, extending"
            text = f"{one.problem_name}: {one.label}, {kind}: {len(settings)} {what} x {len(seeds)} seeds of {one.steps} steps"
            with self._stages.stage(text, len(settings) * len(seeds) * one.steps) as advance:
                runs = one.run(settings, seeds, first_trial=first_trial, curve=False, advance=advance)
            kept.extend(runs)
            self.started |= any_started(runs, self._stages)
            of_settings = [runs[index : index + len(seeds)] for index in range(0, len(runs), len(seeds))]
            columns.append([median([getattr(score(run), self._comparison.select) for run in some]) for some in of_settings])
        return [list(row) for row in zip(*columns, strict=True)]
