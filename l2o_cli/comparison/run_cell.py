"""Running a cell: one optimizer on one problem, as it is or with the hyperparameters that are chosen on the tuning seeds.

Shape letters: S settings, K problems.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from l2o_cli.comparison.cell import Cell
from l2o_cli.comparison.results import Entry
from l2o_cli.comparison.tuning.learning_rates import Tuning, mean_ranks, tune
from l2o_cli.comparison.tuning.tiers import Choice
from l2o_cli.optimizers.search_spaces import Setting
from l2o_cli.runs.records import Run
from l2o_cli.scoring.run_scores import score, summarize
from l2o_cli.scoring.statistics import median
from l2o_cli.stages import Stages


def run_cell(cell: Cell, stages: Stages, choice: Choice | None = None) -> list[Entry]:
    """Its runs on the reporting seeds, an entry for each of its settings.

    Args:
        choice: the setting of a baseline; None: it is chosen first, on the tuning seeds.
    """
    if cell.tuned and choice is None:
        [choice] = choose([cell], stages)
    if cell.tier and choice is None:
        choice = Choice(cell.tier, {})
    terms, seeds = cell.terms, cell.terms.seeds
    settings = [choice.setting] if choice else list(cell.settings)
    rate = settings[0].get("learning_rate")
    what = ""
    if cell.tuned and choice:
        what = f" with trial {choice.trial}" if rate is None else f" with rate {rate:.3g}"
    count = f"{len(settings)} rates x {seeds}" if len(settings) > 1 else f"{seeds}"
    text = f"{cell.title}: {cell.label}{what}, {count} seeds of {terms.steps} steps"
    with stages.stage(text, len(settings) * seeds * terms.steps) as advance:
        runs = cell.batches().run(settings, terms.reporting, first_trial=choice.trial if choice else 0, advance=advance)
    any_started(runs, stages)
    trials, learned = choice.trials if choice else 0, cell.contender.optimizer.learned
    of_settings = [runs[index * seeds : (index + 1) * seeds] for index in range(len(settings))]
    return [Entry(summarize(some, trials), some, learned, choice) for some in of_settings]


def choose_shared(cells: Sequence[Cell], stages: Stages) -> dict[Cell, Choice]:
    """The choices of the cells whose setting is chosen for all of their label together."""
    found: dict[Cell, Choice] = {}
    for label in dict.fromkeys(cell.label for cell in cells if cell.shared):
        own = [cell for cell in cells if cell.shared and cell.label == label]
        found |= zip(own, choose(own, stages), strict=True)
    return found


def choose(cells: Sequence[Cell], stages: Stages) -> list[Choice]:
    """The setting of one baseline that is best on K problems together, as one choice for each of its cells.

    The best setting has the least median of the criterion over the tuning seeds, and of several problems the least mean rank
    of it. A diverged run is the worst. Of equal settings a sweep prefers the least rate, the other tiers the first.
    """
    tier = cells[0].tier
    assert tier is not None
    if tier.swept:
        tuning, runs = sweep(cells, stages)
        setting, trial, tried, edge = {"learning_rate": tuning.rate}, tuning.chosen, len(tuning.rates), tuning.edge
    else:
        search, settings = _Search(cells, stages), cells[0].candidates
        ranks = mean_ranks(search.losses(settings, 0, "settings"))
        trial, tried, edge, runs = ranks.index(min(ranks)), len(settings), None, search.runs
        setting = settings[trial]
    return [Choice(tier, setting, trial, tried, len(cells), edge, of_problem) for of_problem in runs]


def sweep(cells: Sequence[Cell], stages: Stages) -> tuple[Tuning, list[list[Run]]]:
    """The learning rate that is best on the tuning seeds, for all of K problems, and the runs on each of them."""
    search = _Search(cells, stages)

    def losses(rates: list[float], first_trial: int) -> list[list[float]]:
        return search.losses([{"learning_rate": rate} for rate in rates], first_trial, "rates")

    rates = [setting["learning_rate"] for setting in cells[0].candidates]
    tuning = tune(losses, rates, mean_ranks, lambda: search.started)
    if tuning.edge and search.started:
        where = cells[0].title if len(cells) == 1 else "all problems"
        stages.warn(f"{where}: the best learning rate of {cells[0].label}, {tuning.rate:.3g}, is at the {tuning.edge} edge")
    return tuning, search.runs


def try_candidates(cell: Cell, stages: Stages) -> None:
    """Make the runs on one problem from which a setting for several problems is chosen, before a sweep is extended."""
    _Search([cell], stages).losses(cell.candidates, 0, "settings")


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

    def __init__(self, cells: Sequence[Cell], stages: Stages):
        self._cells, self._stages = cells, stages
        self.started = False  # whether any run has a loss at its start
        self.runs: list[list[Run]] = [[] for _ in cells]

    def losses(self, settings: Sequence[Setting], first_trial: int, what: str) -> list[list[float]]:
        """The median of the criterion of each setting on each problem, [S, K]; all settings of a problem run together."""
        columns = []
        for cell, kept in zip(self._cells, self.runs, strict=True):
            seeds, steps = cell.terms.tuning, cell.terms.steps
            kind = "tuning" if first_trial == 0 else "best at the edge, extending"
            text = f"{cell.title}: {cell.label}, {kind}: {len(settings)} {what} x {len(seeds)} seeds of {steps} steps"
            with self._stages.stage(text, len(settings) * len(seeds) * steps) as advance:
                runs = cell.batches().run(settings, seeds, first_trial=first_trial, curve=False, advance=advance)
            kept.extend(runs)
            self.started |= any_started(runs, self._stages)
            of_settings = [runs[index : index + len(seeds)] for index in range(0, len(runs), len(seeds))]
            columns.append([median([score(run).known(cell.terms.select) for run in some]) for some in of_settings])
        return [list(row) for row in zip(*columns, strict=True)]
