"""What a worker process holds of meta-training runs: populations of families, each at one version.

Each function here is called on a worker by the process that trains. A population's version is the number of updates that its
instances took part in, as the trainer counts it. Where a worker does not hold that version it says so, and is sent what it is
made from: a snapshot, and all that the family was asked and led to since.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from l2o_cli.meta.families import Families
from l2o_cli.meta.meta_step import Answer, FamilyRequest
from l2o_cli.meta.validation import Score, Validator
from l2o_cli.spec import MetaTraining

_RUNS = 4  # of which a worker holds something at most; the one that was asked for last stays longest
_LOOK = 0.05  # seconds between looks whether a version is there that a family has just come to

Leaves = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class HostedRun:
    """The run whose families a worker holds; what happens in it is a function of the spec and the seeds."""

    token: str  # which tells it from all others
    spec: MetaTraining
    population_seed: int
    perturbation_seed: int
    validation_seed: int
    xla: bool

    def families(self) -> Families:
        return Families(self.spec, self.spec.optimizer.make(), self.population_seed, self.perturbation_seed, self.xla)

    def validator(self) -> Validator:
        return Validator(self.spec.validation, self.spec.objective, self.spec.optimizer.make(), self.validation_seed, self.xla)


@dataclass(frozen=True)
class Applied:
    """An update that a family took part in: what it had been asked, the weights afterwards, how many updates were made then."""

    request: FamilyRequest
    weights: Leaves
    meta_step: int


@dataclass(frozen=True)
class Version:
    """Which version of a population is meant: the number, and the update that led to it, if one did."""

    token: str
    family: int
    number: int
    last: Applied | None


@dataclass(frozen=True)
class Origin:
    """What a version is made from."""

    run: HostedRun
    base: Leaves  # a snapshot of the population; none: it was not drawn yet
    since: tuple[Applied, ...]


class _Hosted:
    """The families of one run."""

    def __init__(self, run: HostedRun):
        self.run, self.families = run, run.families()
        self.validator: Validator | None = None
        self.numbers: dict[int, int] = {}  # of the versions that are here, by family
        self.estimated: dict[int, int] = {}  # the meta-step of the last request that was answered, by family
        self.locks = [threading.Lock() for _ in run.spec.problems]

    def reach(self, version: Version, origin: Origin | None) -> bool:
        """Whether the version is here, now; the lock of its family is held."""
        family, last = version.family, version.last
        if origin is not None:
            self.numbers.pop(family, None)  # until it is there whole
            self.families.populations[family].restore({name: tf.constant(leaf) for name, leaf in origin.base.items()})
            for applied in origin.since:
                self.families.estimate(applied.request)
                self._advance(family, applied)
            self.numbers[family] = version.number
        here = self.numbers.get(family)
        if here == version.number - 1 and last is not None and self.estimated.get(family) == last.request.meta_step:
            self._advance(family, last)
            self.numbers[family] = here = version.number
        return here == version.number

    def _advance(self, family: int, applied: Applied) -> None:
        weights = {name: tf.constant(value) for name, value in applied.weights.items()}
        self.families.advance([family], weights, applied.meta_step)


_hosted: OrderedDict[str, _Hosted] = OrderedDict()
_lock = threading.Lock()


def _of(token: str, run: HostedRun | None) -> _Hosted | None:
    with _lock:
        if token not in _hosted and run is not None:
            _hosted[token] = _Hosted(run)
            while len(_hosted) > _RUNS:
                _hosted.popitem(last=False)
        if token in _hosted:
            _hosted.move_to_end(token)
        return _hosted.get(token)


def answer(version: Version, request: FamilyRequest, origin: Origin | None = None) -> Answer | None:
    """What `Families.estimate` answers to the request; None: the version is not here, and has no origin."""
    hosted = _of(version.token, None if origin is None else origin.run)
    if hosted is None:
        return None
    with hosted.locks[version.family]:
        if not hosted.reach(version, origin):
            return None
        result = hosted.families.estimate(request)
        hosted.estimated[version.family] = request.meta_step
        return result


def snapshot(version: Version, meta_step: int, origin: Origin | None = None, leave: bool = False) -> Leaves | None:
    """A snapshot of the version after `meta_step` updates; None: it is not here, and has no origin.

    Args:
        leave: the family goes to another worker.
    """
    hosted = _of(version.token, None if origin is None else origin.run)
    if hosted is None:
        return None
    family, population = version.family, hosted.families.populations[version.family]
    lock = hosted.locks[family]
    while not lock.acquire(timeout=_LOOK):
        # It is asked something, which leaves this version as it is.
        if hosted.numbers.get(family) == version.number and origin is None and not leave:
            return _plain(population.snapshot(meta_step))
    try:
        if not hosted.reach(version, origin):
            return None
        leaves = _plain(population.snapshot(meta_step))
        if leave:
            del hosted.numbers[family]
            population.restore({})
        return leaves
    finally:
        lock.release()


def validate(token: str, problem: int, weights: Leaves, run: HostedRun | None = None) -> Score | None:
    """How the weights do on a validation problem; None: the run is not known here."""
    hosted = _of(token, run)
    if hosted is None:
        return None
    with _lock:
        hosted.validator = hosted.validator or hosted.run.validator()
    return hosted.validator.score(problem, dict(weights))


def forget(token: str) -> None:
    """Nothing more will be asked of the run."""
    with _lock:
        _hosted.pop(token, None)


def _plain(leaves: Mapping[str, tf.Tensor]) -> Leaves:
    return {name: np.asarray(leaf) for name, leaf in leaves.items()}
