"""Workers of Dask: who may be asked, what they answer, what becomes of those that are lost, and that nothing is left."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest

from l2o_cli.errors import BadInput, Failure
from l2o_cli.executor import Where
from l2o_cli.executor.cluster import Lost, opened
from l2o_cli.executor.worker import Identity, identity


def left_over(before):
    """The processes that were begun since, and the folders of workers."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        begun = [process for process in psutil.Process().children(recursive=True) if process.pid not in before]
        folders = list(Path(tempfile.gettempdir()).glob(f"l2o-dask-{os.getpid()}-*"))
        found = [process for process in begun if "resource_tracker" not in " ".join(process.cmdline())]
        if not found and not folders:
            return []
        time.sleep(0.1)
    return [*found, *folders]


def test_workers_of_this_machine_answer_are_lost_are_replaced_and_leave_nothing():
    before, warned = {process.pid for process in psutil.Process().children(recursive=True)}, []
    with opened(Where(2), warned.append) as cluster:
        assert len(cluster.workers) == 2
        pids = {address: cluster.do(cluster.ask, address, os.getpid)[0] for address in cluster.workers}
        assert len({*pids.values(), os.getpid()}) == 3
        first, second = pids
        # What is asked of it comes back, errors too, with their traceback.
        assert cluster.do(cluster.ask, first, divmod, 7, 3)[0] == (2, 1)
        with pytest.raises(ZeroDivisionError) as error:
            cluster.do(cluster.ask, first, divmod, 7, 0)
        assert "Traceback" in error.value.__notes__[0]
        # What only reads does not wait for what is computed.
        computing = threading.Thread(target=lambda: cluster.do(cluster.ask, second, time.sleep, 3))
        computing.start()
        assert cluster.do(lambda: cluster.ask(second, os.getpid, reading=True))[0] == pids[second]
        assert computing.is_alive()
        computing.join()
        # One that is killed while it computes is lost at once, and another comes.
        threading.Timer(0.5, os.kill, (pids[first], signal.SIGKILL)).start()
        began = time.monotonic()
        with pytest.raises(Lost):
            cluster.do(cluster.ask, first, time.sleep, 60)
        assert time.monotonic() - began < 30
        assert first not in cluster.workers and cluster.lost == 1
        with pytest.raises(Lost):
            cluster.do(cluster.ask, first, os.getpid)
        deadline = time.monotonic() + 60
        while len(cluster.workers) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert len(cluster.workers) == 2
    assert left_over(before) == []
    assert warned == []


def test_folders_of_processes_that_were_killed_are_removed(tmp_path, monkeypatch):
    from l2o_cli.executor import cluster

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead, alive = tmp_path / f"l2o-dask-{gone.pid}-x", tmp_path / f"l2o-dask-{os.getpid()}-y"
    for folder in (dead, alive, tmp_path / "l2o-dask-other-z"):
        folder.mkdir()
    cluster._scratch()
    assert not dead.exists()
    assert alive.is_dir() and (tmp_path / "l2o-dask-other-z").is_dir()


def test_who_may_be_asked():
    here = identity()
    assert here.unsuitable(here) is None

    def other(**versions):
        return Identity({**here.versions, **versions}, here.processor).unsuitable(here)

    assert other(tensorflow="2.0") == f"it has tensorflow 2.0, not {here.versions['tensorflow']}"
    assert other(l2o="9") == f"it has l2o 9, not {here.versions['l2o']}"
    assert other(code="another").startswith("it has code another, not ")
    assert other(python="3.4.1") == f"it has python 3.4.1, not {here.versions['python']}"
    assert other(python=here.versions["python"].rpartition(".")[0] + ".99") is None
    assert Identity(here.versions, "another processor").unsuitable(here) is None
    strange = Identity(here.versions, here.processor, unlike=("TF_NUM_INTRAOP_THREADS",))
    assert strange.unsuitable(here) == "it has computed with another TF_NUM_INTRAOP_THREADS; restart it"


@pytest.mark.parametrize(
    ("scheduler", "says"),
    [
        ("nothing.json", "^--scheduler nothing.json: there is no such file"),
        ("tcp://127.0.0.1:9", "^--scheduler tcp://127.0.0.1:9: no scheduler answers there"),
        ("nonsense://x", "^--scheduler nonsense://x: no scheduler answers there"),
    ],
)
def test_a_scheduler_that_is_not_there(scheduler, says, monkeypatch):
    from l2o_cli.executor import cluster

    monkeypatch.setattr(cluster, "_CONNECT", 1.0)
    with pytest.raises(BadInput, match=says), opened(Where(1, scheduler), print):
        pass


@contextlib.contextmanager
def dask_cluster(folder, workers, **environment):
    """A scheduler and workers, as a user starts them; yields the scheduler's file and the processes."""
    file = folder / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    begun = [
        subprocess.Popen([*dask, "scheduler", "--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file)], **quiet)
    ]
    worker = [*dask, "worker", "--scheduler-file", str(file), "--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard"]
    worker += ["--local-directory", str(folder)]
    try:
        for _ in range(workers):
            begun.append(subprocess.Popen(worker, env={**os.environ, **environment}, **quiet))
        deadline = time.monotonic() + 60
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        yield file, begun
    finally:
        for process in reversed(begun):
            process.terminate()
        for process in begun:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.mark.slow
def test_a_cluster_that_is_there_is_used_and_left_as_it_was(tmp_path):
    with dask_cluster(tmp_path, 2) as (file, begun):
        for _ in range(2):
            with opened(Where(1, str(file)), print) as cluster:
                while len(cluster.workers) < 2:
                    time.sleep(0.1)
                assert {cluster.do(cluster.ask, address, os.getpid)[0] for address in cluster.workers}.isdisjoint({os.getpid()})
        assert all(process.poll() is None for process in begun)


@pytest.mark.slow
def test_when_the_scheduler_goes_that_is_said(tmp_path, monkeypatch):
    from l2o_cli.executor import cluster as module

    monkeypatch.setattr(module, "_CONNECT", 10.0)
    with dask_cluster(tmp_path, 1) as (file, begun), opened(Where(1, str(file)), print) as cluster:
        for process in begun:
            process.kill()
        with pytest.raises(Lost):
            cluster.do(cluster.ask, next(iter(cluster.workers)), os.getpid, seconds=60)
        with pytest.raises(Failure, match="the scheduler has gone"):
            cluster.do(cluster.arrival, seconds=60)


@pytest.mark.slow
def test_a_worker_that_has_computed_otherwise_is_refused(tmp_path):
    warned = []
    with dask_cluster(tmp_path, 1) as (file, _):
        with opened(Where(1, str(file)), warned.append) as cluster:
            cluster.do(cluster.ask, next(iter(cluster.workers)), __import__, "tensorflow")
        with (
            pytest.MonkeyPatch.context() as patch,
            pytest.raises(Failure, match="no worker that may be asked came within 5 seconds"),
        ):
            patch.setenv("TF_NUM_INTRAOP_THREADS", "7")
            with opened(Where(1, str(file)), warned.append, seconds=5):
                pass
    assert len(warned) == 1
    assert warned[0].endswith("is not asked: it has computed with another TF_NUM_INTRAOP_THREADS; restart it")
