"""Running the sweeps of a comparison, and what they leave on disk.

Files: sweeps.csv, a row for each value, optimizer and seed; sweeps.yaml, what each sweep is about.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from l2o_problems.base import Problem

from l2o_cli.carry import Carry, layout_of
from l2o_cli.comparison.cell import Cell
from l2o_cli.comparison.results import SCORE_COLUMNS, Entry, score_rows, write_csv, write_yaml
from l2o_cli.comparison.run_cell import choose_shared, run_cell
from l2o_cli.comparison.sweeps.meta_trained import horizons, initial_rates
from l2o_cli.comparison.sweeps.plan import Reading, Sweep
from l2o_cli.rollout import Rollout
from l2o_cli.runs.records import Contender
from l2o_cli.scoring.sweep_tables import FACTS, TABLE, value_cell
from l2o_cli.stages import Stages

COLUMNS = ("sweep", "over", "value", "checkpoint", *SCORE_COLUMNS)

# Of timings, of a step of one instance alone (Wichrowska et al. 2017, figure 6).
ROUNDS = 7  # each times every optimizer once, one after the other, so that a change of the machine's speed touches all
SECONDS = 0.2  # of one timing, about
MOST_STEPS = 200  # of one timing

SweepRow = dict[str, Any]  # {column: cell}


def run_sweeps(sweeps: Sequence[Sweep], out: Path, stages: Stages) -> None:
    """Run them; the files are complete after each."""
    rows: list[SweepRow] = []
    facts: list[dict[str, Any]] = []
    for sweep in sweeps:
        rows += _timed(sweep, stages) if sweep.timed else _run(sweep, stages)
        facts.append(_facts(sweep))
        write_csv(out / TABLE, COLUMNS, [[row.get(column) for column in COLUMNS] for row in rows])
        write_yaml(out / FACTS, {"sweeps": facts})


def _run(sweep: Sweep, stages: Stages) -> Iterator[SweepRow]:
    choices = choose_shared(sweep.cells, stages)
    entries: dict[Cell, list[Entry]] = {}
    for reading in sweep.readings:
        cell = reading.cell
        if cell not in entries:
            entries[cell] = run_cell(cell, stages, choices.get(cell))
        for scores in score_rows([entries[cell][reading.setting]]):
            yield {**_beginning(sweep, reading), **dict(zip(SCORE_COLUMNS, scores, strict=True))}


def _beginning(sweep: Sweep, reading: Reading) -> SweepRow:
    value = value_cell(reading.value)
    return {"sweep": sweep.spec.title, "over": sweep.spec.over, "value": value, "checkpoint": reading.checkpoint}


def _timed(sweep: Sweep, stages: Stages) -> Iterator[SweepRow]:
    """Milliseconds of a step of one instance alone; hyperparameters do not change them, so nothing is tuned."""
    for point in sweep.points:
        with stages.stage(f"{point.title}: milliseconds of a step of {', '.join(sweep.optimizers)}") as advance:
            rounds = step_milliseconds(point.problem, sweep.optimizers, point.steps, sweep.terms.xla, advance)
        for reading in sweep.readings:
            if reading.value == point.value:
                label = reading.cell.label
                measured = {"problem": point.title, "optimizer": label, "step_milliseconds": rounds[label]}
                yield {**_beginning(sweep, reading), **measured}


def step_milliseconds(
    problem: Problem, contenders: Mapping[str, Contender], steps: int, xla: bool, advance: Callable[[float], object]
) -> dict[str, float]:
    """The wall-clock of a step of each optimizer in milliseconds, compiled: the median of several rounds over all of them.

    Args:
        steps: the length of the run that update rules are told which go by it.
    """
    timings = {label: _prepared(problem, one, steps, xla) for label, one in contenders.items()}
    rounds: dict[str, list[float]] = {label: [] for label in timings}
    for _ in range(ROUNDS):
        for label, milliseconds in timings.items():
            rounds[label].append(milliseconds())
        advance(1 / ROUNDS)
    return {label: statistics.median(values) for label, values in rounds.items()}


def _prepared(problem: Problem, one: Contender, steps: int, xla: bool) -> Callable[[], float]:
    """What times it, compiled, over as many steps as make about `SECONDS`."""
    rollout = Rollout(problem, one.optimizer.over(steps), maximum=MOST_STEPS, xla=xla)
    weights = {name: tf.convert_to_tensor(value) for name, value in one.weights.items()}
    carry = rollout.start(dict(one.weights), 0, 1)
    rollout(weights, carry, 1)  # compiles
    count = max(1, min(MOST_STEPS, round(2 * SECONDS / _seconds(rollout, weights, carry, 2))))
    return lambda: 1000 * _seconds(rollout, weights, carry, count) / count


def _seconds(rollout: Rollout, weights: dict[str, tf.Tensor], carry: Carry, steps: int) -> float:
    began = time.perf_counter()
    after, losses = rollout(weights, carry, steps)
    losses.numpy(), after.params.numpy()
    return time.perf_counter() - began


def _facts(sweep: Sweep) -> dict[str, Any]:
    """What the pictures say beside the numbers."""
    spec = sweep.spec
    return {
        "name": spec.title,
        "over": spec.over,
        **({"option": spec.option} if spec.option else {}),
        "problem": spec.problem.title,
        "parameters": {point.title: layout_of(point.problem).parameters for point in sweep.points},
        "values": [point.value for point in sweep.points],
        "steps": [point.steps for point in sweep.points],
        "seeds": sweep.terms.reporting,
        "optimizers": {label: _about(one, spec.over) for label, one in sweep.optimizers.items()},
    }


def _about(one: Contender, over: str) -> dict[str, Any]:
    known = horizons(one) if over == "horizon" else initial_rates(one.optimizer) if over == "learning_rate" else None
    return {"learned": one.optimizer.learned, "meta_trained": list(known) if known else None}
