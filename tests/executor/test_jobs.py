"""Jobs go to workers one at a time each, and what becomes of the workers does not matter to them."""

import collections
import queue
import threading
import time
from contextlib import closing

import distributed
import pytest

from l2o_cli import runtime
from l2o_cli.errors import BadInput, Failure
from l2o_cli.executor import jobs
from l2o_cli.executor.jobs import Job
from l2o_cli.executor.worker import Identity
from l2o_cli.stages import Stages, Stopped

NOW = threading.local()  # the worker that a thread stands for


class Future:
    def __init__(self, key):
        self.key, self.status, self.answer = key, "pending", None

    def done(self):
        return self.status != "pending"

    def result(self, timeout):
        return self.answer


class Client:
    """Stands for Dask's: a job runs in a thread of its own."""

    status = "running"

    def __init__(self):
        self.states, self.given, self.threads = {}, [], []

    def subscribe_topic(self, topic, handler):
        self.handler = handler

    def unsubscribe_topic(self, topic):
        del self.handler

    def submit(self, function, call, topic, *, key, workers, allow_other_workers):
        future, worker = Future(key), Worker(self, key)
        self.given.append(workers[0])
        self.states[key] = collections.namedtuple("Task", "state")("executing")

        def work():
            NOW.worker = worker
            future.answer = function(call, topic)
            future.status = "finished"

        thread = threading.Thread(target=work)
        self.threads.append(thread)
        thread.start()
        return future

    def cancel(self, futures):
        for future in futures:
            del self.states[future.key]


class Worker:
    def __init__(self, client, key):
        self._client, self._key = client, key
        self.state = collections.namedtuple("State", "tasks")(client.states)

    def get_current_task(self):
        return self._key

    def log_event(self, topic, message):
        assert all(isinstance(part, str | float | int) for part in message)
        handler = getattr(self._client, "handler", None)
        if handler is not None:
            handler((0.0, list(message)))


class Cluster:
    def __init__(self, *workers, processor=None):
        self.client = Client()
        self.workers = {address: Identity({}, processor or runtime.processor()) for address in workers}


class Told(Stages):
    """Keeps what it is told."""

    def __init__(self, **options):
        super().__init__(quiet=True, **options)
        self.texts = []

    def tell(self, text):
        self.texts.append(text)

    def warn(self, text):
        self.texts.append(f"warning: {text}")


@pytest.fixture(autouse=True)
def _workers(monkeypatch):
    monkeypatch.setattr(distributed, "get_worker", lambda: NOW.worker)
    monkeypatch.setattr(jobs, "_LOOK", 0.01)
    monkeypatch.setattr(jobs, "_ASK", 0.0)


def done(work, cluster=None, stages=None, **options):
    with closing(jobs.run(work, stages or Told(), cluster, **options)) as ended:
        return {job.title: result for job, result in ended}


def doubled(number, *, stages):
    with stages.stage(f"{number} doubled", 3) as advance:
        advance(1.0)
    stages.tell(f"told {number}")
    stages.warn(f"warned {number}")
    return 2 * number


def failing(*, stages):
    raise BadInput("no such\nthing")


BARRIER = threading.Barrier(2, timeout=20)


def together(*, stages):
    return BARRIER.wait()


LOST = queue.Queue()


def losing(*, stages):
    """The worker that has it goes, as often as is asked for."""
    try:
        LOST.get_nowait()()
    except queue.Empty:
        return "done"
    while True:
        time.sleep(0.01)
        stages.check()


SAVED = []


def saving(*, stages):
    """As `l2o ablate`: it takes a while to end when it is to."""
    try:
        while True:
            time.sleep(0.01)
            stages.check()
    except Stopped:
        time.sleep(0.1)
        SAVED.append("saved")


def test_jobs_give_the_same_here_and_on_workers_and_tell_the_same():
    work = [Job(f"job {number}", doubled, (number,)) for number in range(5)]
    here, there = Told(), Told()
    cluster = Cluster("a", "b")
    assert done(work, stages=here) == done(work, cluster, there) == {f"job {number}": 2 * number for number in range(5)}
    assert sorted(here.texts) == sorted(there.texts) and len(there.texts) == 10
    assert set(cluster.client.given) == {"a", "b"} and not hasattr(cluster.client, "handler")


def test_workers_do_jobs_at_once_one_each():
    cluster = Cluster("a", "b")
    assert sorted(done([Job("one", together), Job("two", together)], cluster).values()) == [0, 1]
    assert cluster.client.given == ["a", "b"]


def test_stages_are_shown_by_the_process_that_asked():
    shown = []

    class Shown(Told):
        def stage(self, text, work=0.0):
            shown.append((text, work))
            return super().stage(text, work)

    done([Job("a job", doubled, (1,))], Cluster("a"), Shown())
    assert shown == [("1 doubled", 3.0)]


def test_a_job_that_fails_is_named_in_one_line():
    with pytest.raises(Failure, match=r"^a job: no such thing$"):
        done([Job("a job", failing)], Cluster("a"))
    with pytest.raises(BadInput):
        done([Job("a job", failing)])


def test_a_job_whose_worker_is_lost_goes_to_another():
    cluster = Cluster("a", "b")
    LOST.put(lambda: cluster.workers.pop("a"))
    assert done([Job("a job", losing)], cluster) == {"a job": "done"}
    assert cluster.client.given == ["a", "b"]


def test_a_job_that_every_worker_dies_of_is_given_up():
    cluster = Cluster("a")
    known = cluster.workers["a"]

    def lose():
        del cluster.workers["a"]
        threading.Timer(0.1, cluster.workers.__setitem__, ("a", known)).start()  # as a nanny begins another

    for _ in range(5):
        LOST.put(lose)
    with pytest.raises(Failure, match="a job: 5 workers were lost while they did it; it may need more memory"):
        done([Job("a job", losing)], cluster)
    assert cluster.client.given == ["a"] * 5


def test_other_processors_make_no_runs():
    with pytest.raises(Failure, match="no worker has the processor of this machine"):
        done([Job("a job", doubled, (1,))], Cluster("a", processor="another"))


def test_jobs_end_when_they_are_to_stop_and_may_save_first():
    cluster, began = Cluster("a", "b"), time.monotonic()
    with pytest.raises(Stopped):
        done([Job("one", saving), Job("two", saving)], cluster, Told(until=began + 0.3), patience=20.0)
    assert SAVED == ["saved", "saved"] and time.monotonic() - began < 10
    with pytest.raises(Stopped):  # without patience
        done([Job("one", saving)], cluster, Told(until=0.0))
    for thread in cluster.client.threads:
        thread.join(10)
        assert not thread.is_alive()
