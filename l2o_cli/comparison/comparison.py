"""What is asked of a comparison: its request, its baselines, how they are tuned; whether that can be, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from l2o_problems.base import Problem

from l2o_cli.comparison.request import Request, check_memory, labels, request_of
from l2o_cli.comparison.tuning.learning_rates import grid
from l2o_cli.comparison.tuning.tiers import DEFAULTS, SWEEP, Baseline, Tier, parse_baselines
from l2o_cli.errors import BadInput
from l2o_cli.optimizers.search_spaces import Setting
from l2o_cli.reports.cells import several
from l2o_cli.runs.batches import hyperparameters
from l2o_cli.runs.lbfgs import check_fits
from l2o_cli.runs.records import Contender
from l2o_cli.scoring.scores import CRITERIA
from l2o_cli.spec import ComparisonSpec

TUNING_SEEDS_FROM = 1_000_000  # beyond every reporting seed, so that nothing is chosen on what it is reported on


@dataclass(frozen=True)
class Comparison:
    """A request with baselines and how they are tuned."""

    request: Request
    baselines: Sequence[Baseline]
    trials: int = 15  # learning rates of a sweep, before extensions
    tuning_seeds: int = 2
    select: str = "final_train_loss"  # one of CRITERIA

    @property
    def seeds_for_tuning(self) -> list[int]:
        first = TUNING_SEEDS_FROM + self.request.seed
        return list(range(first, first + self.tuning_seeds))

    def settings(self, tier: Tier, contender: Contender) -> Sequence[Setting]:
        """Those that run on the tuning seeds of each problem, before a sweep is extended; none for `defaults`."""
        if tier.kind == SWEEP:
            rates = grid(tier.count or self.trials, hyperparameters(contender)["learning_rate"])
            return [{"learning_rate": rate} for rate in rates]
        return tier.settings(self.request.seed, self.request.steps)

    def tried(self, baseline: Baseline) -> int:
        """How many those are."""
        return len(self.settings(baseline.tier, baseline.contender))


def comparison_of(spec: ComparisonSpec, out: Path, **others: Any) -> Comparison:
    """The comparison that a spec asks for; arguments as for `request_of`.

    Raises:
        BadInput: an optimizer or a tier is not there.
    """
    return Comparison(
        request=request_of(spec, out, **others),
        baselines=parse_baselines(spec.baselines, spec.tuning),
        trials=spec.trials,
        tuning_seeds=spec.tuning_seeds,
        select=spec.select,
    )


def all_labels(comparison: Comparison) -> tuple[dict[str, Baseline], dict[str, Contender]]:
    """Baselines and contenders by label, no two alike; BadInput where that cannot be."""
    baselines = dict(zip(labels(comparison.baselines), comparison.baselines, strict=True))
    given = comparison.request.contenders
    contenders = dict(zip(labels(given, taken=list(baselines)), given, strict=True))
    for label in contenders:
        if label in baselines:
            raise BadInput(f"--optimizer and --baselines both mean {label!r}")
    return baselines, contenders


def check(comparison: Comparison, problems: dict[str, Problem]) -> None:
    """BadInput for what cannot be tuned or would be tuned on the reporting seeds."""
    if comparison.select not in CRITERIA:
        raise BadInput(f"--select {comparison.select!r}; there are: {', '.join(CRITERIA)}")
    if comparison.request.seeds > TUNING_SEEDS_FROM:
        raise BadInput(f"--seeds {comparison.request.seeds}: at most {TUNING_SEEDS_FROM}")
    for baseline in comparison.baselines:
        _check_tunable(baseline, comparison.request)
    request = comparison.request
    contenders = [*request.contenders, *(baseline.contender for baseline in comparison.baselines)]
    most = max((comparison.tried(baseline) * comparison.tuning_seeds for baseline in comparison.baselines), default=0)
    check_memory(problems, contenders, request.steps, most + request.seeds, request.seeds)
    try:
        check_fits([baseline.contender for baseline in comparison.baselines], problems)
    except BadInput as error:
        raise BadInput(f"--baselines: {error}") from None
    for name, problem in problems.items():
        if comparison.select == "final_validation_loss" and not problem.held_out:
            raise BadInput(f"--select final_validation_loss: problem {name!r} has no held-out data")


def _check_tunable(baseline: Baseline, request: Request) -> None:
    """BadInput unless the optimizer has the hyperparameters that its tier sets."""
    label, tier, known = baseline.contender.label, baseline.tier, hyperparameters(baseline.contender)
    if tier.kind == SWEEP and "learning_rate" not in known:
        raise BadInput(
            f"--baselines: {label!r} has no learning_rate to tune; name it with --optimizer instead, or as {label}:{DEFAULTS}"
        )
    for name in (name for setting in tier.settings(request.seed, request.steps) for name in setting):
        if name not in known:
            raise BadInput(f"--baselines: {label!r} has no hyperparameter {name!r}, which {tier.text} sets")


class Planned(NamedTuple):
    """The runs of one optimizer on all problems."""

    label: str
    settings: int  # that are tried on each problem
    tuning_runs: int  # before extensions
    reporting_runs: int
    extended: bool = False  # a sweep, whose runs may become more


def plan(comparison: Comparison, contenders: Sequence[str], baselines: dict[str, Baseline], problems: int) -> list[Planned]:
    """What is going to run: contenders, by label, as they are, then baselines."""
    reporting = problems * comparison.request.seeds
    planned = [Planned(label, 0, 0, reporting) for label in contenders]
    for label, baseline in baselines.items():
        count = comparison.tried(baseline)
        tuning = count * problems * comparison.tuning_seeds
        planned.append(Planned(label, count, tuning, reporting, extended=baseline.tier.kind == SWEEP and count > 1))
    return planned


def plan_lines(comparison: Comparison, planned: Sequence[Planned], problems: int) -> list[str]:
    """The plan for people, one line for each optimizer between a heading and the sum."""
    steps = comparison.request.steps
    lines = [f"plan: {several(problems, 'problem')}, runs of {several(steps, 'step')}"]
    for one in planned:
        tuning = f"{several(one.settings, 'setting')} on each problem in {one.tuning_runs:,} runs, then " if one.settings else ""
        lines.append(f"  {one.label}: {tuning}{several(one.reporting_runs, 'run')} to report")
    runs = sum(one.tuning_runs + one.reporting_runs for one in planned)
    more = "; more where the best rate is at an edge" if any(one.extended for one in planned) else ""
    return [*lines, f"  in all {several(runs, 'run')}, {several(runs * steps, 'step')}{more}"]
