"""Meta-training: draws problem families, estimates meta-gradients, moves and averages the weights, validates, saves."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from l2o_cli.errors import BadInput, Failure, warn
from l2o_cli.executor.cluster import Cluster
from l2o_cli.export.artifact import save_artifact
from l2o_cli.export.resolve import resolve
from l2o_cli.meta.asynchronous import families_on
from l2o_cli.meta.hosted import HostedRun
from l2o_cli.meta.meta_optimizer import WeightsInTraining, learning_rate, make
from l2o_cli.meta.meta_step import Answer, MetaStepRecord, UpdateRecord, ValidationRecord
from l2o_cli.meta.population import derive_seed
from l2o_cli.meta.remote import RemoteValidator, new_token
from l2o_cli.meta.run_directory import RunDirectory
from l2o_cli.meta.state import State
from l2o_cli.meta.validation import overall
from l2o_cli.meta.watchdog import Watchdog, no_progress
from l2o_cli.optimizers.base import Weights
from l2o_cli.optimizers.transforms import names_of
from l2o_cli.runs.own_code import imported_files
from l2o_cli.runtime import environment
from l2o_cli.signals import Interrupted
from l2o_cli.spec import MetaTraining

# Purposes for which seeds are derived from the run's seed.
_WEIGHTS, _POPULATION, _DRAW, _VALIDATION, _PERTURBATIONS = range(5)


class Trainer:
    """One meta-training run. Its state is whole between two meta-steps, and seeds derive from the run's seed and the step, so
    that a resumed run goes on bit for bit."""

    def __init__(
        self,
        spec: MetaTraining,
        directory: RunDirectory,
        xla: bool = True,
        initial: Weights | None = None,
        cluster: Cluster | None = None,
    ):
        """Args:
        initial: the weights it begins with; None: drawn.
        cluster: its workers estimate meta-gradients and validate; None: this process does.
        """
        self.spec, self.directory = spec, directory
        self.optimizer = spec.optimizer.make()
        seed = spec.seed
        initial = initial or self.optimizer.init_weights(derive_seed(seed, _WEIGHTS))
        seeds = [derive_seed(seed, purpose) for purpose in (_POPULATION, _PERTURBATIONS, _VALIDATION)]
        run = HostedRun(new_token(), spec, seeds[0], seeds[1], seeds[2], xla)
        self.state = State(
            WeightsInTraining(spec.meta_optimizer, spec.ema, initial, spec.objective.weight_decay),
            families_on(cluster, run) if cluster else run.families(),
            spec.validation.rollback,
        )
        self._validator = RemoteValidator(run, cluster) if cluster else run.validator()
        self._watchdog = Watchdog()  # when the run begins, one that knows its tables
        # The state is whole but while a meta-step is applied, and while it is validated, before which it is put aside.
        self._whole = threading.Lock()
        self._aside: tuple[int, Callable[[], dict[str, tf.Tensor]]] | None = None
        self._saved = 0  # the meta-step of the last checkpoint

    @classmethod
    def open(
        cls,
        spec: MetaTraining | None,
        out: Path,
        *,
        resume: bool = False,
        xla: bool = True,
        config: str | None = None,
        cluster: Callable[[], Cluster] | None = None,
    ) -> Trainer:
        """A new run in the directory `out`, or the run that is there, at its last checkpoint; `config` says whence the spec is.

        Args:
            cluster: begins one, if workers are to do it; called when all else is in order.

        Raises:
            BadInput: `out` is in use, or holds another run than the one to resume.
        """
        if not resume:
            assert spec is not None
            _check_workers(spec, cluster)
            make(spec.meta_optimizer)  # a checkpoint it names may be missing: said before a directory is made
            initial = _initial_weights(spec)
            spec = with_record(spec, config)
            workers = cluster and cluster()
            return cls(spec, RunDirectory.create(out, spec), xla, initial, workers)
        directory, spec = RunDirectory.reopen(out, spec)
        _check_workers(spec, cluster)
        recorded = (spec.record or {}).get("own_files")
        for file, content in imported_files().items():
            if isinstance(recorded, dict) and recorded.get(file, content) != content:
                warn(f"{file} was changed after the run had begun; it goes on with what is there now")
        workers = cluster and cluster()
        trainer = cls(spec, directory, xla, cluster=workers)
        leaves = directory.checkpoints.restore(trainer.state.fault)
        if leaves is None:
            return cls(spec, directory, xla, _initial_weights(spec), workers)
        trainer.state.restore(leaves)
        trainer._saved = trainer.state.meta_step
        return trainer

    @property
    def complete(self) -> bool:
        return self.state.meta_step >= self.spec.meta_steps

    def run(
        self, watch: Callable[[MetaStepRecord], None], stop: Callable[[], bool] = lambda: False, until: float = math.inf
    ) -> None:
        """Train to the end, or until time is up; then the run is saved and the best weights so far are in its artifact.

        Args:
            watch: takes in the record of each meta-step.
            stop: asked after each meta-step; when it says so the run is saved and `Interrupted` raised.
            until: when time is up, on the clock of `time.monotonic()`; the meta-step under way is finished.

        Raises:
            Failure: no meta-step moved a weight, or no meta-loss was a finite number; the run is saved and has no artifact.
        """
        spec, state = self.spec, self.state
        with self.directory.in_use(), contextlib.closing(state.families):
            # What begins again has no rows, of the validation at its start neither.
            self.directory.cut(state.meta_step or -1)
            self._watchdog = self._informed_watchdog()
            if state.meta_step == 0 and spec.validation.start and (record := self._validate()):
                self._watchdog.validation(record.rows()["validation"])
            late = False
            while not self.complete and not late:
                watch(self._step())
                stopping, late = stop(), time.monotonic() >= until
                if self.complete or stopping or late or state.meta_step % spec.checkpoint_every == 0:
                    self.save()
                if stopping and not self.complete:
                    raise Interrupted
            fruitless = self._watchdog.fault
            if fruitless:
                raise Failure(f"{self.directory.path}: no artifact is written: {fruitless}")
            save_artifact(self.directory.artifact, self.optimizer, _arrays(state.best), {"meta_training": self._account()})

    def save(self) -> str:
        """Have a checkpoint of the last meta-step that is whole, which may be the one before that under way; says of which.

        May be called at any time, in another thread than `run`. Failure if it cannot be written.
        """
        with self._whole:
            step, leaves = self._aside or (self.state.meta_step, None)
            if step != self._saved:
                self.directory.save(step, (leaves or self.state.capture())())
                self._saved = step
        return f"saved after meta-step {step}" if step else "no meta-step is finished yet"

    def _step(self) -> MetaStepRecord:
        state, began = self.state, time.perf_counter()
        rng = np.random.default_rng(derive_seed(self.spec.seed, _DRAW, state.meta_step))
        answers, late = state.families.estimates(rng, _arrays(state.weights.current), state.meta_step)
        with self._whole:
            if self._validates_at(state.meta_step + 1):
                self._aside = state.meta_step, state.capture()
            update = self._apply(answers, late, began)
            self.directory.write(update)
        self.directory.events.write(update)
        validation = self._validate()
        state.seconds += time.perf_counter() - began
        with self._whole:
            self._aside = None
        warnings = self._watchdog.update(update.rows()["metrics"])
        if validation is not None:
            warnings += self._watchdog.validation(validation.rows()["validation"])
        return MetaStepRecord(update, validation, tuple(warnings))

    def _apply(self, answers: Sequence[Answer], late: int, began: float) -> UpdateRecord:
        """Move the weights by the families' meta-gradients, and let their instances go on; `began` is when the meta-step did."""
        spec, state = self.spec, self.state
        gradients, families = np.stack([gradient for gradient, _ in answers]), tuple(record for _, record in answers)
        rate = learning_rate(spec.meta_optimizer, state.meta_step, spec.meta_steps)
        move = state.weights.apply(tf.constant(gradients), rate, state.meta_step)
        state.meta_step += 1
        state.families.advance([record.family for record in families], state.weights.current, state.meta_step)
        seconds = time.perf_counter() - began
        done = (state.meta_step, families, gradients, move.norm, move.skipped, rate, seconds)
        record = UpdateRecord(*done, late, state.families.workers)
        state.inner_steps += record.inner_steps
        return record

    def _informed_watchdog(self) -> Watchdog:
        """One that knows the meta-steps made before this process; what it had to say of them was said then."""
        watchdog = Watchdog(no_progress(self.spec.objective.model_dump()))
        try:
            watchdog.replay(self.directory.rows("metrics"), self.directory.rows("validation"))
        except BadInput:  # a damaged table; training goes on without
            watchdog.presume_fruitful()
        return watchdog

    def _validates_at(self, meta_step: int) -> bool:
        validation = self.spec.validation
        return bool(validation.problems) and (meta_step % validation.every == 0 or meta_step == self.spec.meta_steps)

    def _validate(self) -> ValidationRecord | None:
        """Score the averaged weights when it is time to, keep them if they are the best so far, or go back to those."""
        state = self.state
        if not self._validates_at(state.meta_step):
            return None
        scores = self._validator.scores(state.weights.average)
        score = overall(scores)
        best, rolled_back = state.judge(score)
        average = _arrays(state.weights.average)
        record = ValidationRecord(state.meta_step, scores, score, best, rolled_back, state.rollbacks, average)
        self.directory.write(record)
        self.directory.events.write(record)
        return record

    def describe(self) -> str:
        """What is trained on what, in one line."""
        spec = self.spec
        count = sum(int(tf.size(value)) for value in self.state.weights.average.values())
        families = f"{len(spec.problems)} problem families" if len(spec.problems) > 1 else spec.problems[0].title
        return f"{names_of(self.optimizer)} ({count:,} weights) on {families}"

    def _account(self) -> dict:
        """What the artifact's card says of the run."""
        state = self.state
        validation = {"best_validation_objective": state.best_score} if state.best_score < math.inf else {}
        done = {"meta_steps": state.meta_step, "inner_steps": state.inner_steps, "seconds": round(state.seconds, 1)}
        planned = {"complete": self.complete, "meta_steps_planned": self.spec.meta_steps}
        repeatable = {"repeatable": False} if self.spec.executor.mode == "asynchronous" else {}
        return account(self.spec) | planned | done | validation | repeatable

    def summary(self) -> dict:
        """The outcome of the run."""
        directory, state = self.directory, self.state
        validation = {"best_validation_objective": round(state.best_score, 4)} if state.best_score < math.inf else {}
        return {
            "run": str(directory.path),
            "artifact": str(directory.artifact),
            "meta_steps": state.meta_step,
            "meta_steps_planned": self.spec.meta_steps,
            "inner_steps": state.inner_steps,
            "seconds": round(state.seconds, 1),
        } | validation


def _check_workers(spec: MetaTraining, cluster: object) -> None:
    if spec.executor.mode == "asynchronous" and cluster is None:
        raise BadInput("executor.mode: asynchronous needs workers: --workers or --scheduler")


def with_record(spec: MetaTraining, config: str | None) -> MetaTraining:
    """The spec with the versions, data sources and own files it is run with, and what it was read from, if that is known."""
    data = {entry.title: entry.make().source for entry in (*spec.problems, *spec.validation.problems)}
    record = {**({"config": config} if config else {}), **environment(), "data": data}
    if files := imported_files():
        record["own_files"] = files
    return spec.model_copy(update={"record": record})


def account(spec: MetaTraining) -> dict:
    """What a card says of the spec."""
    return {
        "problems": [entry.title for entry in spec.problems],
        "validation_problems": [entry.title for entry in spec.validation.problems],
        "seed": spec.seed,
        "record": spec.record,
        "spec": spec.model_dump(mode="json", exclude={"record"}),
    }


def _initial_weights(spec: MetaTraining) -> Weights | None:
    """The weights that the run is to begin with; None if they are to be drawn.

    Raises:
        BadInput: there are none, or they are those of another optimizer.
    """
    if spec.begin_from is None:
        return None
    found, wanted = resolve(spec.begin_from).weights, spec.optimizer.make().init_weights(0)
    for name in sorted({*found, *wanted}):
        shapes = [list(np.shape(weights[name])) if name in weights else "missing" for weights in (found, wanted)]
        if shapes[0] != shapes[1]:
            raise BadInput(f"begin_from: {spec.begin_from!r} is another optimizer: {name} is {shapes[0]}, not {shapes[1]}")
    return {name: found[name] for name in wanted}  # in the order in which a resumed run, and its meta-optimizer, has them


def _arrays(weights: Weights) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in weights.items()}
