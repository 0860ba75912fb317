"""What a sweep over learning rates takes with `l2o compare`, and the same runs one after another with Keras's `model.fit`."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import product

from l2o_cli.benchmark.keras_fit import FitOptions, KerasFit
from l2o_cli.evaluation.records import Run
from l2o_cli.evaluation.scores import median, score
from l2o_cli.evaluation.trials import Trials
from l2o_cli.evaluation.tuning import grid
from l2o_cli.export.resolve import resolve
from problems.convolutions import ImageConv
from problems.images import ImageMlp
from problems.registry import PROBLEMS

SWEEP_PROBLEMS = ("digits_mlp", "mnist_conv")
STEPS, RATES, SEEDS = 1000, 15, 5
LONG_EXECUTION = 50  # steps_per_execution that is tried beside 1
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
    fastest = min(ways, key=lambda way: ways[way][1])

    contender = resolve("adam")
    tried = grid(rates, float(contender.weights["learning_rate"]))
    jobs = [(rate, seed) for rate in tried for seed in range(seeds)]
    theirs = _Beside(problem, fastest, jobs, steps, lambda line: tell(f"{name}: {line}"))
    began = time.perf_counter()
    trials = Trials(name, problem, contender, steps=steps)
    settings = [{"learning_rate": rate} for rate in tried]
    runs = trials.run(settings, range(seeds), curve=False, advance=theirs.catch_up)
    ours = time.perf_counter() - began - theirs.inside
    theirs.finish()
    keras, loop = math.fsum(theirs.seconds), math.fsum(float(run.seconds[-1]) for run in runs)
    first, *others = theirs.seconds
    return {
        "problem": name,
        "steps": steps,
        "rates": rates,
        "seeds": seeds,
        "ratio": ours / keras,
        "seconds": ours,
        "loop_seconds": loop,
        "keras_seconds": keras,
        "keras_first_run_seconds": first,
        "keras_other_run_seconds": statistics.median(others or [first]),
        "keras_options": fastest._asdict(),
        "keras_ways": [
            {**way._asdict(), "first_call_seconds": call, "step_milliseconds": 1000 * step} for way, (call, step) in ways.items()
        ],
        "losses": _losses(tried, runs, theirs.losses, seeds),
    }


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
    """The runs of Keras, of which as large a share is made as of the others, so that a drift of the machine touches both.

    Attributes:
        seconds: of each run that was made: of `fit` with its reset, of the first also of building the model.
        losses: on the validation split after each run, which is not timed.
        inside: seconds since when the other side stood still.
    """

    def __init__(
        self,
        problem: ImageMlp | ImageConv,
        options: FitOptions,
        jobs: Sequence[tuple[float, int]],
        steps: int,
        tell: Tell,
    ):
        self._problem, self._options, self._jobs, self._steps, self._tell = problem, options, jobs, steps, tell
        self._share = 0.0
        self._model: KerasFit | None = None
        self.seconds: list[float] = []
        self.losses: list[float] = []
        self.inside = 0.0

    def catch_up(self, share: float) -> None:
        """Make runs, now that `share` more of the others is made."""
        began = time.perf_counter()
        self._share += share
        while len(self.seconds) < int(self._share * len(self._jobs)):
            self._make_next()
        self.inside += time.perf_counter() - began

    def finish(self) -> None:
        """Make the runs that are left."""
        while len(self.seconds) < len(self._jobs):
            self._make_next()

    def _make_next(self) -> None:
        done = len(self.seconds)
        if done % REPORT_EVERY == 0:
            self._tell(f"{done} of {len(self._jobs)} runs of each")
        began = time.perf_counter()
        if self._model is None:
            self._model = KerasFit(self._problem, self._options)
        self._model.fit(*self._jobs[done], self._steps)
        self.seconds.append(time.perf_counter() - began)
        self.losses.append(self._model.held_out_loss())


def _losses(rates: Sequence[float], runs: Sequence[Run], theirs: Sequence[float], seeds: int) -> list[dict]:
    """Of each rate the medians over the seeds of the final validation losses; None where most of them are no numbers."""
    ours = [score(run).final_validation_loss for run in runs]

    def of_rate(losses: Sequence[float | None], index: int) -> float | None:
        middle = median([math.inf if loss is None else loss for loss in losses[index * seeds : (index + 1) * seeds]])
        return middle if math.isfinite(middle) else None

    return [
        {"learning_rate": rate, "loss": of_rate(ours, index), "keras_loss": of_rate(theirs, index)}
        for index, rate in enumerate(rates)
    ]
