"""Signals: what stops a command, what has it save, and that both are answered within seconds.

Python runs a handler only between two of its own instructions in the main thread, and a compilation keeps that thread in native
code for minutes. So a thread listens as well, which the system tells of each signal at once.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

STOP = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
SAVE = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name))
PATIENCE = 3.0  # seconds that the main thread has to take notice of a signal that stops
ECHO = 1.0  # seconds within which further signals are part of the same request: some tools send each twice


class Interrupted(KeyboardInterrupt):
    """The work was asked to stop; what there is of it is saved."""


class StopOnSignal:
    """While active, a signal that stops sets a flag that the run asks for, and one that saves has it saved; then it goes on.

    A second one that stops interrupts at once. Where the main thread takes no notice of the first, since native code or a long
    step keeps it, the process saves and ends without it. What is saved is then for `save` to say; it is called in another thread.

    Args:
        save: leaves everything so that it can be gone on with; says in a few words what there is now.
        how: how to go on with what was stopped.

    `code` is the exit code that shells expect of a process ended by that signal (130 or 143).
    """

    def __init__(self, save: Callable[[], str] = lambda: "what is finished is kept", how: str = ""):
        self.save, self.how = save, how
        self._number: int | None = None
        self._undo: Callable[[], None] | None = None

    def __enter__(self) -> StopOnSignal:
        self._undo = _process.install()
        _process.listen()
        _process.run = self
        return self

    def __exit__(self, *exception: object) -> None:
        _process.run, self._number = None, _process.received
        _process.noticed = self._number is not None
        if self._undo is not None:
            self._undo()

    def __call__(self) -> bool:
        """Whether to stop. Asked in the main thread it means that the run now ends by itself."""
        if _process.received is None:
            return False
        if threading.current_thread() is threading.main_thread():
            _process.noticed = True
        return True

    @property
    def code(self) -> int:
        return 128 + (self._number or _process.received or signal.SIGINT)


class _Process:
    """What this process knows of its signals."""

    def __init__(self) -> None:
        self.run: StopOnSignal | None = None
        self.received: int | None = None  # the first signal that stops
        self.interrupted = False  # whether the main thread was interrupted at once
        self.noticed = False  # whether the main thread is at ending by itself
        self.child = False  # whether another process of ours repeats to this one what it receives
        self._handled: float | None = None  # when the main thread heard of it
        self._sockets: tuple[socket.socket, socket.socket] | None = None
        self._listening = False
        self.endings: list[Callable[[], object]] = []

    def install(self) -> Callable[[], None] | None:
        """Answer signals from now on, with an exit code of 128 and the signal's number; to be called before all that takes long.

        Returns:
            What undoes it; None if they were answered before.
        """
        if self._sockets is not None:
            return None
        self._sockets = socket.socketpair()
        for end in self._sockets:
            end.setblocking(False)
        wakeup = signal.set_wakeup_fd(self._sockets[1].fileno(), warn_on_full_buffer=False)
        # What was ignored when this process began stays so: it is in the background of a script, or under nohup.
        former = {number: signal.getsignal(number) for number in (*STOP, *SAVE)}
        handled = [number for number, handler in former.items() if handler is not signal.SIG_IGN]
        for number in handled:
            signal.signal(number, self._handle)
        _unblock()

        def undo() -> None:
            for number in handled:
                signal.signal(number, former[number])
            signal.set_wakeup_fd(wakeup)
            if self._sockets is not None:
                self._sockets[1].close()  # which ends the thread
            self._sockets, self._listening = None, False
            self.received, self.interrupted, self.noticed, self._handled = None, False, False, None

        return undo

    def listen(self) -> None:
        """Answer them also while native code keeps the main thread, if they are answered at all.

        Apart from `install`, since a process that is going to fork should have no threads.
        """
        if self._sockets is not None and not self._listening:
            self._listening = True
            threading.Thread(target=self._listen, args=(self._sockets[0],), daemon=True, name="signals").start()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """In the main thread."""
        if number in SAVE:
            return
        self._take(number)
        now, self._handled = time.monotonic(), self._handled or time.monotonic()
        again = not self.child and now - self._handled > ECHO
        if again or self.run is None:
            self.interrupted = True
            raise KeyboardInterrupt

    def _take(self, number: int) -> None:
        self.received = self.received or number
        if number == getattr(signal, "SIGHUP", None):
            _leave_terminal()

    def _listen(self, source: socket.socket) -> None:
        ends_at: float | None = None
        while True:
            wait = None if ends_at is None else max(0.0, ends_at - time.monotonic())
            if select.select([source], [], [], wait)[0]:
                numbers = source.recv(64)
                if not numbers:
                    source.close()
                    return
                for number in numbers:
                    if number in STOP:
                        self._take(number)
                        ends_at = ends_at or time.monotonic() + PATIENCE
                if any(number in SAVE for number in numbers) and (run := self.run) is not None:
                    _say(f"{_outcome(run)}; going on")
            if ends_at is not None and time.monotonic() >= ends_at:
                ends_at = None
                if not self.noticed:
                    self._end()
                _say("stopping")

    def _end(self) -> None:
        run = self.run
        if run is not None:
            _say("; ".join(filter(None, (_outcome(run), run.how))))
        for ending in self.endings:
            with contextlib.suppress(Exception):
                ending()
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(128 + (self.received or 0))


_process = _Process()


install, listen = _process.install, _process.listen


def exit_code() -> int | None:
    """That of a process that a signal has stopped; None if there was none."""
    return None if _process.received is None else 128 + _process.received


def at_end(ending: Callable[[], object]) -> None:
    """Have this called where a signal ends the process without the main thread, which otherwise cleans up."""
    _process.endings.append(ending)


def interrupting() -> bool:
    """Whether `KeyboardInterrupt` was raised, which what it is raised in may turn into another exception."""
    return _process.interrupted


def of_a_child() -> None:
    """Take further signals for echoes of the first: the system may have sent it to this process, and the parent passes it on."""
    _process.child = True


def ignore() -> None:
    """Leave it to the parent to end this process."""
    for number in (*STOP, *SAVE):
        signal.signal(number, signal.SIG_IGN)
    _unblock()


def heed() -> None:
    """Answer what the process that began this one ignores."""
    for number in (*STOP, *SAVE):
        signal.signal(number, signal.SIG_DFL)


def hold() -> None:
    """Have signals wait from now on in processes that this thread begins, until those say what they do with them."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {*STOP, *SAVE})


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Within it signals wait, here and in a process that is begun within it, until that says what it does with them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*STOP, *SAVE})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _unblock() -> None:
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {*STOP, *SAVE})


def _outcome(run: StopOnSignal) -> str:
    try:
        return run.save()
    except Exception as error:
        return f"error: {' '.join(str(error).split()) or type(error).__name__}"


def _say(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        # Over a bar that is drawn there, which also hides the cursor.
        begin = "\r\x1b[2K\x1b[?25h" if sys.stderr.isatty() else ""
        print(f"{begin}{line}", file=sys.stderr, flush=True)


def _leave_terminal() -> None:
    """The terminal is gone; writing to it would fail before what matters is saved."""
    for stream in (1, 2, sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            descriptor = stream if isinstance(stream, int) else stream.fileno()
            if os.isatty(descriptor):
                os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
