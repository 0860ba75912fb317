"""The runs of several problems in processes of their own, which leave them in the store for this one to find.

Nothing heavy is imported here, so that a worker process is quiet before TensorFlow is there.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Any

from l2o_cli import errors, runtime
from l2o_cli.errors import Failure
from l2o_cli.evaluation.progress import Advance, Stages

if TYPE_CHECKING:
    from l2o_cli.evaluation.request import Request
    from l2o_cli.evaluation.runs.store import RunStore
    from l2o_cli.spec import ComparisonSpec, EvaluationSpec

_POLL = 0.2  # seconds between looks at the processes


class _Relayed(Stages):
    """Stages of a worker process, shown by the one that started it."""

    def __init__(self, messages: Any, worker: str):
        super().__init__(quiet=True)
        self._messages, self._worker, self._count = messages, worker, itertools.count()

    @contextmanager
    def stage(self, text: str, work: float = 0.0) -> Iterator[Advance]:
        key = self._worker, next(self._count)
        self._messages.put(("begin", key, text, work))
        try:
            yield lambda share: self._messages.put(("advance", key, share))
        finally:
            self._messages.put(("end", key))

    def tell(self, text: str) -> None:
        self._messages.put(("tell", text))

    def warn(self, text: str) -> None:
        self._messages.put(("warn", text))


class _Shown:
    """What the worker processes tell, as stages of this one."""

    def __init__(self, stages: Stages):
        self._stages = stages
        self._open: dict[Any, tuple[ExitStack, Advance]] = {}

    def __call__(self, kind: str, *content: Any) -> None:
        if kind == "begin":
            key, text, work = content
            stack = ExitStack()
            self._open[key] = stack, stack.enter_context(self._stages.stage(text, work))
        elif kind == "advance":
            self._open[content[0]][1](content[1])
        elif kind == "end":
            self._open.pop(content[0])[0].close()
        elif kind == "failed":
            raise Failure(f"{content[0]}: {content[1]}")
        else:
            (self._stages.tell if kind == "tell" else self._stages.warn)(content[0])

    def close(self) -> None:
        for stack, _ in self._open.values():
            stack.close()


def make_runs(request: Request, problems: Sequence[str], stages: Stages) -> None:
    """Make the runs of the spec of a request on these problems, each problem in a process, `request.workers` at a time.

    What one setting is chosen for on several problems is run as far as it does not depend on other problems.

    Raises:
        Failure: a process failed; what was finished is in the store.
        Stopped: as by `stages`.
    """
    assert request.store is not None and request.spec is not None
    context = multiprocessing.get_context("spawn")
    messages = context.Queue()
    shown = _Shown(stages)
    waiting, running = list(problems), dict[str, BaseProcess]()
    try:
        while waiting or running:
            while waiting and len(running) < request.workers:
                title = waiting.pop(0)
                arguments = (request.spec, request.store, title, messages, runtime.debugging)
                running[title] = context.Process(target=_work, args=arguments, daemon=True)
                running[title].start()
            _relay(messages, shown)
            for title, process in [(title, one) for title, one in running.items() if not one.is_alive()]:
                _relay(messages, shown)  # what it said at last
                if process.exitcode:
                    raise Failure(f"{title}: its process ended with exit code {process.exitcode}; what it finished is kept")
                del running[title]
            stages.check()
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.join()
        shown.close()


def _relay(messages: Any, shown: _Shown) -> None:
    """Show what has been told; wait a little for the first message."""
    wait = _POLL
    while True:
        try:
            message = messages.get(timeout=wait)
        except Empty:
            return
        shown(*message)
        wait = 0.0


def _work(spec: EvaluationSpec | ComparisonSpec, store: RunStore, title: str, messages: Any, debug: bool) -> None:
    """The target of a worker process: all runs of a spec on one problem."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the first one ends this
    threading.Thread(target=_end_with_parent, daemon=True).start()
    errors.told_elsewhere = True
    runtime.set_environment(debug)
    if not debug:
        runtime.quieten_python()
    try:
        _run(spec, store, title, _Relayed(messages, title))
    except Exception as error:
        if debug:
            raise
        messages.put(("failed", title, " ".join(str(error).split()) or type(error).__name__))
        messages.close()
        messages.join_thread()
        sys.exit(1)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run(spec: EvaluationSpec | ComparisonSpec, store: RunStore, title: str, stages: Stages) -> None:
    from l2o_cli.evaluation.comparison import Comparison, all_labels, comparison_of
    from l2o_cli.evaluation.entries import enter, enter_tuned
    from l2o_cli.evaluation.request import make_problems, request_of
    from l2o_cli.evaluation.tuning.choice import try_settings
    from l2o_cli.spec import ComparisonSpec

    if isinstance(spec, ComparisonSpec):
        comparison = comparison_of(spec, Path(), store=store)
    else:
        comparison = Comparison(request_of(spec, Path(), store=store), [])
    baselines, contenders = all_labels(comparison)
    problem = make_problems(spec.problems)[title]
    for label, contender in contenders.items():
        enter(comparison.request, title, problem, contender, label, stages)
    for label, baseline in baselines.items():
        if baseline.tier.shared:
            try_settings(comparison, baseline.tier, comparison.request.batches(title, problem, baseline.contender, label), stages)
        else:
            enter_tuned(comparison, title, problem, baseline, stages, label=label)
