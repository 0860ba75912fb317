"""The families and the meta-validation of a run on the workers of a cluster, with the same bits as in one process.

What a worker answers depends on nothing but the question and the version of the population. Of each population this process keeps
the last snapshot and what led on from there, so that a worker that comes, or takes over from one that was lost, makes it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
from l2o_problems.data import DataMissing
from l2o_problems.transforms.base import under, within

from l2o_cli.errors import Failure, warn
from l2o_cli.executor.cluster import Cluster, Lost
from l2o_cli.meta import hosted
from l2o_cli.meta.hosted import Applied, HostedRun, Leaves, Origin, Version
from l2o_cli.meta.meta_step import Answer, FamilyRecord, FamilyRequest, WorkersRecord
from l2o_cli.meta.validation import Score
from l2o_cli.optimizers.base import Weights

_TRIES = 5  # workers that may be lost, one after the other, while they answer one request
_MOVE = 0.02  # seconds that it takes to have a population on another worker, beside its compilation
_SPREAD = 200.0  # meta-steps of a family over which a compilation on one more worker is to pay
_PATIENCE = 5.0  # seconds that workers have to answer what saves a run which a signal ends


def new_token() -> str:
    """One that no other run has."""
    return uuid.uuid4().hex


@dataclass
class _Member:
    """A family, as this process knows it.

    Attributes:
        made: what the last version is made from: a snapshot of its population, and the updates that it took part in since.
        number: of all versions so far.
        asked: the request that was answered, if that is not applied yet.
        home: the worker that has the last version.
        going: the worker that was asked last.
        pace: seconds of work for each step of a truncation; None: not known yet.
        without: workers that lack its data.
    """

    made: tuple[Leaves, tuple[Applied, ...]] = ({}, ())
    number: int = 0
    asked: FamilyRequest | None = None
    home: str | None = None
    going: str | None = None
    pace: float | None = None
    without: set[str] = field(default_factory=set)


class RemoteFamilies:
    """As `Families`, of which it has what does not depend on the populations."""

    def __init__(self, run: HostedRun, cluster: Cluster):
        self._run, self._cluster = run, cluster
        self._families = run.families()
        self._members = [_Member() for _ in run.spec.problems]
        self._compiling: dict[int, float] = {}  # seconds of compilation, by estimator
        self._compiled: set[tuple[int, str]] = set()  # estimators and workers
        self._began, self._busy = time.monotonic(), 0.0

    @property
    def workers(self) -> WorkersRecord:
        """How they are doing."""
        count = len(self._cluster.workers)
        threads = sum(found.threads for found in self._cluster.workers.values())
        possible = (time.monotonic() - self._began) * max(threads, 1)
        return WorkersRecord(count, self._cluster.lost, max(0.0, 1 - self._busy / max(possible, 1e-9)))

    def estimates(self, rng: np.random.Generator, weights: Mapping[str, np.ndarray], meta_step: int) -> tuple[list[Answer], int]:
        """As those of `Families`, asked of the workers at once."""
        return self._cluster.do(self._answers, self._families.requests(rng, weights, meta_step)), 0

    def advance(self, families: Iterable[int], weights: Weights, meta_step: int) -> None:
        """The workers hear of it with what they are asked next."""
        after = {name: np.asarray(value) for name, value in weights.items()}
        for member in (self._members[family] for family in families):
            assert member.asked is not None
            base, since = member.made
            member.made = base, (*since, Applied(member.asked, after, meta_step))
            member.number, member.asked = member.number + 1, None

    def capture(self, meta_step: int) -> Callable[[], dict[str, Any]]:
        """What makes the snapshot of now, as long as nothing further is asked of the workers."""
        wanted = [(family, member, self._version(family), self._origin(member)) for family, member in enumerate(self._members)]

        def made() -> dict[str, Any]:
            seconds = None if threading.current_thread() is threading.main_thread() else _PATIENCE
            try:
                return self._cluster.do(self._snapshots, wanted, meta_step, seconds=seconds)
            except TimeoutError:
                raise Failure("the workers do not answer in time; the last checkpoint stands") from None

        return made

    def snapshot(self, meta_step: int) -> dict[str, Any]:
        return self.capture(meta_step)()

    def fault(self, leaves: Mapping[str, tf.Tensor], meta_step: int) -> str | None:
        return self._families.fault(leaves, meta_step)

    def restore(self, leaves: Mapping[str, tf.Tensor]) -> None:
        for family, member in enumerate(self._members):
            member.made = {name: np.asarray(leaf) for name, leaf in within(str(family), leaves).items()}, ()
            member.asked, member.number = None, member.number + 1

    def close(self) -> None:
        """Have the workers give up what they hold of the run, as far as they can be reached."""
        with contextlib.suppress(Exception):
            self._cluster.do(self._forget, seconds=_PATIENCE)

    async def _forget(self) -> None:
        calls = (self._cluster.ask(address, hosted.forget, self._run.token, reading=True) for address in self._cluster.workers)
        await asyncio.gather(*calls, return_exceptions=True)

    async def _answers(self, requests: Sequence[FamilyRequest]) -> list[Answer]:
        await self._cluster.arrival()
        places = self._places(requests)
        return await asyncio.gather(*(self._answer(request, places.get(request.family)) for request in requests))

    async def _answer(self, request: FamilyRequest, place: str | None) -> Answer:
        """The answer of the worker `place`, or of another if need be."""
        member, version = self._members[request.family], self._version(request.family)
        losses = 0
        while losses < _TRIES:
            if place is None or place not in self._cluster.workers:
                place = await self._any(member, request.family)
            member.going = place
            try:
                if member.home != place:
                    await self._leave(member, version, request.meta_step)
                answer = None
                if member.home == place:
                    answer, seconds = await self._cluster.ask(place, hosted.answer, version, request)
                if answer is None:
                    answer, seconds = await self._cluster.ask(place, hosted.answer, version, request, self._origin(member))
            except Lost:
                losses, place = losses + 1, None
                continue
            except DataMissing as error:
                warn(f"the worker {place} lacks data of {self._run.spec.problems[request.family].title}: {error}")
                member.without.add(place)
                if member.without >= set(self._cluster.workers):
                    raise
                place = None
                continue
            member.asked, member.home = request, place
            self._learn(member, answer[1], place, seconds)
            return answer
        title = self._run.spec.problems[request.family].title
        raise Failure(f"{title}: {_TRIES} workers were lost while they computed it; it may need more memory than they have")

    async def _any(self, member: _Member, family: int) -> str:
        """A worker for a family that has none: the one that is the home of fewest."""
        while True:
            await self._cluster.arrival()
            able = [address for address in self._cluster.workers if address not in member.without]
            if not able:
                raise Failure(f"{self._run.spec.problems[family].title}: no worker has its data")
            homes = [other.home for other in self._members]
            return min(able, key=homes.count)

    async def _leave(self, member: _Member, version: Version, meta_step: int) -> None:
        """Have the population come home, for it goes to another worker; what its home cannot give is made again there."""
        if member.home in self._cluster.workers and member.made[1]:
            try:
                leaves, _ = await self._cluster.ask(member.home, hosted.snapshot, version, meta_step, None, True)
            except Lost:
                leaves = None
            if leaves is not None:
                member.made = leaves, ()
        member.home = None

    async def _snapshots(self, wanted: Sequence[tuple[int, _Member, Version, Origin]], meta_step: int) -> dict[str, Any]:
        made = await asyncio.gather(*(self._snapshot(*one, meta_step) for one in wanted))
        leaves: dict[str, Any] = {}
        for (family, *_), own in zip(wanted, made, strict=True):
            leaves |= under(str(family), own)
        return leaves

    async def _snapshot(self, family: int, member: _Member, version: Version, origin: Origin, meta_step: int) -> Leaves:
        if not origin.since:
            return origin.base
        place, anew = member.home, False
        for _ in range(_TRIES):
            if place is None or place not in self._cluster.workers:
                place, anew = await self._any(member, family), True
            try:
                call = (version, meta_step, origin if anew else None)
                leaves, _ = await self._cluster.ask(place, hosted.snapshot, *call, reading=not anew)
            except Lost:
                continue
            if leaves is None:
                anew = True
                continue
            if member.number == version.number:
                member.made, member.home = (leaves, ()), place
            return leaves
        raise Failure(f"{self._run.spec.problems[family].title}: {_TRIES} workers were lost while they saved it")

    def _version(self, family: int) -> Version:
        member = self._members[family]
        return Version(self._run.token, family, member.number, member.made[1][-1] if member.made[1] else None)

    def _origin(self, member: _Member) -> Origin:
        return Origin(self._run, *member.made)

    def _learn(self, member: _Member, record: FamilyRecord, place: str, seconds: float) -> None:
        """Take down what an answer took, by which families are placed."""
        self._busy += seconds
        estimator = id(self._families.populations[record.family].estimator)
        if record.compile_seconds:
            self._compiling[estimator] = max(record.compile_seconds, self._compiling.get(estimator, 0.0))
        else:
            pace = seconds / record.truncation
            member.pace = pace if member.pace is None else 0.8 * member.pace + 0.2 * pace
        self._compiled.add((estimator, place))

    def _places(self, requests: Sequence[FamilyRequest], under_way: Sequence[FamilyRequest] = ()) -> dict[int, str]:
        """A worker for each, so that all end early by what was measured: the longest first, each where it ends first."""
        threads = {address: found.threads for address, found in self._cluster.workers.items()}
        load = dict.fromkeys(threads, 0.0)
        known = [member.pace for member in self._members if member.pace is not None]
        usual = float(np.mean(known)) if known else 1.0
        expected = {one.family: (self._members[one.family].pace or usual) * one.truncation for one in (*requests, *under_way)}
        for request in under_way:
            seconds, place = expected.pop(request.family), self._members[request.family].going
            if place in load:
                load[place] += seconds / threads[place]
        places: dict[int, str] = {}
        for family in sorted(expected, key=lambda family: (-expected[family], family)):
            member, estimator = self._members[family], id(self._families.populations[family].estimator)

            def end(address: str, family: int = family, member: _Member = member, estimator: int = estimator) -> float:
                extra = 0.0 if address == member.home else _MOVE
                if (estimator, address) not in self._compiled:
                    extra += self._compiling.get(estimator, 0.0) / _SPREAD
                return load[address] + expected[family] / threads[address] + extra

            able = [address for address in threads if address not in member.without]
            if able:
                places[family] = min(able, key=end)
                load[places[family]] += expected[family] / threads[places[family]]
        return places


class RemoteValidator:
    """As `Validator`: each problem is run by one of the workers."""

    def __init__(self, run: HostedRun, cluster: Cluster):
        self._run, self._cluster = run, cluster

    def scores(self, weights: Weights) -> tuple[Score, ...]:
        plain = {name: np.asarray(value) for name, value in weights.items()}
        return tuple(self._cluster.do(self._scores, plain))

    async def _scores(self, weights: Leaves) -> list[Score]:
        await self._cluster.arrival()
        return await asyncio.gather(*(self._score(index, weights) for index in range(len(self._run.spec.validation.problems))))

    async def _score(self, problem: int, weights: Leaves) -> Score:
        run: HostedRun | None = None
        for _ in range(2 * _TRIES):
            await self._cluster.arrival()
            addresses = sorted(self._cluster.workers)
            place = addresses[problem % len(addresses)]
            try:
                score, _ = await self._cluster.ask(place, hosted.validate, self._run.token, problem, weights, run)
            except Lost:
                continue
            if score is not None:
                return score
            run = self._run
        title = self._run.spec.validation.problems[problem].title
        raise Failure(f"{title}: its workers were lost, one after the other, while they validated on it")
