"""Sweeps of a comparison: what they cost, running them, and what they leave on disk.

Files: sweeps.csv, a row for each value, optimizer and seed; sweeps.yaml, what each sweep is about.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from l2o_cli.carry import layout_of
from l2o_cli.comparison.comparison import Comparison
from l2o_cli.comparison.entries import enter, enter_tuned
from l2o_cli.comparison.results import SCORE_COLUMNS, Entry, score_rows, write_csv, write_yaml
from l2o_cli.comparison.sweeps.meta_trained import Range, horizons, initial_rates, with_initial_rate
from l2o_cli.comparison.sweeps.points import META_TRAINED, Point, Sweep, check_sweeps
from l2o_cli.comparison.sweeps.step_time import step_milliseconds
from l2o_cli.comparison.tuning.choice import choose
from l2o_cli.comparison.tuning.tiers import DEFAULTS, Baseline, Choice
from l2o_cli.reports.cells import several
from l2o_cli.runs.batches import hyperparameters
from l2o_cli.runs.records import Contender
from l2o_cli.scoring.scores import summarize
from l2o_cli.scoring.sweep_tables import FACTS, TABLE, value_cell
from l2o_cli.spec.sweeps import SweepSpec
from l2o_cli.stages import Stages

COLUMNS = ("sweep", "over", "value", "checkpoint", *SCORE_COLUMNS)

Row = dict[str, Any]


class SweepCost(NamedTuple):
    """What a sweep runs: runs to choose hyperparameters by, before extensions, runs to report, and the steps of all of them."""

    name: str
    tuning_runs: int
    reporting_runs: int
    steps: int

    @property
    def line(self) -> str:
        """For the plan that is printed."""
        if not self.steps:
            return f"  sweep {self.name}: times of single steps"
        tuning = f"{several(self.tuning_runs, 'run')} to tune, then " if self.tuning_runs else ""
        return f"  sweep {self.name}: {tuning}{several(self.reporting_runs, 'run')} to report, {several(self.steps, 'step')}"


def sweep_runs(sweeps: Sequence[Sweep]) -> list[SweepCost]:
    """The runs of each sweep; none where the time of a step is measured."""
    return [_cost(sweep) for sweep in sweeps]


def _cost(sweep: Sweep) -> SweepCost:
    name, seeds = sweep.spec.title, sweep.comparison.request.seeds
    if sweep.spec.over == "step_time":
        return SweepCost(name, 0, 0, 0)
    steps = sweep.comparison.request.steps
    if sweep.spec.over == "learning_rate":
        runs = seeds * sum(len(sweep.points) if _sets_rate(one) else 1 for one in _each_once(sweep).values())
        return SweepCost(name, 0, runs, runs * steps)
    tuning, reporting = [], []
    for point in _places(sweep):
        tuned = sum(sweep.comparison.tried(one) for one in sweep.baselines.values() if one.tier.kind != DEFAULTS)
        tuning.append((tuned * sweep.comparison.tuning_seeds, point.steps))
        reporting.append(((len(sweep.contenders) + len(sweep.baselines)) * seeds, point.steps))
    reporting += [(seeds, point.steps) for point in sweep.points if point.checkpoint]
    total = sum(runs * steps for runs, steps in (*tuning, *reporting))
    return SweepCost(name, sum(runs for runs, _ in tuning), sum(runs for runs, _ in reporting), total)


def run_sweeps(
    comparison: Comparison,
    specs: Sequence[SweepSpec],
    contenders: Mapping[str, Contender],
    baselines: Mapping[str, Baseline],
    stages: Stages,
) -> list[Path]:
    """Run the sweeps of a comparison with these optimizers; the files are complete after each sweep.

    Raises:
        BadInput: see `check_sweeps`.
    """
    sweeps = check_sweeps(comparison, specs, contenders, baselines)
    out = comparison.request.out
    rows: list[Row] = []
    facts: list[dict[str, Any]] = []
    files: list[Path] = []
    for sweep in sweeps:
        rows += _rows(sweep, stages)
        facts.append(_facts(sweep))
        cells = [[row.get(column) for column in COLUMNS] for row in rows]
        files = [write_csv(out / TABLE, COLUMNS, cells), write_yaml(out / FACTS, {"sweeps": facts})]
    return files


def _rows(sweep: Sweep, stages: Stages) -> Iterator[Row]:
    if sweep.spec.over == "step_time":
        yield from _timed(sweep, stages)
    elif sweep.spec.over == "learning_rate":
        yield from _at_rates(sweep, stages)
    else:
        yield from _compared(sweep, stages)


def _scored(sweep: Sweep, value: Any, entry: Entry, checkpoint: str | None = None) -> Iterator[Row]:
    begin = {"sweep": sweep.spec.title, "over": sweep.spec.over, "value": value_cell(value), "checkpoint": checkpoint}
    for scores in score_rows([entry]):
        yield {**begin, **dict(zip(SCORE_COLUMNS, scores, strict=True))}


def _places(sweep: Sweep) -> list[Point]:
    """The points that differ in their problem or steps: checkpoints are compared at one and the same place."""
    return list({(point.name, point.steps): point for point in sweep.points}.values())


def _compared(sweep: Sweep, stages: Stages) -> Iterator[Row]:
    """Everything runs at each point as in a comparison, baselines tuned anew."""
    choices = _shared_choices(sweep, stages)
    entries: dict[tuple[str, int], list[Entry]] = {}
    told: list[Any] = []  # values of which there are rows of all but further checkpoints
    for point in sweep.points:
        place, comparison = (point.name, point.steps), sweep.at(point)
        if place not in entries:
            entries[place] = [
                *_entered(comparison, point, sweep.contenders, stages),
                *(
                    enter_tuned(
                        comparison, point.name, point.problem, one, stages, label=label, choice=choices.get((label, *place))
                    )
                    for label, one in sweep.baselines.items()
                ),
            ]
        if point.checkpoint is not None:
            [entry] = _entered(comparison, point, {META_TRAINED: point.checkpoint}, stages)
            yield from _scored(sweep, point.value, entry, point.checkpoint.label)
        for entry in entries[place] if point.value not in told else ():
            yield from _scored(sweep, point.value, entry)
        told.append(point.value)


def _entered(comparison: Comparison, point: Point, contenders: Mapping[str, Contender], stages: Stages) -> list[Entry]:
    return [enter(comparison.request, point.name, point.problem, one, label, stages) for label, one in contenders.items()]


def _shared_choices(sweep: Sweep, stages: Stages) -> dict[tuple[str, str, int], Choice]:
    """{(label, problem, steps): choice} of the baselines that have one setting for all points."""
    places, choices = _places(sweep), {}
    for label, baseline in sweep.baselines.items():
        if baseline.tier.shared:
            batches = [sweep.batches(point, baseline.contender, label) for point in places]
            for point, choice in zip(places, choose(sweep.comparison, baseline.tier, batches, stages), strict=True):
                choices[label, point.name, point.steps] = choice
    return choices


def _each_once(sweep: Sweep) -> dict[str, Contender]:
    """Contenders by label, and baselines by the label of their optimizer: untuned, their tiers make no difference."""
    given = {**sweep.contenders, **{label: one.contender for label, one in sweep.baselines.items()}}
    learned = {label: one for label, one in given.items() if one.optimizer.learned}
    return learned | {one.label: one for one in given.values() if not one.optimizer.learned}


def _sets_rate(one: Contender) -> bool:
    return "learning_rate" in hyperparameters(one) or initial_rates(one.optimizer) is not None


def _at_rates(sweep: Sweep, stages: Stages) -> Iterator[Row]:
    """Every optimizer with every initial learning rate, as it is; those that have none run once, and are the same at all rates.

    All rates and seeds of a hand-designed optimizer run together.
    """
    request, first, rates = sweep.comparison.request, sweep.points[0], [point.value for point in sweep.points]
    for label, one in _each_once(sweep).items():
        if "learning_rate" in hyperparameters(one):
            settings = [{"learning_rate": rate} for rate in rates]
            text = f"{first.name}: {label}, {len(rates)} rates x {request.seeds} seeds of {request.steps} steps"
            with stages.stage(text, len(rates) * request.seeds * request.steps) as advance:
                runs = sweep.batches(first, one, label).run(settings, request.reporting_seeds, advance=advance)
            entries = [
                Entry(summarize(some), some, one.optimizer.learned)
                for some in (runs[begin : begin + request.seeds] for begin in range(0, len(runs), request.seeds))
            ]
        elif initial_rates(one.optimizer) is not None:
            entries = [
                entry
                for rate in rates
                for entry in _entered(sweep.comparison, first, {label: with_initial_rate(one, rate)}, stages)
            ]
        else:
            entries = _entered(sweep.comparison, first, {label: one}, stages) * len(rates)
        for rate, entry in zip(rates, entries, strict=True):
            yield from _scored(sweep, rate, entry)


def _timed(sweep: Sweep, stages: Stages) -> Iterator[Row]:
    """Milliseconds of a step of one instance alone; hyperparameters do not change them, so nothing is tuned."""
    for point in sweep.points:
        timed = _each_once(sweep)
        with stages.stage(f"{point.name}: milliseconds of a step of {', '.join(timed)}") as advance:
            rounds = step_milliseconds(point.problem, timed, point.steps, sweep.comparison.request.xla, advance)
        for label, milliseconds in rounds.items():
            yield {
                "sweep": sweep.spec.title,
                "over": sweep.spec.over,
                "value": value_cell(point.value),
                "problem": point.name,
                "optimizer": label,
                "step_milliseconds": milliseconds,
            }


def _facts(sweep: Sweep) -> dict[str, Any]:
    """What the pictures say beside the numbers."""
    spec, request = sweep.spec, sweep.comparison.request
    optimizers = _each_once(sweep) if spec.over in ("learning_rate", "step_time") else _all(sweep)
    return {
        "name": spec.title,
        "over": spec.over,
        **({"option": spec.option} if spec.option else {}),
        "problem": spec.problem.title,
        "parameters": {point.name: layout_of(point.problem).parameters for point in _places(sweep)},
        "values": [point.value for point in sweep.points],
        "steps": [point.steps for point in sweep.points],
        "seeds": request.reporting_seeds,
        "optimizers": {label: _about(one, spec.over) for label, one in optimizers.items()},
    }


def _all(sweep: Sweep) -> dict[str, Contender]:
    checkpoints = [point.checkpoint for point in sweep.points if point.checkpoint]
    baselines = {label: one.contender for label, one in sweep.baselines.items()}
    return {**({META_TRAINED: checkpoints[0]} if checkpoints else {}), **sweep.contenders, **baselines}


def _about(one: Contender, over: str) -> dict[str, Any]:
    known: Range | None = None
    if over == "horizon":
        known = horizons(one)
    elif over == "learning_rate":
        known = initial_rates(one.optimizer)
    return {"learned": one.optimizer.learned, "meta_trained": list(known) if known else None}
