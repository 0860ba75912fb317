"""A run whose families are on workers has the bits of a run in one process, whatever becomes of the workers."""

import asyncio
import csv
import pickle
import threading
from collections import OrderedDict

import numpy as np
import pytest
from l2o_problems.data import DataMissing

from l2o_cli.errors import BadInput, Failure
from l2o_cli.executor.cluster import Lost
from l2o_cli.executor.worker import Identity
from l2o_cli.export.artifact import load_artifact
from l2o_cli.meta import hosted
from l2o_cli.meta.families import Families
from l2o_cli.meta.run_tables import read_run
from l2o_cli.meta.trainer import Interrupted, Trainer
from l2o_cli.reports.meta_training.page import page
from l2o_cli.spec import MetaTraining
from l2o_cli.spec.meta_training import Executor

SPEC = MetaTraining.model_validate(
    {
        "meta_steps": 14,
        "optimizer": {"name": "learned_adam"},
        "problems": [
            {"name": "quadratic", "options": {"dimension": 3}},
            {"name": "rosenbrock", "transforms": [{"name": "gradient_noise", "options": {"deviation": 0.1}}]},
            {"name": "quadratic", "options": {"dimension": 2}},
        ],
        "estimator": {"name": "pes"},
        "families_per_step": 2,
        "instances": 3,
        "truncation": {"distribution": "uniform", "minimum": 2, "maximum": 4},
        "horizon": {"distribution": "uniform", "minimum": 3, "maximum": 12},
        "validation": {"problems": ["quadratic", "rosenbrock"], "every": 4, "steps": 5, "instances": 2},
        "checkpoint_every": 5,
    }
)


class Workers:
    """Stands for a cluster: each worker is a set of runs that it holds, in this process.

    Args:
        kill: asked before and after each call, with the address; whether the worker is lost then.
    """

    def __init__(self, monkeypatch, count=2, kill=lambda address: False, threads=1):
        self._monkeypatch, self._kill, self._threads = monkeypatch, kill, threads
        self._loop = asyncio.new_event_loop()
        self._begun, self.lost, self.calls = 0, 0, []
        self.workers, self._held = {}, {}
        for _ in range(count):
            self.begin()

    def begin(self):
        self._begun += 1
        address = f"worker-{self._begun}"
        self.workers[address] = Identity({}, "", threads=self._threads)
        self._held[address] = OrderedDict()

    def end(self, address):
        del self.workers[address], self._held[address]
        self.lost += 1
        self.begin()

    def do(self, coroutine, *arguments, seconds=None):
        if self._loop.is_running():  # in another thread
            return asyncio.run(coroutine(*arguments))
        return self._loop.run_until_complete(coroutine(*arguments))

    async def arrival(self):
        assert self.workers

    async def ask(self, address, function, *arguments, reading=False):
        await asyncio.sleep(0)  # as the answers of several come in any order
        if address not in self.workers or self._killed(address):
            raise Lost(address)
        self.calls.append((address, function.__name__))
        self._monkeypatch.setattr(hosted, "_hosted", self._held[address])
        answer = pickle.loads(pickle.dumps(function(*pickle.loads(pickle.dumps(arguments)))))
        if self._killed(address):
            raise Lost(address)
        return answer, 1.0

    def _killed(self, address):
        killed = self._kill(address)
        if killed:
            self.end(address)
        return killed


def train(out, cluster=None, stop_after=None, spec=SPEC, **options):
    trainer = Trainer.open(spec, out, xla=False, cluster=cluster and (lambda: cluster), **options)
    trainer.run(lambda progress: None, lambda: trainer.state.meta_step == stop_after)
    return trainer


def outcome(trainer):
    """All that does not depend on the clock."""
    leaves = {name: np.asarray(leaf) for name, leaf in trainer.state.capture()().items() if name != "progress"}
    tables = {}
    for name in ("metrics", "validation", "horizons"):
        with (trainer.directory.path / f"{name}.csv").open(newline="") as file:
            tables[name] = [{key: row[key] for key in row if "seconds" not in key} for row in csv.DictReader(file)]
    return leaves, tables


@pytest.fixture(scope="module", autouse=True)
def _estimators():
    """All workers have the same ones, which keep nothing: each would trace its own."""
    made, make = {}, Families._estimator
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Families, "_estimator", lambda *one: made.get(one[1].title) or made.setdefault(one[1].title, make(*one)))
        yield


@pytest.fixture(scope="module", name="alone")
def _alone(tmp_path_factory):
    return outcome(train(tmp_path_factory.mktemp("alone") / "run"))


def assert_same(trainer, alone):
    leaves, tables = outcome(trainer)
    assert tables == alone[1]
    assert leaves.keys() == alone[0].keys()
    for name, leaf in leaves.items():
        np.testing.assert_array_equal(leaf, alone[0][name], err_msg=name)


def spec(**changes):
    return SPEC.model_copy(update=changes)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_number_of_workers_gives_the_bits_of_one_process(alone, tmp_path, monkeypatch, count):
    cluster = Workers(monkeypatch, count)
    assert_same(train(tmp_path / "run", cluster), alone)
    asked = {address for address, name in cluster.calls if name == "answer"}
    assert len(asked) == min(count, 2)  # as many as families in a meta-step


@pytest.mark.parametrize("seed", range(4))
def test_workers_may_be_lost_at_any_time(alone, tmp_path, monkeypatch, seed):
    rng = np.random.default_rng(seed)
    cluster = Workers(monkeypatch, 2, kill=lambda address: rng.uniform() < 0.1)
    assert_same(train(tmp_path / "run", cluster), alone)
    assert cluster.lost > 3


def test_a_stopped_run_goes_on_with_another_number_of_workers(alone, tmp_path, monkeypatch):
    for stop_after, count in ((3, 2), (8, 3), (11, None)):
        cluster = count and Workers(monkeypatch, count)
        with pytest.raises(Interrupted):
            train(tmp_path / "run", cluster, stop_after, resume=(tmp_path / "run").exists())
    assert_same(train(tmp_path / "run", Workers(monkeypatch, 1), resume=True), alone)


def test_a_run_may_be_saved_while_workers_compute(alone, tmp_path, monkeypatch):
    """As a signal has it saved, in another thread; here before each call of a family, and each validation."""
    cluster = Workers(monkeypatch, 2)
    trainer = Trainer.open(SPEC, tmp_path / "run", xla=False, cluster=lambda: cluster)
    ask, saved = cluster.ask, []

    async def asked(address, function, *arguments, reading=False):
        if function in (hosted.answer, hosted.validate) and not saved:
            saved.append(True)
            thread = threading.Thread(target=trainer.save)
            thread.start()
            await asyncio.to_thread(thread.join)
            saved.clear()
        return await ask(address, function, *arguments, reading=reading)

    monkeypatch.setattr(cluster, "ask", asked)
    with pytest.raises(Interrupted):
        trainer.run(lambda progress: None, lambda: trainer.state.meta_step == 9)
    assert_same(train(tmp_path / "run", resume=True), alone)


def test_a_worker_holds_no_more_of_a_family_that_moved(tmp_path, monkeypatch):
    cluster = Workers(monkeypatch, 1)
    trainer = Trainer.open(SPEC, tmp_path / "run", xla=False, cluster=lambda: cluster)
    holders = {}

    def watch(record):
        if record.update.meta_step == 6:
            cluster.begin()
            cluster.begin()

        holders.clear()
        for address, held in cluster._held.items():
            for run in held.values():
                for family in run.numbers:
                    holders.setdefault(family, []).append(address)

    trainer.run(watch)
    assert not any(cluster._held.values())  # nor of anything, after the run
    assert sorted(holders) == [0, 1, 2]
    assert all(len(addresses) == 1 for addresses in holders.values())
    assert len({addresses[0] for addresses in holders.values()}) > 1


def test_a_family_whose_workers_are_always_lost_is_named(tmp_path, monkeypatch):
    cluster = Workers(monkeypatch, 2, kill=lambda address: len(cluster.calls) > 6)
    with pytest.raises(Failure, match=r"(quadratic|rosenbrock).*: 5 workers were lost while they computed it; it may need more"):
        train(tmp_path / "run", cluster)


def test_families_go_to_workers_that_have_their_data(alone, tmp_path, monkeypatch, capsys):
    cluster = Workers(monkeypatch, 2)
    ask = cluster.ask

    async def asked(address, function, *arguments, reading=False):
        if address == "worker-1" and function is hosted.answer:
            raise DataMissing("there is no file")
        return await ask(address, function, *arguments, reading=reading)

    monkeypatch.setattr(cluster, "ask", asked)
    assert_same(train(tmp_path / "run", cluster), alone)
    said = capsys.readouterr().err.splitlines()
    assert "l2o: warning: the worker worker-1 lacks data of quadratic(dimension=3): there is no file" in said
    assert len(said) == len(set(said)) <= 3
    assert {address for address, name in cluster.calls if name == "answer"} == {"worker-2"}


def test_without_any_worker_that_has_the_data_a_run_fails(tmp_path, monkeypatch):
    cluster = Workers(monkeypatch, 2)

    async def asked(address, function, *arguments, reading=False):
        raise DataMissing("there is no file")

    monkeypatch.setattr(cluster, "ask", asked)
    with pytest.raises(DataMissing, match="there is no file"):
        train(tmp_path / "run", cluster)


def test_work_is_divided_by_what_it_was_measured_to_take(tmp_path, monkeypatch):
    trainer = Trainer.open(SPEC, tmp_path / "run", xla=False, cluster=lambda: Workers(monkeypatch, 2))
    families = trainer.state.families
    weights = {name: np.asarray(value) for name, value in trainer.state.weights.current.items()}
    requests = [hosted.FamilyRequest(0, family, 4, weights) for family in range(3)]
    for member, pace in zip(families._members, (1.0, 1.1, 2.0), strict=True):
        member.pace, member.home = pace, "worker-1"
    places = families._places(requests)
    assert places[0] == places[1] != places[2]


ASYNCHRONOUS = Executor(mode="asynchronous", staleness=3)


def test_one_worker_that_is_asked_for_one_family_at_a_time_is_never_late(tmp_path, monkeypatch):
    """Then all is as in a run where workers wait for each other."""
    waiting = train(tmp_path / "waiting", spec=spec(families_per_step=1))
    free = train(tmp_path / "free", Workers(monkeypatch, 1), spec=spec(families_per_step=1, executor=ASYNCHRONOUS))
    leaves, tables = outcome(free)
    assert {(row.pop("age"), row.pop("late")) for row in tables["metrics"]} == {("0", "0")}
    expected = outcome(waiting)
    assert tables == expected[1]
    for name, leaf in leaves.items():
        np.testing.assert_array_equal(leaf, expected[0][name], err_msg=name)


def test_meta_gradients_of_older_weights_are_taken_up_to_a_limit(tmp_path, monkeypatch):
    cluster = Workers(monkeypatch, 3)
    ask = cluster.ask

    async def asked(address, function, *arguments, reading=False):
        if function is hosted.answer and arguments[1].family == 0:  # a slow one
            for _ in range(60):
                await asyncio.sleep(0)
        return await ask(address, function, *arguments, reading=reading)

    monkeypatch.setattr(cluster, "ask", asked)
    trainer = train(tmp_path / "run", cluster, spec=spec(families_per_step=1, executor=ASYNCHRONOUS, meta_steps=40))
    rows = outcome(trainer)[1]["metrics"]
    ages = [int(row["age"]) for row in rows]
    assert 0 < max(ages) <= 3
    assert sum(int(row["late"]) for row in rows) > 0
    assert all(np.isfinite(leaf).all() for name, leaf in outcome(trainer)[0].items() if name.startswith("weights/"))
    assert load_artifact(trainer.directory.artifact).card["meta_training"]["repeatable"] is False
    shown = page(read_run(trainer.directory.path))
    assert f"updates, at most {max(ages)}; {sum(int(row['late']) for row in rows)} dropped" in shown


def test_an_asynchronous_run_loses_workers_and_goes_on(tmp_path, monkeypatch):
    rng, changed = np.random.default_rng(0), spec(executor=ASYNCHRONOUS)
    cluster = Workers(monkeypatch, 2, kill=lambda address: rng.uniform() < 0.1)
    with pytest.raises(Interrupted):
        train(tmp_path / "run", cluster, stop_after=7, spec=changed)
    assert train(tmp_path / "run", Workers(monkeypatch, 2), spec=changed, resume=True).complete
    assert cluster.lost


def test_an_asynchronous_run_needs_workers(tmp_path):
    with pytest.raises(BadInput, match=r"^executor\.mode: asynchronous needs workers: --workers or --scheduler"):
        train(tmp_path / "run", spec=spec(executor=ASYNCHRONOUS))
    assert not (tmp_path / "run").exists()
