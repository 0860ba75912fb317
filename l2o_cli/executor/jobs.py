"""Independent jobs: here one after the other, or on the workers of a cluster, one on each of them at a time.

A job is a function that can be imported. It is called with its arguments and `stages`, by which it shows what it does, and asks
whether it is to end. One whose worker is lost goes to another.
"""

from __future__ import annotations

import itertools
import pickle
import queue
import time
import uuid
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from l2o_cli import runtime
from l2o_cli.errors import Failure
from l2o_cli.executor.cluster import Cluster
from l2o_cli.executor.worker import outcome, packed
from l2o_cli.stages import Advance, Stages, Stopped

_LOOK = 0.2  # seconds between two looks at what became of jobs
_ASK = 0.5  # seconds between two looks at whether a job is still wanted
_TELL = 0.1  # seconds between two words of how far a stage is
_FETCH = 30.0  # seconds that a worker has to hand over what a job gave
_TRIES = 5  # workers that may be lost, one after the other, while they do one job


Ended = Generator[tuple["Job", Any], None, None]


@dataclass(frozen=True)
class Job:
    """A function with its arguments, and what it is about."""

    title: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()


def run(jobs: Sequence[Job], stages: Stages, cluster: Cluster | None = None, patience: float = 0.0) -> Ended:
    """The jobs, each with what it gives, as they end. To be closed: then what is under way ends.

    Args:
        cluster: whose workers do them; None: this process does, one after the other.
        patience: seconds that jobs on workers have to end by themselves when they are to end.

    Raises:
        Failure: a job failed on a worker, or its workers were lost; the message names it.
        Stopped: by `stages`.
    """
    if cluster is None:
        for job in jobs:
            yield job, job.function(*job.arguments, stages=stages)
    else:
        yield from _OnWorkers(stages, cluster).run(jobs, patience)


def scratch() -> str | None:
    """The folder for temporary files of a job: on a worker that of the worker, which goes when it ends; None: any."""
    from distributed import get_worker

    with suppress(ValueError):
        folder: str = get_worker().local_directory
        return folder
    return None


class _OnWorkers:
    """Jobs under way on workers, and what these tell."""

    def __init__(self, stages: Stages, cluster: Cluster):
        self._stages, self._cluster, self._client = stages, cluster, cluster.client
        self._topic = f"l2o-{uuid.uuid4().hex}"
        self._news: queue.Queue[Sequence[Any]] = queue.Queue()
        self._shown = _Shown(stages)
        self._busy: dict[str, tuple[Job, Any]] = {}  # address of a worker: its job, Dask's future of it
        self._losses: Counter[str] = Counter()

    def run(self, jobs: Sequence[Job], patience: float) -> Ended:
        waiting = list(jobs)
        self._client.subscribe_topic(self._topic, lambda event: self._news.put(event[1]))
        try:
            while waiting or self._busy:
                for address in self._idle()[: len(waiting)]:
                    self._give(waiting.pop(0), address)
                self._hear(_LOOK)
                for address, (job, future) in list(self._busy.items()):
                    lost = address not in self._cluster.workers
                    if not (lost or future.done()):
                        continue
                    del self._busy[address]
                    good, content = (False, None) if lost else self._fetched(future)
                    self._hear(0.0)  # what it said at last
                    self._shown.forget(future.key)
                    if content is None:
                        waiting.insert(0, self._lost(job, future))
                    elif good:
                        yield job, content[0]
                    else:
                        raise Failure(f"{job.title}: {_line(content)}") from content
                self._stages.check()
        finally:
            self._end(patience)

    def _idle(self) -> list[str]:
        """The workers that have no job, of those that make the same runs as this process."""
        there = dict(self._cluster.workers)
        alike = [address for address, found in there.items() if found.processor == runtime.processor()]
        if there and not alike and not self._busy:
            raise Failure("no worker has the processor of this machine, so none would make the same runs")
        return [address for address in alike if address not in self._busy]

    def _give(self, job: Job, address: str) -> None:
        call = packed(job.function, *job.arguments)
        how = {"key": f"l2o-job-{uuid.uuid4().hex}", "workers": [address], "allow_other_workers": False}
        self._busy[address] = job, self._client.submit(_do, call, self._topic, **how)

    def _fetched(self, future: Any) -> tuple[bool, Any]:
        """Whether a job did not fail, and what it gave, in a tuple, or its exception; None where nothing could be had of it."""
        with suppress(Exception):  # whatever Dask makes of it
            if future.status == "finished":
                good, content, _ = pickle.loads(future.result(timeout=_FETCH))
                if not isinstance(content, Stopped):
                    return good, (content,) if good else content
        return False, None

    def _lost(self, job: Job, future: Any) -> Job:
        if self._client.status != "running":
            raise Failure(f"{job.title}: the scheduler does not answer any more")
        self._client.cancel([future])
        self._losses[job.title] += 1
        if self._losses[job.title] == _TRIES:
            raise Failure(f"{job.title}: {_TRIES} workers were lost while they did it; it may need more memory than they have")
        return job

    def _hear(self, seconds: float) -> None:
        """Show what has been told; wait so long for the first word."""
        with suppress(queue.Empty):
            while True:
                self._shown(*self._news.get(timeout=seconds))
                seconds = 0.0

    def _end(self, patience: float) -> None:
        ends = time.monotonic() + patience
        if self._client.status == "running":
            self._client.cancel([future for _, future in self._busy.values()])
            while self._shown.working and time.monotonic() < ends:
                with suppress(queue.Empty):
                    kind, key, *_ = self._news.get(timeout=_LOOK)
                    if kind == "ended":
                        self._shown.working.discard(key)
            self._client.unsubscribe_topic(self._topic)
        self._shown.close()


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _do(call: bytes, topic: str) -> bytes:
    """On a worker, in a thread of its own."""
    from distributed import get_worker

    stages = _Relayed(get_worker(), topic)
    stages.send("began")
    try:
        return outcome(call, stages=stages)
    finally:
        stages.send("ended")


class _Relayed(Stages):
    """Stages of a job on a worker, shown by the process that asked for it."""

    def __init__(self, worker: Any, topic: str):
        super().__init__(quiet=True)
        self._worker, self._topic, self._key = worker, topic, worker.get_current_task()
        self._count, self._asked = itertools.count(), time.monotonic()

    @contextmanager
    def stage(self, text: str, work: float = 0.0) -> Iterator[Advance]:
        self.check()
        number, untold, told = next(self._count), 0.0, time.monotonic()
        self.send("stage", number, text, float(work))

        def advance(share: float) -> None:
            nonlocal untold, told
            untold += float(share)
            if time.monotonic() - told > _TELL:
                self.send("advance", number, untold)
                untold, told = 0.0, time.monotonic()
            self.check()

        try:
            yield advance
        finally:
            self.send("advance", number, untold)
            self.send("done", number)

    def check(self) -> None:
        """Stopped, if nobody wants the job any more: who asked for it stopped or has gone."""
        if time.monotonic() - self._asked < _ASK:
            return
        self._asked = time.monotonic()
        task = self._worker.state.tasks.get(self._key)
        if task is None or task.state == "cancelled":
            raise Stopped

    def tell(self, text: str) -> None:
        self.send("tell", text)

    def warn(self, text: str) -> None:
        self.send("warn", text)

    def send(self, kind: str, *content: Any) -> None:
        self._worker.log_event(self._topic, (kind, self._key, *content))


class _Shown:
    """What jobs on workers tell, as stages of this process.

    Attributes:
        working: the keys of the jobs that have begun, and not ended.
    """

    def __init__(self, stages: Stages):
        self._stages = stages
        self._open: dict[str, dict[int, tuple[ExitStack, Advance]]] = {}
        self.working: set[str] = set()

    def __call__(self, kind: str, key: str, *content: Any) -> None:
        if kind == "tell":
            self._stages.tell(*content)
        elif kind == "warn":
            self._stages.warn(*content)
        elif kind == "began":
            self.working.add(key)
            self._open[key] = {}
        elif kind == "ended":
            self.forget(key)
        elif key in self._open:
            self._show(kind, self._open[key], *content)

    def _show(self, kind: str, opened: dict[int, tuple[ExitStack, Advance]], number: int, *content: Any) -> None:
        if kind == "stage":
            stack = ExitStack()
            opened[number] = stack, stack.enter_context(self._stages.stage(*content))
        elif kind == "advance":
            opened[number][1](*content)
        else:
            opened.pop(number)[0].close()

    def forget(self, key: str) -> None:
        """A job has ended, or is lost."""
        self.working.discard(key)
        for stack, _ in self._open.pop(key, {}).values():
            stack.close()

    def close(self) -> None:
        for key in list(self._open):
            self.forget(key)
