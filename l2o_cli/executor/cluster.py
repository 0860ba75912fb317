"""A Dask cluster whose workers this process may ask: one that is there, or one that is begun on this machine."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import pickle
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from l2o_cli import runtime, signals
from l2o_cli.errors import BadInput, Failure
from l2o_cli.executor import Where
from l2o_cli.executor.worker import HANDLER, Identity, Wishes, identity, packed, prepare

Result = TypeVar("Result")

_CONNECT = 20.0  # seconds that a scheduler has to answer
_QUIET = "ignore::UserWarning:multiprocessing.resource_tracker"
_TRIES = 5  # to reach a worker that has come
_LONG = 30.0  # seconds without a worker, of which it is told
_LOOK = 1.0  # seconds between two looks at whether the scheduler is still there
_BEGIN = 120.0  # seconds that the first worker of this machine has to begin
_SILENT = logging.CRITICAL + 1  # what Dask would say of workers that come and go is said here in one line
# What Dask would set for its workers steers the numerics, and what they hold is no result that it could write to a disk.
_OWN = {
    "distributed.nanny.pre-spawn-environ": {},
    **{f"distributed.worker.memory.{name}": False for name in ("target", "spill", "pause")},
}
_SCRATCH = "l2o-dask-"  # beginning of the names of temporary folders of workers, then the process that they are of


class Lost(Exception):
    """A worker has gone before it answered."""


class Cluster:
    """The workers that are there at the moment. Coroutines run in the loop of Dask's client, which is a thread of its own.

    Attributes:
        workers: those that may be asked, by address.
        lost: how many went.
        client: Dask's.
    """

    def __init__(self, client: Any, wishes: Wishes, warn: Callable[[str], object]):
        self.client, self._wishes, self._warn = client, wishes, warn
        self.workers: dict[str, Identity] = {}
        self.lost = 0
        self._gone: dict[str, asyncio.Event] = {}
        self._news = asyncio.Event()  # of workers that came
        self._tasks: set[asyncio.Task[None]] = set()
        self._said: set[str] = set()
        self._away: set[str] = set()  # the addresses of workers that went

    @property
    def dashboard(self) -> str | None:
        """The address of a page that shows the workers."""
        link: str | None = self.client.dashboard_link
        with contextlib.suppress(ImportError):
            import bokeh  # noqa: F401

            return link
        return link and link.replace("/status", "/info/main/workers.html")  # without it Dask draws no pictures

    def do(self, coroutine: Callable[..., Awaitable[Result]], *arguments: Any, seconds: float | None = None) -> Result:
        """What a coroutine function returns, from any thread; TimeoutError after so many seconds."""
        return self.client.sync(coroutine, *arguments, callback_timeout=seconds)

    async def begin(self) -> None:
        """Greet the workers that are there, and those that come from now on."""
        self.client.subscribe_topic("all", self._hear)
        known = await self.client.scheduler.identity(n_workers=-1)
        await asyncio.gather(*(self._greet(address) for address in known["workers"]))

    async def arrival(self) -> None:
        """Until there is a worker that may be asked; Failure if the scheduler has gone."""
        began = time.monotonic()
        while not self.workers:
            if time.monotonic() - began > _LONG:
                self._say("waiting", "waiting for a worker: none is left")
            if self.client.status not in ("running", "connecting"):
                raise Failure("the scheduler has gone")
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), _LOOK)

    async def ask(self, address: str, function: Callable, *arguments: Any, reading: bool = False) -> tuple[Any, float]:
        """What a function returns on a worker, and the seconds that it took there.

        Args:
            function: one that can be imported there.
            reading: it only reads, and is not to wait for what the worker computes.

        Raises:
            Lost: the worker has gone.
            Exception: what the function raises.
        """
        gone = self._gone.get(address)
        if gone is None:
            raise Lost(address)
        asked = asyncio.ensure_future(self._send(address, packed(function, *arguments), reading))
        end = asyncio.ensure_future(gone.wait())
        try:
            await asyncio.wait((asked, end), return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                raise Lost(address)
            good, content, seconds = pickle.loads(asked.result())
        except OSError:  # Dask's error of a connection that is closed is one
            self._part(address)
            raise Lost(address) from None
        finally:
            asked.cancel()
            end.cancel()
        if not good:
            raise content
        return content, seconds

    async def _send(self, address: str, call: bytes, reading: bool) -> bytes:
        async with self.client.rpc(address) as worker:
            response = await getattr(worker, HANDLER)(call=call, reading=reading)
        answer: bytes = response["answer"]
        return answer

    async def _hear(self, event: tuple[float, Any]) -> None:
        _, news = event
        if not isinstance(news, dict):
            return
        if news.get("action") == "add-worker":
            task = asyncio.ensure_future(self._greet(news["worker"]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif news.get("action") == "remove-worker":
            self._away.add(news["worker"])
            self._part(news["worker"])

    async def _greet(self, address: str, tries: int = _TRIES) -> None:
        """Prepare a worker, and have it among those that may be asked, unless it is unlike this process."""
        try:
            found = await self._prepared(address)
            reason = found.unsuitable(self._wishes.identity)
        except OSError as error:  # it has gone already, or is too busy to answer
            if tries > 1:
                await asyncio.sleep(_LOOK)
                return await self._greet(address, tries - 1)
            reason = f"it does not answer: {error}"
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
        if reason is not None and address not in self._away:
            self._say(address, f"the worker {address} is not asked: {reason}")
        if reason is not None or address in self._away or address in self.workers:
            return
        if found.processor != self._wishes.identity.processor:
            self._say("processor", f"the worker {address} has another processor than this machine, and may round otherwise")
        self._gone[address] = asyncio.Event()
        self.workers[address] = found
        self._news.set()

    async def _prepared(self, address: str) -> Identity:
        from distributed.protocol.pickle import dumps

        async with self.client.rpc(address) as worker:
            response = await worker.run(function=dumps(prepare), kwargs=dumps({"wishes": self._wishes}))
        if response["status"] != "OK":
            error = response["exception"]
            raise pickle.loads(error) if isinstance(error, bytes) else error
        found: Identity = response["result"]
        return found

    def _part(self, address: str) -> None:
        if self.workers.pop(address, None) is not None:
            self.lost += 1
            self._gone.pop(address).set()

    def _say(self, about: str, line: str) -> None:
        if about not in self._said:
            self._said.add(about)
            self._warn(line)


@contextlib.contextmanager
def opened(where: Where, warn: Callable[[str], object], seconds: float = _BEGIN) -> Iterator[Cluster]:
    """The cluster that `where` means; what is begun for it ends afterwards.

    Args:
        warn: takes in what is to be known of workers.
        seconds: how long the first worker may take.

    Raises:
        BadInput: there is no such scheduler.
        Failure: there is no worker that may be asked.
    """
    import dask
    from distributed import Client

    if not runtime.debugging:
        for name in ("distributed", "tornado", "asyncio"):
            logging.getLogger(name).setLevel(_SILENT)
        warnings.filterwarnings("ignore", module=r"(distributed|dask|tornado)\b")
    wishes = Wishes(identity(), runtime.steering(), own=where.scheduler is None, debug=runtime.debugging)
    with contextlib.ExitStack() as stack:
        if where.scheduler is None:
            stack.enter_context(dask.config.set(_OWN))
            client = stack.enter_context(_begun(where.workers, where.threads))
        else:
            client = stack.enter_context(contextlib.closing(_connected(Client, where.scheduler)))
        cluster = Cluster(client, wishes, warn)
        cluster.do(cluster.begin)
        try:
            cluster.do(cluster.arrival, seconds=seconds)
        except TimeoutError:
            raise Failure(f"no worker that may be asked came within {seconds:.0f} seconds") from None
        try:
            yield cluster
        finally:
            if client.status == "running":
                client.unsubscribe_topic("all")


def _connected(kind: Any, scheduler: str) -> Any:
    """Dask's client of a scheduler, with Dask's own settings of TLS."""
    file = Path(scheduler)
    is_file = "://" not in scheduler and file.suffix == ".json"
    how: dict[str, Any] = {"scheduler_file": str(file)} if is_file else {"address": scheduler}
    if is_file and not file.is_file():
        raise BadInput(f"--scheduler {scheduler}: there is no such file")
    try:
        return kind(**how, timeout=_CONNECT, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise BadInput(f"--scheduler {scheduler}: no scheduler answers there: {error}") from None


@contextlib.contextmanager
def _begun(workers: int, threads: int | None) -> Iterator[Any]:
    """Dask's client of a cluster on this machine, which nothing but this machine reaches."""
    from dask.system import CPU_COUNT
    from distributed import Client, LocalCluster
    from distributed.system import MEMORY_LIMIT

    scratch = _scratch()
    # Where a signal ends this process at once, Python's own helper would complain of what it then cleans up.
    if _QUIET not in sys.warnoptions:
        sys.warnoptions.append(_QUIET)
    try:
        cluster = LocalCluster(
            n_workers=0,
            threads_per_worker=threads or max(1, CPU_COUNT // workers),
            memory_limit=MEMORY_LIMIT // workers,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            local_directory=str(scratch),
            silence_logs=False if runtime.debugging else _SILENT,
        )
    except (OSError, RuntimeError) as error:
        raise Failure(f"--workers {workers}: Dask could not begin: {error}") from None
    try:
        cluster.sync(_hold_signals)
        cluster.scale(workers)
        with Client(cluster, set_as_default=False) as client:
            yield client
    finally:
        for nanny in cluster.workers.values():  # what they compute is wanted no more, and they would end it first
            nanny.auto_restart = False
            with contextlib.suppress(OSError, AttributeError, TypeError):
                os.kill(nanny.pid, signal.SIGKILL)
        cluster.close(timeout=5)
        shutil.rmtree(scratch, ignore_errors=True)


async def _hold_signals() -> None:
    """Have signals wait in the workers that this thread begins, until they are prepared, and ignore them."""
    signals.hold()


def _scratch() -> Path:
    """A temporary folder for workers, removed however this process ends; what killed ones have left is removed now."""
    place = Path(tempfile.gettempdir())
    for left in place.glob(f"{_SCRATCH}*-*"):
        owner = left.name.removeprefix(_SCRATCH).partition("-")[0]
        if owner.isdecimal() and not Path(f"/proc/{owner}").exists() and Path("/proc/self").exists():
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{_SCRATCH}{os.getpid()}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    signals.at_end(lambda: shutil.rmtree(folder, ignore_errors=True))
    return folder
