"""What a comparison or an evaluation runs, as data: the cells of its problems and sweeps.

Counting runs, estimating their time, making them here or on workers, and going on with them are loops over cells.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from l2o_problems.base import Problem

from l2o_cli.carry import layout_of
from l2o_cli.comparison.cell import Cell, Terms, cells_of, labelled, make_problems
from l2o_cli.comparison.checks import check_cells, check_memory, check_settings
from l2o_cli.comparison.sweeps.plan import Sweep, plan_sweeps
from l2o_cli.comparison.tuning.tiers import Baseline, parse_baselines
from l2o_cli.runs.contenders import check_fits, contender
from l2o_cli.runs.records import Contender
from l2o_cli.runs.store import RunStore
from l2o_cli.runtime import environment
from l2o_cli.spec import ComparisonSpec, EvaluationSpec
from l2o_cli.terminal import several


@dataclass(frozen=True)
class Plan:
    """What a spec makes run. Contenders and baselines are by label."""

    spec: EvaluationSpec | ComparisonSpec
    terms: Terms
    problems: Mapping[str, Problem]
    contenders: Mapping[str, Contender]
    baselines: Mapping[str, Baseline]
    cells: Sequence[Cell]
    sweeps: Sequence[Sweep] = ()

    @property
    def compares(self) -> bool:
        """Whether it is a comparison, with tuning, and no evaluation of optimizers as they are."""
        return isinstance(self.spec, ComparisonSpec)

    @property
    def all_cells(self) -> list[Cell]:
        """Those of sweeps included, in the order in which they run."""
        return [*self.cells, *(cell for sweep in self.sweeps if not sweep.timed for cell in sweep.cells)]

    @property
    def steps(self) -> int:
        """Of all runs, before extensions."""
        return sum(cell.steps for cell in self.all_cells)

    @property
    def record(self) -> dict[str, Any]:
        """What was asked, with what it is done."""
        terms, spec = self.terms, self.spec
        request: dict[str, Any] = {"problems": list(self.problems), "optimizers": list(self.contenders)}
        if isinstance(spec, EvaluationSpec):
            request["settings"] = dict(spec.settings)
        else:
            request["baselines"] = list(self.baselines)
            request["tiers"] = {label: one.tier.text for label, one in self.baselines.items()}
            request |= {"trials": terms.trials, "select": terms.select}
        request |= {"steps": terms.steps, "every": terms.every, "seeds": terms.reporting}
        request |= {"tuning_seeds": terms.tuning} if self.compares else {}
        everybody = {**self.contenders, **{label: one.contender for label, one in self.baselines.items()}}
        return {
            "command": "compare" if self.compares else "evaluate",
            "request": {**request, "xla": terms.xla},
            "problems": {title: described(problem) for title, problem in self.problems.items()},
            "optimizers": {label: {"source": one.source, "learned": one.optimizer.learned} for label, one in everybody.items()},
            "environment": environment(),
        }


def described(problem: Problem) -> dict[str, Any]:
    return {
        "identity": problem.identity,
        "source": problem.source,
        "parameters": layout_of(problem).parameters,
        "held_out": problem.held_out,
    }


def make_plan(spec: EvaluationSpec | ComparisonSpec, store: RunStore | None = None) -> Plan:
    """What the spec of an evaluation or a comparison makes run; whether it can is checked.

    Raises:
        BadInput: an unknown problem, optimizer, tier or hyperparameter, or what cannot be tuned or does not fit in memory.
    """
    terms = Terms(spec.steps, spec.seeds, spec.seed, spec.every, spec.xla, store)
    given = [contender(name) for name in spec.optimizers]
    if isinstance(spec, EvaluationSpec):
        problems = make_problems(spec.problems)
        check_settings(given, spec.settings)
        check_fits(given, problems)
        check_memory(problems, given, terms.steps, terms.seeds, terms.seeds)
        contenders, _ = labelled(given, [])
        return Plan(spec, terms, problems, contenders, {}, cells_of(problems, contenders, {}, terms, spec.settings))
    terms = dataclasses.replace(terms, trials=spec.trials, tuning_seeds=spec.tuning_seeds, select=spec.select)
    tuned = parse_baselines(spec.baselines, spec.tuning)
    problems = make_problems(spec.problems)
    contenders, baselines = labelled(given, tuned)
    cells = cells_of(problems, contenders, baselines, terms)
    check_cells(cells, terms)
    check_fits(given, problems)
    return Plan(spec, terms, problems, contenders, baselines, cells, plan_sweeps(spec.sweeps, terms, contenders, baselines))


def plan_lines(cells: Sequence[Cell]) -> list[str]:
    """The plan for people, one line for each optimizer between a heading and the sum."""
    if not cells:
        return ["plan:"]
    steps, problems = cells[0].terms.steps, len({cell.title for cell in cells})
    lines = [f"plan: {several(problems, 'problem')}, runs of {several(steps, 'step')}"]
    for label in dict.fromkeys(cell.label for cell in cells):
        own = [cell for cell in cells if cell.label == label]
        tuning, settings = sum(cell.tuning_runs for cell in own), len(own[0].candidates)
        said = f"{several(settings, 'setting')} on each problem in {tuning:,} runs, then " if settings else ""
        lines.append(f"  {label}: {said}{several(sum(cell.reporting_runs for cell in own), 'run')} to report")
    runs = sum(cell.tuning_runs + cell.reporting_runs for cell in cells)
    extended = any(cell.tier and cell.tier.swept and len(cell.candidates) > 1 for cell in cells)
    more = "; more where the best rate is at an edge" if extended else ""
    return [*lines, f"  in all {several(runs, 'run')}, {several(runs * steps, 'step')}{more}"]
