"""The runs of several problems in processes of their own, which leave them in the store for this one to find.

Nothing heavy is imported here, so that a worker process is quiet before TensorFlow is there.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from queue import Empty, Queue
from typing import IO, TYPE_CHECKING, Any

from l2o_cli import children, errors, keras_settings, runtime, signals
from l2o_cli.errors import Failure
from l2o_cli.stages import Advance, Stages

if TYPE_CHECKING:
    from l2o_cli.runs.store import RunStore
    from l2o_cli.spec import ComparisonSpec, EvaluationSpec

    Spec = EvaluationSpec | ComparisonSpec

_POLL = 0.2  # seconds between looks at the processes


class _Relayed(Stages):
    """Stages of a worker process, shown by the one that started it."""

    def __init__(self, send: Callable[[tuple], object], worker: str):
        super().__init__(quiet=True)
        self._send, self._worker, self._count = send, worker, itertools.count()

    @contextmanager
    def stage(self, text: str, work: float = 0.0) -> Iterator[Advance]:
        key = self._worker, next(self._count)
        self._send(("begin", key, text, work))
        try:
            yield lambda share: self._send(("advance", key, share))
        finally:
            self._send(("end", key))

    def tell(self, text: str) -> None:
        self._send(("tell", text))

    def warn(self, text: str) -> None:
        self._send(("warn", text))


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


class _Worker:
    """A process that makes the runs of one problem; what it tells is put into `messages`."""

    def __init__(self, messages: Queue[tuple], *arguments: Any):
        statement = "from l2o_cli.comparison.workers import work; work()"
        self._process = children.begin(statement, stdout=subprocess.PIPE)
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, which is noticed later
            # In two parts: to unpickle what is asked imports much, and the process is to end with this one by then.
            pickle.dump((pickle.dumps(arguments), runtime.debugging), self._process.stdin)
            self._process.stdin.flush()
        self._listener = threading.Thread(target=_receive, args=(self._process.stdout, messages), daemon=True)
        self._listener.start()

    def exit_code(self) -> int | None:
        """None while it runs; then all that it told has been put."""
        if self._process.poll() is not None:
            self._listener.join()
        return self._process.returncode

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def _receive(source: IO[bytes], messages: Queue[tuple]) -> None:
    # A process that is killed may leave a half of its last message.
    with contextlib.suppress(EOFError, pickle.UnpicklingError), source:
        while True:
            messages.put(pickle.load(source))


def make_runs(spec: Spec, store: RunStore | None, problems: Sequence[str], workers: int, stages: Stages) -> None:
    """Make the runs of a spec on these problems, each problem in a process, `workers` at a time.

    What one setting is chosen for on several problems is run as far as it does not depend on other problems.

    Raises:
        Failure: a process failed; what was finished is in the store.
        Stopped: as by `stages`.
    """
    assert store is not None
    messages: Queue[tuple] = Queue()
    shown = _Shown(stages)
    waiting, running = list(problems), dict[str, _Worker]()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                title = waiting.pop(0)
                running[title] = _Worker(messages, spec, store, title)
            _relay(messages, shown)
            for title, code in [(title, one.exit_code()) for title, one in running.items()]:
                if code is None:
                    continue
                _relay(messages, shown)  # what it said at last
                if code:
                    raise Failure(f"{title}: its process ended with exit code {code}; what it finished is kept")
                del running[title]
            stages.check()
    finally:
        for worker in running.values():
            worker.kill()
        shown.close()


def _relay(messages: Queue[tuple], shown: _Shown) -> None:
    """Show what has been told; wait a little for the first message."""
    wait = _POLL
    while True:
        try:
            message = messages.get(timeout=wait)
        except Empty:
            return
        shown(*message)
        wait = 0.0


def work() -> None:
    """What a worker process does: read what it is asked from its standard input, and tell of it on its standard output."""
    signals.ignore()  # Ctrl-C reaches all processes of a terminal, a signal of a cluster all of a job: the first one ends this
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a problem of the user's prints
    request, debug = pickle.load(sys.stdin.buffer)
    children.end_with_parent()
    errors.told_elsewhere = True
    runtime.set_environment(debug)
    if not debug:
        runtime.quieten_python()
    keras_settings.undo_defaults()

    spec, store, title = pickle.loads(request)
    lock = threading.Lock()  # runs are made by several threads

    def send(message: tuple) -> None:
        with lock:
            pickle.dump(message, answers)
            answers.flush()

    try:
        _run(spec, store, title, _Relayed(send, title))
    except Exception as error:
        if debug:
            raise
        send(("failed", title, " ".join(str(error).split()) or type(error).__name__))
        sys.exit(1)


def _run(spec: Spec, store: RunStore, title: str, stages: Stages) -> None:
    from l2o_cli.comparison.plan import make_plan
    from l2o_cli.comparison.run_cell import run_cell, try_candidates

    for cell in make_plan(spec, store).cells:
        if cell.title == title:
            (try_candidates if cell.shared else run_cell)(cell, stages)
