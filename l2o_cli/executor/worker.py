"""What a worker process of Dask does for l2o: it is prepared once, and then it answers calls.

Nothing heavy is imported here: a worker is prepared before TensorFlow is imported in it.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import importlib.util
import os
import pickle
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l2o_cli import devices, errors, keras_settings, runtime, signals

HANDLER = "l2o"  # the name under which a worker answers
_READERS = ThreadPoolExecutor(1, "l2o-readers")  # what is answered while a computation is under way


@dataclass(frozen=True)
class Identity:
    """What a worker is, as far as results depend on it.

    Attributes:
        versions: of l2o and of what it computes with.
        processor: what tells apart processors that round otherwise, or cannot run each other's code.
        unlike: settings that it has computed with, and that are not those wished for.
    """

    versions: Mapping[str, str]
    processor: str
    unlike: tuple[str, ...] = ()
    threads: int = 1

    def unsuitable(self, asking: Identity) -> str | None:
        """Why a process `asking` may not ask this worker; None if it may."""
        for name, version in asking.versions.items():
            other = self.versions.get(name, "none")
            # Of Python the last number does not matter.
            if (other.rpartition(".")[0] != version.rpartition(".")[0]) if name == "python" else other != version:
                return f"it has {name} {other}, not {version}"
        if self.unlike:
            return f"it has computed with another {', '.join(self.unlike)}; restart it"
        return None


@dataclass(frozen=True)
class Wishes:
    """What the process that asks wants of a worker.

    Attributes:
        identity: of that process.
        settings: environment variables that steer the numerics.
        own: whether it is a process on this machine that was started for this command.
        debug: whether everything is kept and shown that helps to find a fault.
    """

    identity: Identity
    settings: Mapping[str, str]
    own: bool = False
    debug: bool = False


def identity(unlike: tuple[str, ...] = (), threads: int = 1) -> Identity:
    """That of this process."""
    known = runtime.environment()
    versions = {name: str(known[name]) for name in ("l2o", "python", "tensorflow", "keras", "numpy")}
    return Identity(versions | {"code": _code()}, runtime.processor(), unlike, threads)


@functools.cache
def _code() -> str:
    """What tells apart two states of l2o that have the same version."""
    found = hashlib.sha256()
    for package in ("l2o_cli", "l2o_problems"):
        spec = importlib.util.find_spec(package)
        place = Path(spec.origin).parent if spec is not None and spec.origin is not None else Path()
        for file in sorted(place.rglob("*.py")):
            found.update(str(file.relative_to(place)).encode() + file.read_bytes())
    return found.hexdigest()[:8]


async def prepare(wishes: Wishes, dask_worker: Any) -> Identity:
    """Make the process of a worker of Dask answer; called by Dask in its event loop."""
    if wishes.own:
        signals.ignore()  # Ctrl-C reaches all processes of a terminal: the one that asks ends this one
        os.dup2(2, 1)  # what a problem of the user's prints
        errors.told_elsewhere = True
        if not wishes.debug:
            runtime.quieten_python()
    unlike: tuple[str, ...] = ()
    if "tensorflow" in sys.modules:
        found = runtime.steering()
        unlike = tuple(sorted(name for name in {*found, *wishes.settings} if found.get(name) != wishes.settings.get(name)))
    else:
        for name in runtime.steering():
            del os.environ[name]
        os.environ.update(wishes.settings)
        if wishes.own:  # one worker a GPU, where there are some
            os.environ.update(devices.worker_environment(int(dask_worker.name)))
        runtime.set_environment(wishes.debug)
    dask_worker.handlers[HANDLER] = functools.wraps(_answer)(functools.partial(_answer, dask_worker))
    return identity(unlike, dask_worker.state.nthreads)


def packed(function: Callable, *arguments: Any) -> bytes:
    """A call, as `outcome` takes it."""
    return pickle.dumps((function, arguments), protocol=5)


async def _answer(worker: Any, call: bytes, reading: bool = False) -> dict[str, Any]:
    """Make a call in a thread of the worker's, or where it only reads in one that is always free."""
    from distributed.protocol import to_serialize

    pool = _READERS if reading else worker.executor
    return {"answer": to_serialize(await asyncio.get_running_loop().run_in_executor(pool, outcome, call))}


def outcome(call: bytes, **more: Any) -> bytes:
    """What a call gives: whether it is an answer, that or an exception, and the seconds that it took.

    Args:
        more: further arguments of its function.
    """
    began = time.perf_counter()
    try:
        keras_settings.undo_defaults()
        function, arguments = pickle.loads(call)
        return pickle.dumps((True, function(*arguments, **more), time.perf_counter() - began), protocol=5)
    except BaseException as error:
        error.add_note("".join(traceback.format_exception(error)))  # as the traceback itself cannot be sent
        try:
            return pickle.dumps((False, error, time.perf_counter() - began), protocol=5)
        except Exception:  # of a library's own, that cannot be pickled
            said = errors.Failure(f"{type(error).__name__}: {error}")
            return pickle.dumps((False, said, time.perf_counter() - began), protocol=5)
