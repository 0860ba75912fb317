"""What a sweep over learning rates takes with `l2o compare`, and the same runs one after another with Keras's `model.fit`."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import product

from l2o_problems.convolutions import ImageConv
from l2o_problems.images import ImageMlp
from l2o_problems.registry import PROBLEMS

from l2o_cli.benchmark.keras_fit import FitOptions, KerasFit
from l2o_cli.comparison.tuning.learning_rates import grid
from l2o_cli.export.resolve import resolve
from l2o_cli.runs.records import Run
from l2o_cli.runs.update_rules import RuleBatches
from l2o_cli.scoring.run_scores import score
from l2o_cli.scoring.statistics import median

SWEEP_PROBLEMS = ("digits_mlp", "mnist_conv")
STEPS, RATES, SEEDS = 1000, 15, 5
LONG_EXECUTION = 50  # steps_per_execution that is tried beside 1
MUCH_SLOWER = 1.25
REPORT_EVERY = 5  # runs
TRIAL_STEPS = 200  # of each of the two runs from which the fastest way to call `model.fit` is found

Tell = Callable[[str], None]


def measure_sweeps(
    tell: Tell = lambda line: None,
    names: Sequence[str] = SWEEP_PROBLEMS,
    *,
    steps: int = STEPS,
    rates: int = RATES,
    seeds: int = SEEDS,
) -> list[dict]:
    """A row for each problem: the seconds of both, compilation included, and the losses that show them to do the same."""
    return [_measure(name, steps, rates, seeds, tell) for name in names]


def _measure(name: str, steps: int, rates: int, seeds: int, tell: Tell) -> dict:
    problem = PROBLEMS[name]()
    assert isinstance(problem, ImageMlp | ImageConv)
    ways = _time_ways(problem, min(steps, TRIAL_STEPS), lambda line: tell(f"{name}: {line}"))
    contender = resolve("adam")
    tried = grid(rates, float(contender.weights["learning_rate"]))
    jobs = [(rate, seed) for rate in tried for seed in range(seeds)]
    sides = [_Beside(problem, way, jobs, steps, lambda line: tell(f"{name}: {line}")) for way in _fastest(ways)]

    for side in sides:
        side.make(len(jobs) // 2)
    tell(f"{name}: {len(jobs)} runs together")
    settings = [{"learning_rate": rate} for rate in tried]
    began = time.perf_counter()
    batches = RuleBatches(name, problem, contender, steps=steps)
    batches.pace(settings, range(seeds), curve=False)  # compiles
    compiled = time.perf_counter()
    runs = batches.run(settings, range(seeds), curve=False)
    ended = time.perf_counter()
    for side in sides:
        side.make(len(jobs))
    return {
        **{"problem": name, "steps": steps, "rates": rates, "seeds": seeds, "seconds": ended - began},
        "compiled_seconds": ended - compiled,
        "keras": [{**side.figures, "ratio": (ended - began) / math.fsum(side.seconds)} for side in sides],
        "keras_ways": [
            {**way.described(), "first_call_seconds": call, "step_milliseconds": 1000 * step}
            for way, (call, step) in ways.items()
        ],
        "losses": _losses(tried, runs, sides[-1].losses, seeds),
    }


def _fastest(ways: dict[FitOptions, tuple[float, float]]) -> list[FitOptions]:
    """The fastest way of all; and before it that with Keras's default of one step per execution, if it is much slower."""
    step = {way: seconds for way, (_, seconds) in ways.items()}
    fastest = min(step, key=step.__getitem__)
    default = min((way for way in step if way.steps_per_execution == 1), key=step.__getitem__)
    return [default, fastest] if step[default] > MUCH_SLOWER * step[fastest] else [fastest]


def _time_ways(problem: ImageMlp | ImageConv, steps: int, tell: Tell) -> dict[FitOptions, tuple[float, float]]:
    """For each way to call `model.fit`, the seconds of its first call and then those of a step, the lesser of two runs."""
    executions = sorted({1, math.gcd(LONG_EXECUTION, steps)})
    models, first = {}, {}
    for jit, execution, gathered in product((False, True), executions, (False, True)):
        way = FitOptions(jit, execution, gathered)
        tell(f"trying model.fit with {way.text}")
        began = time.perf_counter()
        models[way] = KerasFit(problem, way)
        models[way].fit(1e-3, 0, execution)
        first[way] = time.perf_counter() - began
    # In turn, so that a change of the machine's speed touches all of them.
    rounds = [{way: _seconds(model, steps) / steps for way, model in models.items()} for _ in range(2)]
    return {way: (first[way], min(one[way] for one in rounds)) for way in models}


def _seconds(model: KerasFit, steps: int) -> float:
    began = time.perf_counter()
    model.fit(1e-3, 0, steps)
    return time.perf_counter() - began


class _Beside:
    """The runs of Keras: one half before the others and one half after them, so that a drift of the machine touches both.

    Attributes:
        seconds: of each run that was made: of `fit` with its reset, of the first also of building the model.
        losses: on the validation split after each run, which is not timed.
    """

    def __init__(
        self, problem: ImageMlp | ImageConv, options: FitOptions, jobs: Sequence[tuple[float, int]], steps: int, tell: Tell
    ):
        self._problem, self._options, self._jobs, self._steps, self._tell = problem, options, jobs, steps, tell
        self._model: KerasFit | None = None
        self.seconds: list[float] = []
        self.losses: list[float] = []

    @property
    def figures(self) -> dict:
        """How it was called, and the seconds of all runs, of the first and of the median other one."""
        first, *others = self.seconds
        other = statistics.median(others or [first])
        times = {"seconds": math.fsum(self.seconds), "first_run_seconds": first, "other_run_seconds": other}
        return {**self._options.described(), **times}

    def make(self, count: int) -> None:
        """Make runs until there are so many."""
        for done in range(len(self.seconds), count):
            if done % REPORT_EVERY == 0:
                self._tell(f"{done} of {len(self._jobs)} runs, Keras with {self._options.text}")
            began = time.perf_counter()
            if self._model is None:
                self._model = KerasFit(self._problem, self._options)
            self._model.fit(*self._jobs[done], self._steps)
            self.seconds.append(time.perf_counter() - began)
            self.losses.append(self._model.held_out_loss())


def _losses(rates: Sequence[float], runs: Sequence[Run], theirs: Sequence[float], seeds: int) -> list[dict]:
    """Of each rate the medians over the seeds of the final validation losses; None where most of them are no numbers."""
    ours = [score(run)["final_validation_loss"] for run in runs]

    def of_rate(losses: Sequence[float | None], index: int) -> float | None:
        middle = median([math.inf if loss is None else loss for loss in losses[index * seeds : (index + 1) * seeds]])
        return middle if math.isfinite(middle) else None

    return [
        {"learning_rate": rate, "loss": of_rate(ours, index), "keras_loss": of_rate(theirs, index)}
        for index, rate in enumerate(rates)
    ]
