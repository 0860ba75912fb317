"""Whether what is planned can run at all, said before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from l2o_problems.base import Problem

from l2o_cli.comparison.cell import TUNING_SEEDS_FROM, Cell, Terms
from l2o_cli.comparison.tuning.tiers import DEFAULTS
from l2o_cli.errors import BadInput, naming, shown
from l2o_cli.optimizers.search_spaces import Setting
from l2o_cli.runs.batches import AT_ONCE, check_setting, hyperparameters
from l2o_cli.runs.contenders import check_fits
from l2o_cli.runs.records import Contender
from l2o_cli.runs.update_rules import together
from l2o_cli.spec.resources import Factor, Runs, check_runs, state_size


def check_cells(cells: Sequence[Cell], terms: Terms) -> None:
    """BadInput for what cannot be tuned, would be tuned on the reporting seeds, or does not fit in memory."""
    if terms.seeds > TUNING_SEEDS_FROM:
        raise BadInput(f"--seeds {terms.seeds}: at most {TUNING_SEEDS_FROM}")
    baselines = list({cell.label: cell for cell in cells if cell.tier}.values())
    for cell in baselines:
        _check_tunable(cell)
    problems = {cell.title: cell.problem for cell in cells}
    most = max((cell.tuning_runs for cell in baselines), default=0)
    check_memory(problems, [cell.contender for cell in cells], terms.steps, most + terms.seeds, terms.seeds)
    with naming("--baselines"):
        check_fits([cell.contender for cell in baselines], problems)
    for title, problem in problems.items():
        if terms.select == "final_validation_loss" and not problem.held_out:
            raise BadInput(f"--select final_validation_loss: problem {title!r} has no held-out data")


def _check_tunable(cell: Cell) -> None:
    """BadInput unless the optimizer has the hyperparameters that its tier sets."""
    assert cell.tier is not None
    label, known = cell.contender.label, hyperparameters(cell.contender)
    if cell.tier.swept and "learning_rate" not in known:
        raise BadInput(
            f"--baselines: {label!r} has no learning_rate to tune; name it with --optimizer instead, or as {label}:{DEFAULTS}"
        )
    for name in (name for setting in cell.candidates for name in setting):
        if name not in known:
            raise BadInput(f"--baselines: {label!r} has no hyperparameter {name!r}, which {cell.tier.text} sets")


def check_memory(problems: Mapping[str, Problem], contenders: Sequence[Contender], steps: int, runs: int, seeds: int) -> None:
    """BadInput, naming what is too large, if so many runs on each problem would not fit in memory.

    Args:
        seeds: of the report, which `runs` grow with.
    """
    state = max((state_size(one.optimizer) for one in contenders), default=0.0)
    for title, problem in problems.items():
        size = min(runs, together(problem) * AT_ONCE)
        with naming(f"problem {shown(title)}"):
            check_runs([Runs(problem, "", size, steps, runs * len(problems), [Factor("seeds", seeds, 5)])], state)


def check_settings(contenders: Sequence[Contender], settings: Setting) -> None:
    """BadInput unless every hand-designed contender has each hyperparameter that is set."""
    hand_designed = [one for one in contenders if not one.optimizer.learned]
    if settings and not hand_designed:
        raise BadInput("--set is for hand-designed optimizers; none is among the --optimizer values")
    for one in hand_designed:
        known = hyperparameters(one)
        for name in settings:
            if name not in known:
                raise BadInput(f"--set {name}: optimizer {one.label!r} has no such hyperparameter; there are: {', '.join(known)}")
        check_setting(one, settings)
