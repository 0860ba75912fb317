"""How meta-training would scale over workers: the parts of a meta-step, measured here, and simulated meta-steps made of them."""

from __future__ import annotations

import contextlib
import heapq
import pickle
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from l2o_cli import runtime
from l2o_cli.assets import find_config
from l2o_cli.errors import warn
from l2o_cli.executor import Where
from l2o_cli.executor.cluster import Cluster, opened
from l2o_cli.executor.worker import packed
from l2o_cli.meta import hosted
from l2o_cli.meta.meta_step import MetaStepRecord
from l2o_cli.meta.trainer import Trainer
from l2o_cli.spec import MetaTraining
from l2o_cli.spec.reading import read_meta_training

WORKERS = (1, 4, 16, 64, 256, 1024)
MEASURED = 25  # meta-steps, after as many that compile
SIMULATED = 40  # meta-steps
FAMILIES = 100  # of the ensemble that is simulated
LOST_AFTER = 3600.0  # seconds, on average, that a worker lives where some are lost
ENOUGH = 0.9  # of the workers' time


@dataclass(frozen=True)
class Parts:
    """What a meta-step is made of, in seconds.

    Attributes:
        computing: of a family's truncations, as they were measured.
        asking: the work of this process for one family: its request is written, its answer read.
        transfer: on the way to a worker and back.
        combining: of the meta-gradients of one family more.
        update: of all that is done once in a meta-step.
        compiling: of a family on a worker that has not computed it.
    """

    computing: tuple[float, ...]
    asking: float
    transfer: float
    combining: float
    update: float
    compiling: float


@dataclass(frozen=True)
class Outcome:
    """What simulated meta-steps came to.

    Attributes:
        efficiency: the share of the workers' time in which they compute what is used.
        seconds: of a meta-step.
        limit: what the workers wait for most.
    """

    efficiency: float
    seconds: float
    limit: str


def simulate(
    parts: Parts,
    workers: int,
    families: int,
    *,
    asynchronous: bool = False,
    even: bool = False,
    lost: bool = False,
) -> Outcome:
    """Meta-steps of so many families each, on workers of one thread that compute as fast as the one that was measured.

    Args:
        even: all truncations take the mean of what was measured.
        lost: workers are lost at random, each after `LOST_AFTER` on average; another makes again what was lost.
    """
    rng = np.random.default_rng(0)
    mean = statistics.fmean(parts.computing)

    def computing() -> float:
        own = mean if even else float(rng.choice(parts.computing))
        if lost and rng.uniform() < own / LOST_AFTER:
            # On average half of it is in vain; then another worker compiles it, comes to the same version and computes it.
            return own / 2 + parts.compiling + 2 * own
        return own

    run = _asynchronous if asynchronous else _synchronous
    return run(parts, workers, families, computing)


def _synchronous(parts: Parts, workers: int, families: int, computing: Callable[[], float]) -> Outcome:
    useful = total = uneven = 0.0
    for _ in range(SIMULATED):
        times = sorted((computing() for _ in range(families)), reverse=True)
        last = _end(times, workers, parts.asking / 2, parts.transfer / 2)
        # Answers are read as they come; those of the last wait for nothing but themselves.
        read = max(last + parts.transfer / 2 + parts.asking / 2, families * parts.asking)
        useful += sum(times)
        total += read + families * parts.combining + parts.update
        uneven += _end(times, workers)
    if total - uneven > uneven - useful / workers:
        limit = "this process"
    else:
        limit = "the slowest family" if families >= workers else "too few families"
    return Outcome(useful / (workers * total), total / SIMULATED, limit)


def _end(times: Sequence[float], workers: int, asking: float = 0.0, transfer: float = 0.0) -> float:
    """When the last of the workers ends that take the next of these times whenever they are free, the longest first."""
    free = [0.0] * workers
    for asked, own in enumerate(times, 1):
        heapq.heappush(free, max(heapq.heappop(free), asked * asking + transfer) + own)
    return max(free)


def _asynchronous(parts: Parts, workers: int, families: int, computing: Callable[[], float]) -> Outcome:
    """Each worker is asked again when this process has read its answer; an update is made of so many answers."""
    now = useful = 0.0  # `now`: until when this process is busy
    answers: list[tuple[float, int]] = []
    for worker in range(workers):
        now += parts.asking / 2
        heapq.heappush(answers, (now + parts.transfer + computing(), worker))
    busy, begun, needed = 0.0, now, max(SIMULATED * families, 20 * workers)
    for number in range(1, needed + 1):
        come, worker = heapq.heappop(answers)
        work = parts.asking + parts.combining + (parts.update if number % families == 0 else 0.0)
        now = max(now, come) + work
        busy += work
        own = computing()
        useful += own
        heapq.heappush(answers, (now + parts.transfer + own, worker))
    total = now - begun
    limit = "this process" if busy > 0.9 * total else "the way"
    return Outcome(min(1.0, useful / (workers * total)), total / needed * families, limit)


def families_wanted(parts: Parts, workers: int) -> int | None:
    """How many families a meta-step must have, at least, that workers wait little for each other; a power of 2 times them."""
    for times in (1, 2, 4, 8, 16, 32):
        if simulate(parts, workers, times * workers).efficiency >= ENOUGH:
            return times * workers
    return None


def measure_parts(spec: MetaTraining) -> Parts:
    """The parts of a meta-step of a spec, measured with one worker."""
    took: list[float] = []
    with tempfile.TemporaryDirectory() as folder, opened(Where(1, threads=1), warn) as cluster:
        (own,) = cluster.workers
        trainer = Trainer.open(spec, Path(folder) / "run", cluster=lambda: cluster)
        records: list[MetaStepRecord] = []
        with _recorded(cluster, took):
            trainer.run(records.append)
        compiling = [record.compile_seconds for one in records for record in one.update.families if record.compile_seconds]
        weights = {name: np.asarray(value) for name, value in trainer.state.weights.current.items()}
        request = hosted.FamilyRequest(0, 0, 1, weights)
        version = hosted.Version("none", 0, 1, hosted.Applied(request, weights, 1))
        answer = (records[-1].update.gradients[0], records[-1].update.families[0])
        echo = statistics.median(_seconds(lambda: cluster.do(cluster.ask, own, _echo, version, request)) for _ in range(30))
        asking = statistics.median(
            _seconds(lambda: (packed(hosted.answer, version, request), pickle.loads(pickle.dumps(answer)))) for _ in range(30)
        )
        gradients = np.stack([answer[0]] * 16)
        combining = statistics.median(_seconds(lambda: gradients.mean(axis=0)) for _ in range(30)) / 16
    later = [one.update for one in records[len(records) // 2 :]]
    computing = took[-sum(len(update.families) for update in later) :]
    wall = statistics.fmean(update.seconds for update in later)
    count = len(later[0].families)
    update = wall - count * (statistics.fmean(computing) + asking) - max(0.0, echo - asking)
    return Parts(tuple(computing), asking, max(0.0, echo - asking), combining, max(0.0, update), max(compiling, default=0.0))


def measure_scale_out(config: str, tell: Callable[[str], object], real: Sequence[int] = (1, 2, 4)) -> dict[str, Any]:
    """The parts, what they let expect of many workers, and real runs with so many workers beside the same expectation."""
    path = find_config(config)
    spec = read_meta_training(path)
    spec = spec.model_copy(update={"meta_steps": 2 * MEASURED, "validation": type(spec.validation)(), "checkpoint_every": 10**6})
    tell("the parts of a meta-step, with one worker")
    parts = measure_parts(spec)
    cores = int(runtime.environment()["cpu_cores"])
    rows = []
    for workers in WORKERS:
        tell(f"simulating {workers} workers")
        count = min(workers, FAMILIES)
        wanted = families_wanted(parts, workers)
        rows.append(
            {
                "workers": workers,
                "families": count,
                "even": asdict(simulate(parts, workers, count, even=True)),
                "uneven": asdict(simulate(parts, workers, count)),
                "asynchronous": asdict(simulate(parts, workers, count, asynchronous=True)),
                "with_losses": asdict(simulate(parts, workers, count, lost=True)),
                "asynchronous_with_losses": asdict(simulate(parts, workers, count, asynchronous=True, lost=True)),
                "families_wanted": wanted,
            }
        )
    runs = []
    for workers in real:
        tell(f"a real run with {workers} workers")
        seconds = real_seconds(spec, workers)
        # Workers that share a core compute more slowly.
        slower = max(1.0, min(workers, spec.families_per_step) / cores)
        shared = replace(parts, computing=tuple(slower * own for own in parts.computing))
        expected = simulate(shared, workers, min(spec.families_per_step, len(spec.problems)))
        runs.append({"workers": workers, "seconds": seconds, "simulated_seconds": expected.seconds})
    shown = asdict(parts) | {"computing": statistics.fmean(parts.computing), "computing_longest": max(parts.computing)}
    weights = sum(int(np.size(value)) for value in spec.optimizer.make().init_weights(0).values())
    return {"config": path.name, "weights": weights, "parts": shown, "simulated": rows, "real": runs}


def real_seconds(spec: MetaTraining, workers: int) -> float:
    """The mean seconds of the second half of the meta-steps of a run with so many workers, on this machine."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        cluster = stack.enter_context(opened(Where(workers, threads=1), warn))
        trainer = Trainer.open(spec, Path(folder) / "run", cluster=lambda: cluster)
        records: list[MetaStepRecord] = []
        trainer.run(records.append)
    return statistics.fmean(record.update.seconds for record in records[len(records) // 2 :])


def _echo(version: hosted.Version, request: hosted.FamilyRequest) -> tuple[Any, ...]:
    return tuple(request.weights.values())


def _seconds(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


@contextlib.contextmanager
def _recorded(cluster: Cluster, took: list[float]) -> Iterator[None]:
    """Within it the seconds that workers compute families are added to `took`."""
    ask = cluster.ask

    async def asked(address: str, function: Callable, *arguments: Any, reading: bool = False) -> tuple[Any, float]:
        answer, seconds = await ask(address, function, *arguments, reading=reading)
        if function is hosted.answer and answer is not None:
            took.append(seconds)
        return answer, seconds

    cluster.ask = asked  # type: ignore[method-assign]
    try:
        yield
    finally:
        cluster.ask = ask  # type: ignore[method-assign]
