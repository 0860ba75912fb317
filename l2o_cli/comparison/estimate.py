"""How long a comparison is going to take: the runs that are not kept from before, at the pace of a few of their steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from l2o_problems.base import Problem

from l2o_cli.comparison.comparison import Comparison
from l2o_cli.comparison.tuning.tiers import DEFAULTS, Baseline
from l2o_cli.runs.batches import Batches, Pace
from l2o_cli.runs.records import Contender
from l2o_cli.stages import Stages

PROBED = 6  # problems on which the pace is measured; the others are taken to be like them


class Ahead(NamedTuple):
    """What one optimizer is going to run on one problem."""

    problem: str
    label: str
    batches: Batches
    tuning: Sequence[Mapping[str, float]]  # settings, before extensions of a sweep
    reporting: Sequence[Mapping[str, float]] | None  # one setting; None: what tuning will choose


class Estimate(NamedTuple):
    runs: int  # that are not kept from before
    kept: int
    seconds: float | None  # that the others take, compilation left out; None: not known


def ahead(
    comparison: Comparison,
    problems: Mapping[str, Problem],
    contenders: Mapping[str, Contender],
    baselines: Mapping[str, Baseline],
) -> list[Ahead]:
    """All that a comparison runs, but for extensions and sweeps of its spec."""
    request = comparison.request
    result = []
    for name, problem in problems.items():
        for label, contender in contenders.items():
            result.append(Ahead(name, label, request.batches(name, problem, contender, label), (), [request.setting(contender)]))
        for label, baseline in baselines.items():
            batches = request.batches(name, problem, baseline.contender, label)
            reporting = [request.setting(baseline.contender)] if baseline.tier.kind == DEFAULTS else None
            result.append(Ahead(name, label, batches, comparison.settings(baseline.tier, baseline.contender), reporting))
    return result


def estimate(comparison: Comparison, coming: Sequence[Ahead], stages: Stages) -> Estimate:
    """Count the runs that are to be made, and measure on some problems how fast they go."""
    missing = {(one.problem, one.label): _missing(comparison, one) for one in coming}
    total = sum(len(one.tuning) * comparison.tuning_seeds + comparison.request.seeds for one in coming)
    runs = sum(tuning + reporting for tuning, reporting in missing.values())
    if not runs:
        return Estimate(0, total, 0.0)
    concerned = list(dict.fromkeys(one.problem for one in coming if any(missing[one.problem, one.label])))
    probed = concerned[:: -(-len(concerned) // PROBED)]
    seconds, measured = 0.0, 0
    for one in coming:
        tuning, reporting = missing[one.problem, one.label]
        if one.problem in probed and tuning + reporting:
            pace = _pace(comparison, one, stages)
            if pace is not None:
                steps, records = one.batches.steps, one.batches.windows + 1
                seconds += (tuning + reporting) * steps * pace.step + (tuning + reporting * records) * pace.record
                measured += tuning + reporting
    return Estimate(runs, total - runs, seconds * runs / measured if measured else None)


def _missing(comparison: Comparison, one: Ahead) -> tuple[int, int]:
    """The runs of tuning and of reporting that are to be made. Those of a setting not yet chosen count if any of tuning does."""
    tuning = one.batches.missing(one.tuning, comparison.seeds_for_tuning, curve=False) if one.tuning else 0
    seeds = comparison.request.reporting_seeds
    if one.reporting is not None:
        return tuning, one.batches.missing(one.reporting, seeds)
    return tuning, len(seeds) if tuning or comparison.request.store is None else 0


def _pace(comparison: Comparison, one: Ahead, stages: Stages) -> Pace | None:
    """Of a batch as it is going to run, so that nothing is compiled in vain."""
    with stages.stage(f"{one.problem}: {one.label}, measuring the pace"):
        if one.tuning:
            return one.batches.pace(one.tuning, comparison.seeds_for_tuning, curve=False)
        return one.batches.pace(one.reporting or [{}], comparison.request.reporting_seeds)
