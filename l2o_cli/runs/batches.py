"""Runs of one optimizer on one problem, in batches; those that are kept in a store are not made again."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from l2o_problems.base import Problem

from l2o_cli.errors import BadInput, warn_once
from l2o_cli.optimizers.transforms import check_hyperparameter
from l2o_cli.runs.keys import base_key, digest, identity
from l2o_cli.runs.own_code import NoIdentity, Unknowable
from l2o_cli.runs.records import Contender, Measured, Run
from l2o_cli.runs.store import RunStore

AT_ONCE = 2  # batches that run at once; not by the machine's cores, since the size of a batch decides how sums are rounded
LEAST = 4  # runs in a batch, below which it is not divided


class Job(NamedTuple):
    """One run to be made."""

    trial: int
    setting: Mapping[str, float]
    seed: int


class Pace(NamedTuple):
    """How fast runs go together, in seconds for one of them."""

    step: float
    record: float  # to measure the validation loss once


def default_window(steps: int) -> int:
    """A hundredth of the steps, at least one."""
    return max(1, steps // 100)


def hyperparameters(contender: Contender) -> dict[str, float]:
    """The scalar weights of a hand-designed optimizer, to float32 precision; {} for a learned one."""
    if contender.optimizer.learned:
        return {}
    return {name: float(f"{value:.7g}") for name, value in contender.weights.items() if np.ndim(value) == 0}


def check_setting(contender: Contender, setting: Mapping[str, float]) -> None:
    """BadInput if a hyperparameter is set that the optimizer lacks, or to what it cannot be."""
    known = hyperparameters(contender)
    for name, value in setting.items():
        if name not in known:
            there = f"there are: {', '.join(known)}" if known else "it has none"
            raise BadInput(f"optimizer {contender.label!r} has no hyperparameter {name!r}; {there}")
        try:
            check_hyperparameter(contender.optimizer, name, value)
        except ValueError as error:
            raise BadInput(f"optimizer {contender.label!r}: {error}") from None


class Batches(abc.ABC):
    """Runs of one optimizer on one problem, `steps` steps each, in windows of `every` steps.

    A run is one (problem, optimizer, hyperparameters, seed). Its curve depends on nothing else that runs beside it, and one seed
    means the same task, initial params, minibatches and random optimizer state for every optimizer and every setting (common
    random numbers).

    Args:
        label: the optimizer's in the results; default: its own.
        store: where finished runs are looked for and kept; None: all are made.
    """

    def __init__(
        self,
        problem_name: str,
        problem: Problem,
        contender: Contender,
        *,
        steps: int,
        every: int | None = None,
        label: str | None = None,
        xla: bool = True,
        store: RunStore | None = None,
    ):
        self.problem_name, self.problem, self.contender, self.steps = problem_name, problem, contender, steps
        self.every = min(every or default_window(steps), steps)
        self.label = label or contender.label
        self._store = store
        self._identity = None if store is None else self._identify()
        self._key = self._make_key(xla)

    def _identify(self) -> Any:
        """What tells the problem from all others; None if it cannot be told."""
        try:
            return identity(self.problem)
        except Unknowable as error:
            warn_once(f"runs on {self.problem_name} are not kept: {error}")
        except NoIdentity:
            pass
        return None

    def _make_key(self, xla: bool) -> dict[str, Any] | None:
        """What all these runs depend on; None where none can be kept, nor handed from process to process."""
        if self._store is None or (self._identity is None and self._store.handed is None):
            return None
        problem = self._identity or f"{self.problem_name}, in this command"
        return {"problem": problem, **base_key(self.problem, self.contender, self.steps, every=self.every, xla=xla)}

    @property
    @abc.abstractmethod
    def most_together(self) -> int:
        """How many runs go in one batch at most."""

    @property
    @abc.abstractmethod
    def single_threaded(self) -> bool:
        """Whether a batch keeps one core busy, so that two of them may as well run at once."""

    def prepare(self, jobs: Sequence[Job], size: int) -> None:  # noqa: B027, not all have anything to compile
        """Compile what batches of that size need, which two threads must not do at once."""

    def pace(self, settings: Sequence[Mapping[str, float]], seeds: Sequence[int], curve: bool = True) -> Pace | None:
        """How fast such runs go, measured on a few of their steps; None if only making them would tell."""
        return None

    @abc.abstractmethod
    def _made(self, jobs: Sequence[Job], size: int, curve: bool, advance: Callable[[float], object]) -> list[Measured]:
        """Make at most `size` runs in a batch of that size, calling `advance` with shares of them that add up to 1."""

    @property
    def windows(self) -> int:
        return -(-self.steps // self.every)

    def run(
        self,
        settings: Sequence[Mapping[str, float]],
        seeds: Sequence[int],
        *,
        first_trial: int = 0,
        curve: bool = True,
        advance: Callable[[float], object] = lambda share: None,
    ) -> list[Run]:
        """One run for each setting and seed, settings outermost.

        Args:
            settings: hyperparameters that replace the contender's own; {} keeps them all.
            first_trial: the index of the first setting.
            curve: whether the validation loss is measured after every window and the test loss after the last, or only the
                validation loss after the last, and the seconds of a run are not those of a run alone on the machine.
            advance: called after each window with the share of all work that it was.

        Raises:
            BadInput: a setting names a hyperparameter that the optimizer lacks.
        """
        for setting in settings:
            check_setting(self.contender, setting)
        size, batches = self._in_batches(settings, seeds, first_trial, curve)

        def made(batch: Sequence[Job]) -> list[Run]:
            return self._batch(batch, size, curve, lambda share: advance(share / len(batches)))

        if len(batches) == 1 or not self._at_once(curve):
            return [run for batch in batches for run in made(batch)]
        if self.missing(settings, seeds, curve=curve):
            self.prepare(batches[0], size)
        with ThreadPoolExecutor(AT_ONCE) as threads:
            return [run for runs in threads.map(made, batches) for run in runs]

    def missing(self, settings: Sequence[Mapping[str, float]], seeds: Sequence[int], *, curve: bool = True) -> int:
        """How many of these runs are not in the store."""
        size, batches = self._in_batches(settings, seeds, 0, curve)
        keys = [self._key_of(job, size, curve) for batch in batches for job in batch]
        return sum(key is None or self._store is None or not self._store.has(key) for key in keys)

    def _in_batches(
        self, settings: Sequence[Mapping[str, float]], seeds: Sequence[int], first_trial: int, curve: bool
    ) -> tuple[int, list[list[Job]]]:
        """The size of the batches, and what is in each of them."""
        jobs = [Job(trial, setting, seed) for trial, setting in enumerate(settings, first_trial) for seed in seeds]
        count = -(-len(jobs) // self.most_together)
        if self._at_once(curve):
            whole = AT_ONCE * -(-count // AT_ONCE)  # so that no thread is left without
            count = whole if len(jobs) >= LEAST * whole else count
        size = -(-len(jobs) // count)
        return size, [jobs[start : start + size] for start in range(0, len(jobs), size)]

    def _at_once(self, curve: bool) -> bool:
        """Whether batches run at once: only where nobody asks what a run takes by itself."""
        return self.single_threaded and not curve

    def _batch(self, jobs: Sequence[Job], size: int, curve: bool, advance: Callable[[float], object]) -> list[Run]:
        keys = [self._key_of(job, size, curve) for job in jobs]
        known = [self._load(key) for key in keys]
        lacking = [index for index, one in enumerate(known) if one is None]
        if lacking:
            made = self._made([jobs[index] for index in lacking], size, curve, advance)
            lasting = self._still_the_same()
            for index, one in zip(lacking, made, strict=True):
                known[index] = one
                self._save(keys[index], one, lasting)
        else:
            advance(1.0)
        if self._store is not None:
            self._store.made += len(lacking)
            self._store.found += len(jobs) - len(lacking)
        return [self._run(job, one) for job, one in zip(jobs, known, strict=True) if one is not None]

    def _run(self, job: Job, measured: Measured) -> Run:
        return Run(
            problem=self.problem_name,
            optimizer=self.label,
            trial=job.trial,
            hyperparameters={**hyperparameters(self.contender), **job.setting},
            seed=job.seed,
            every=self.every,
            **vars(measured),
        )

    def _key_of(self, job: Job, size: int, curve: bool) -> str | None:
        if self._key is None:
            return None
        # The number of runs in a batch decides how sums are rounded, and the pace.
        return digest({**self._key, "setting": dict(job.setting), "seed": job.seed, "together": size, "curve": curve})

    def _load(self, key: str | None) -> Measured | None:
        arrays = None if key is None or self._store is None else self._store.load(key)
        if arrays is None or not {"losses", "seconds"} <= arrays.keys():
            return None
        known: dict[str, Any] = {name: value if value.ndim else value.item() for name, value in arrays.items()}
        return Measured(**{"validation": None, "diverged_at": None, **known})

    def _still_the_same(self) -> bool:
        """Whether the problem is what the key says, now that its code has run: it may have opened or replaced files."""
        if self._identity is None:
            return False
        now = self._identify()
        if now is not None and now != self._identity:
            warn_once(f"runs on {self.problem_name} are not kept: it reads files, not all of which were known before it ran")
        return now == self._identity

    def _save(self, key: str | None, measured: Measured, lasting: bool) -> None:
        if key is not None and self._store is not None:
            self._store.save(key, {name: value for name, value in vars(measured).items() if value is not None}, lasting)
