"""Independent jobs: here one after the other, or on the workers of a cluster, as many at once as these have room for.

Dask gives them to workers, and gives those of a lost worker to another. A job is a function that can be imported; it is called
with its arguments and `stages`, by which it shows what it does, and asks whether it is to end.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from l2o_cli.errors import Failure
from l2o_cli.executor.cluster import Cluster
from l2o_cli.executor.worker import HANDLER
from l2o_cli.stages import Advance, Stages, Stopped

_LOOK = 0.2  # seconds between two looks at whether to stop
_ASK = 1.0  # seconds between two looks at whether a job is still wanted


@dataclass(frozen=True)
class Job:
    """A function with its arguments, and what it is about."""

    title: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


def run(jobs: Sequence[Job], stages: Stages, cluster: Cluster | None = None) -> Iterator[tuple[Job, Any]]:
    """The jobs, each with what it gives, as they end.

    Args:
        cluster: whose workers do them; None: this process does, one after the other.

    Raises:
        Failure: a job failed on a worker; the message names it.
        Stopped: by `stages`.
    """
    if cluster is None:
        for job in jobs:
            yield job, job.function(*job.arguments, stages=stages)
    else:
        yield from _on_workers(jobs, stages, cluster)


def _on_workers(jobs: Sequence[Job], stages: Stages, cluster: Cluster) -> Iterator[tuple[Job, Any]]:
    client, topic = cluster.client, f"l2o-{uuid.uuid4().hex}"
    news: queue.Queue[tuple[Any, ...]] = queue.Queue()
    shown = _Shown(stages)
    client.subscribe_topic(topic, lambda event: news.put(event[1]))
    waiting: dict[Any, Job] = {}
    try:
        for job in jobs:
            how = {"pure": False, "key": f"{job.title}-{uuid.uuid4().hex}", "resources": {HANDLER: 1}}
            future = client.submit(_do, job.function, job.arguments, topic, **how)
            waiting[future] = job
            future.add_done_callback(lambda future: news.put(("done", future)))
        while waiting:
            with contextlib.suppress(queue.Empty):
                kind, *content = news.get(timeout=_LOOK)
                if kind == "done":
                    job = waiting.pop(content[0])
                    yield job, _result(job, content[0])
                else:
                    shown(kind, *content)
            stages.check()
    finally:
        client.cancel(list(waiting))
        client.unsubscribe_topic(topic)
        shown.close()


def _result(job: Job, future: Any) -> Any:
    try:
        return future.result()
    except Stopped:
        raise
    except Exception as error:
        raise Failure(f"{job.title}: {' '.join(str(error).split()) or type(error).__name__}") from None


def _do(function: Callable[..., Any], arguments: tuple[Any, ...], topic: str) -> Any:
    """On a worker, in a thread of its own."""
    from distributed import get_worker

    return function(*arguments, stages=_Relayed(get_worker(), topic))


class _Relayed(Stages):
    """Stages of a job on a worker, shown by the process that asked for it."""

    def __init__(self, worker: Any, topic: str):
        super().__init__(quiet=True)
        self._worker, self._topic, self._key = worker, topic, worker.get_current_task()
        self._count, self._asked = itertools.count(), time.monotonic()

    @contextmanager
    def stage(self, text: str, work: float = 0.0) -> Iterator[Advance]:
        self.check()
        key = self._key, next(self._count)
        self._send("begin", key, text, work)

        def advance(share: float) -> None:
            self._send("advance", key, share)
            self.check()

        try:
            yield advance
        finally:
            self._send("end", key)

    def check(self) -> None:
        """Stopped, if nobody wants the job any more: who asked for it has gone."""
        if time.monotonic() - self._asked < _ASK:
            return
        self._asked = time.monotonic()
        task = self._worker.state.tasks.get(self._key)
        if task is None or task.state == "cancelled":
            raise Stopped

    def tell(self, text: str) -> None:
        self._send("tell", text)

    def warn(self, text: str) -> None:
        self._send("warn", text)

    def _send(self, *news: Any) -> None:
        self._worker.loop.add_callback(self._worker.log_event, self._topic, news)


class _Shown:
    """What jobs on workers tell, as stages of this process."""

    def __init__(self, stages: Stages):
        self._stages = stages
        self._open: dict[Any, tuple[ExitStack, Advance]] = {}

    def __call__(self, kind: str, *content: Any) -> None:
        if kind == "begin":
            key, text, work = content
            stack = ExitStack()
            self._open[_hashable(key)] = stack, stack.enter_context(self._stages.stage(text, work))
        elif kind == "advance":
            self._open[_hashable(content[0])][1](content[1])
        elif kind == "end":
            self._open.pop(_hashable(content[0]))[0].close()
        else:
            (self._stages.tell if kind == "tell" else self._stages.warn)(content[0])

    def close(self) -> None:
        for stack, _ in self._open.values():
            stack.close()


def _hashable(key: Any) -> tuple[Any, ...]:
    """Dask sends tuples as lists."""
    return tuple(key)
