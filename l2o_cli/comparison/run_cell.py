"""Running a cell: one optimizer on one problem, as it is or with the hyperparameters that tuning chooses."""

from __future__ import annotations

from collections.abc import Sequence

from l2o_cli.comparison.cell import Cell
from l2o_cli.comparison.results import Entry
from l2o_cli.comparison.tuning.choice import any_started, choose
from l2o_cli.comparison.tuning.tiers import Choice
from l2o_cli.scoring.run_scores import summarize
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
