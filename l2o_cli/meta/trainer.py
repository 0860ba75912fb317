"""Meta-training: draws problem families, estimates meta-gradients, moves and averages the weights, validates, saves."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from l2o_cli.errors import BadInput, Failure
from l2o_cli.export.artifact import save_artifact
from l2o_cli.export.resolve import resolve
from l2o_cli.meta.checkpoints import mismatch
from l2o_cli.meta.families import Estimated, Families, within
from l2o_cli.meta.meta_optimizer import FINITE, WeightsInTraining, learning_rate, make
from l2o_cli.meta.population import derive_seed
from l2o_cli.meta.record import account, with_record
from l2o_cli.meta.rollback import Rollbacks
from l2o_cli.meta.run_directory import DIAGNOSTIC, RunDirectory
from l2o_cli.meta.run_tables import read_table
from l2o_cli.meta.validation import Score, Validator, overall
from l2o_cli.meta.watchdog import RunWarning, Watchdog, no_progress
from l2o_cli.optimizers.base import Weights
from l2o_cli.optimizers.transforms import names_of
from l2o_cli.spec import MetaTraining

# Purposes for which seeds are derived from the run's seed.
_WEIGHTS, _POPULATION, _DRAW, _VALIDATION, _PERTURBATIONS = range(5)


@dataclass(frozen=True)
class Progress:
    """What is told after each meta-step."""

    meta_step: int
    meta_steps: int
    meta_loss: float  # mean over the families of this step
    inner_steps: int  # of this meta-step, over all instances
    seconds: float  # of this meta-step
    compile_seconds: float  # of them, of first truncations, which compile
    scores: tuple[Score, ...] = ()  # of the validation, where there was one
    best: bool = False  # whether it was the best so far
    rolled_back: bool = False  # whether the run then went back to its best weights
    warnings: tuple[RunWarning, ...] = ()  # of what begins to go wrong


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop; it is saved."""


class Trainer:
    """One meta-training run. Its state is (weights, average, meta-optimizer, populations, best, step); seeds derive from the
    run's seed and the step, so that a resumed run goes on bit for bit."""

    def __init__(self, spec: MetaTraining, directory: RunDirectory, xla: bool = True, begun: Weights | None = None):
        """Args:
        begun: the weights it begins with; None: drawn.
        """
        self.spec, self.directory = spec, directory
        self.optimizer = spec.optimizer.make()
        seed = spec.seed
        initial = begun or self.optimizer.init_weights(derive_seed(seed, _WEIGHTS))
        self.weights = WeightsInTraining(spec.meta_optimizer, spec.ema, initial, spec.objective.weight_decay)
        self.families = Families(spec, self.optimizer, derive_seed(seed, _POPULATION), derive_seed(seed, _PERTURBATIONS), xla)
        self._validator = Validator(spec.validation, spec.objective, self.optimizer, derive_seed(seed, _VALIDATION), xla)
        self._watchdog = Watchdog()  # when the run begins, one that knows its tables
        self.meta_step = 0  # updates made
        self.inner_steps = 0
        self.seconds = 0.0
        self.best_score = np.inf
        self.best = self.weights.average
        self._rollbacks = Rollbacks(spec.validation.rollback)
        # What a checkpoint would hold is whole but while a meta-step is applied, and while it is validated, before which
        # the state is put aside.
        self._whole = threading.Lock()
        self._aside: tuple[int, dict[str, tf.Tensor]] | None = None
        self._saved = 0  # the meta-step of the last checkpoint

    @classmethod
    def open(
        cls, spec: MetaTraining | None, out: Path, *, resume: bool = False, xla: bool = True, config: str | None = None
    ) -> Trainer:
        """A new run in the directory `out`, or the run that is there, at its last checkpoint; `config` says whence the spec is.

        Raises:
            BadInput: `out` is in use, or holds another run than the one to resume.
        """
        if not resume:
            assert spec is not None
            make(spec.meta_optimizer)  # a checkpoint it names may be missing: said before a directory is made
            begun = _weights_of(spec)
            spec = with_record(spec, config)
            return cls(spec, RunDirectory.create(out, spec), xla, begun)
        directory, spec = RunDirectory.reopen(out, spec)
        trainer = cls(spec, directory, xla)
        leaves = directory.restore(trainer._fault)
        if leaves is None:
            return cls(spec, directory, xla, _weights_of(spec))
        trainer._restore(leaves)
        return trainer

    @property
    def complete(self) -> bool:
        return self.meta_step >= self.spec.meta_steps

    def run(self, watch: Callable[[Progress], None], stop: Callable[[], bool] = lambda: False, until: float = math.inf) -> None:
        """Train to the end, or until time is up; then the run is saved and the best weights so far are in its artifact.

        Args:
            watch: called after each meta-step.
            stop: asked after each meta-step; when it says so the run is saved and `Interrupted` raised.
            until: when time is up, on the clock of `time.monotonic()`; the meta-step under way is finished.

        Raises:
            Failure: no meta-step moved a weight, or no meta-loss was a finite number; the run is saved and has no artifact.
        """
        spec = self.spec
        with self.directory.in_use(), ThreadPoolExecutor(min(spec.families_per_step, os.cpu_count() or 1)) as pool:
            self.directory.cut(self.meta_step or -1)  # what begins again has no rows, of the validation at its start neither
            self._watchdog = self._informed_watchdog()
            if self.meta_step == 0 and spec.validation.start:
                scores, _, _ = self._validate()
                self._watchdog.validated(self._validation_rows(scores))
            late = False
            while not self.complete and not late:
                watch(self._step(pool))
                stopping, late = stop(), time.monotonic() >= until
                if self.complete or stopping or late or self.meta_step % spec.checkpoint_every == 0:
                    self.save()
                if stopping and not self.complete:
                    raise Interrupted
            fruitless = self._watchdog.outset.fault
            if fruitless:
                raise Failure(f"{self.directory.path}: no artifact is written: {fruitless}")
            weights = {name: np.asarray(value) for name, value in self._best_so_far().items()}
            save_artifact(self.directory.artifact, self.optimizer, weights, {"meta_training": self._account()})

    def save(self) -> str:
        """Have a checkpoint of the last meta-step that is whole, which may be the one before that under way; says of which.

        May be called at any time, in another thread than `run`. Failure if it cannot be written.
        """
        with self._whole:
            step, leaves = self._aside or (self.meta_step, None)
            if step != self._saved:
                self.directory.save(step, self._snapshot() if leaves is None else leaves)
                self._saved = step
        return f"saved after meta-step {step}" if step else "no meta-step is finished yet"

    def _best_so_far(self) -> Weights:
        """The averaged weights with the best score, or as they are before the first validation."""
        return self.best if self.best_score < math.inf else self.weights.average

    def _step(self, pool: ThreadPoolExecutor) -> Progress:
        spec, began = self.spec, time.perf_counter()
        rng = np.random.default_rng(derive_seed(spec.seed, _DRAW, self.meta_step))
        weights = self.weights.current
        estimated = self.families.estimate(pool, self.families.draw(rng, self.meta_step), weights, self.meta_step)
        gradients = tf.stack([part.estimate.gradient for part in estimated])  # [F, W]
        with self._whole:
            if self._validates_at(self.meta_step + 1):
                self._aside = self.meta_step, self._snapshot()
            rows, seconds = self._apply(estimated, gradients, began)
        inner_steps = sum(part.inner_steps for part in estimated)
        self.directory.event(
            self.meta_step,
            {f"meta_loss/{row['problem']}": row["meta_loss"] for row in rows}
            | {
                f"estimator/{name}/{part.title}": float(value)
                for part in estimated
                for name, value in part.estimate.diagnostics.items()
            }
            | {name: rows[0][name] for name in ("mean_norm", "learning_rate")}
            | {"inner_steps_per_second": inner_steps / seconds},
            {"meta_gradient": gradients} if self.meta_step % spec.validation.every == 0 else None,
        )
        scores, best, rolled_back = self._validate()
        self.seconds += time.perf_counter() - began
        with self._whole:
            self._aside = None
        meta_loss = float(np.mean([row["meta_loss"] for row in rows]))
        compile_seconds = max(part.compile_seconds for part in estimated)
        warnings = self._watchdog.step(rows) + self._watchdog.validated(self._validation_rows(scores))
        return Progress(
            self.meta_step,
            spec.meta_steps,
            meta_loss,
            inner_steps,
            seconds,
            compile_seconds,
            scores,
            best,
            rolled_back,
            tuple(warnings),
        )

    def _apply(self, estimated: Sequence[Estimated], gradients: tf.Tensor, began: float) -> tuple[list[dict[str, Any]], float]:
        """Move the weights by the meta-gradients [F, W], and write of the meta-step: its rows, and its seconds since `began`."""
        spec = self.spec
        rate = learning_rate(spec.meta_optimizer, self.meta_step, spec.meta_steps)
        applied = self.weights.apply(gradients, rate, self.meta_step)
        self.meta_step += 1
        current = self.weights.current
        replaced = [
            self.families.populations[part.family].advance(part.estimate.particles, current, self.meta_step) for part in estimated
        ]
        seconds = time.perf_counter() - began
        self.inner_steps += sum(part.inner_steps for part in estimated)
        common = {"mean_norm": applied.norm, "skipped": int(applied.skipped), "learning_rate": rate}
        rows = [
            {"meta_step": self.meta_step, **_row(part), "replaced": resets, **common, "seconds": round(seconds, 4)}
            for part, resets in zip(estimated, replaced, strict=True)
        ]
        self.directory.metrics.append(rows)
        self.directory.horizons.append(
            {"meta_step": self.meta_step, "problem": part.title, "horizon": horizon}
            for part in estimated
            for horizon in self.families.populations[part.family].begun()
        )
        return rows, seconds

    def _validation_rows(self, scores: Sequence[Score]) -> list[dict[str, Any]]:
        return [{"meta_step": self.meta_step, **vars(entry)} for entry in scores]

    def _informed_watchdog(self) -> Watchdog:
        """One that knows the meta-steps made before this process; what it had to say of them was said then."""
        watchdog = Watchdog(no_progress(self.spec.objective.model_dump()))
        try:
            watchdog.replay(*(read_table(self.directory.path / f"{name}.csv") for name in ("metrics", "validation")))
        except BadInput:  # a damaged table; training goes on without
            watchdog.outset.presume_fruitful()
        return watchdog

    def _validates_at(self, meta_step: int) -> bool:
        validation = self.spec.validation
        return bool(validation.problems) and (meta_step % validation.every == 0 or meta_step == self.spec.meta_steps)

    def _validate(self) -> tuple[tuple[Score, ...], bool, bool]:
        """Score the averaged weights when it is time to, keep them if they are the best so far, or go back to those.

        Returns:
            The scores, whether they are the best, whether the run went back.
        """
        validation = self.spec.validation
        if not validation.problems:
            self.best = self.weights.average
            return (), False, False
        if not self._validates_at(self.meta_step):
            return (), False, False
        scores = self._validator.scores(self.weights.average)
        score = overall(scores)
        rolled_back = self._rollbacks.validated(self.weights, score, self.best_score)
        if rolled_back:
            # Instances that the weights given up have led somewhere tell little about those returned to.
            self.families.restart()
        best = score < self.best_score
        if best:
            self.best_score, self.best = score, self.weights.average
        self.directory.validation.append(row | {"rolled_back": int(rolled_back)} for row in self._validation_rows(scores))
        self.directory.event(
            self.meta_step,
            {f"validation/{entry.problem}": entry.objective for entry in scores}
            | {"validation": score, "rollbacks": self._rollbacks.count},
            {f"average/{name}": value for name, value in self.weights.average.items()},
        )
        return tuple(scores), best, rolled_back

    def _snapshot(self) -> dict[str, tf.Tensor]:
        leaves = self.weights.snapshot()
        leaves |= {f"best/{name}": value for name, value in self.best.items()}
        leaves["progress"] = tf.constant([self.meta_step, self.inner_steps, self.seconds, self.best_score], tf.float64)
        leaves |= {f"rollback/{path}": leaf for path, leaf in self._rollbacks.snapshot().items()}
        return leaves | {f"family/{path}": leaf for path, leaf in self.families.snapshot(self.meta_step).items()}

    def _fault(self, meta_step: int, leaves: Mapping[str, tf.Tensor]) -> str | None:
        """What is wrong with the leaves of a checkpoint after `meta_step`, which may be those of another run, or None."""
        apart = {part: within(part, leaves) for part in ("rollback/", "family/")}
        own = {name: leaf for name, leaf in leaves.items() if not name.startswith(tuple(apart))}
        like = self.weights.snapshot() | {f"best/{name}": value for name, value in self.best.items()}
        found = mismatch(own, like | {"progress": tf.TensorSpec([4], tf.float64)}, (*FINITE, "best/"))
        if found is None:
            step, inner_steps, seconds, best_score = leaves["progress"].numpy()
            # The best score is infinite until there is one.
            if step != meta_step or not (0 <= inner_steps < math.inf and 0 <= seconds < math.inf) or math.isnan(best_score):
                found = f"leaf 'progress' is {', '.join(f'{value:.6g}' for value in (step, inner_steps, seconds, best_score))}"
        found = found or self._rollbacks.fault(apart["rollback/"], self.weights)
        return found or self.families.fault(apart["family/"], meta_step)

    def _restore(self, leaves: dict[str, tf.Tensor]) -> None:
        self.weights.restore(leaves)
        self.best = {name: leaves[f"best/{name}"] for name in self.best}
        meta_step, inner_steps, self.seconds, self.best_score = (float(value) for value in leaves["progress"])
        self.meta_step, self.inner_steps = int(meta_step), int(inner_steps)
        self._saved = self.meta_step
        self._rollbacks.restore(within("rollback/", leaves))
        self.families.restore(within("family/", leaves))

    def describe(self) -> str:
        """What is trained on what, in one line."""
        spec = self.spec
        count = sum(int(tf.size(value)) for value in self.weights.current.values())
        families = f"{len(spec.problems)} problem families" if len(spec.problems) > 1 else spec.problems[0].title
        return f"{names_of(self.optimizer)} ({count:,} weights) on {families}"

    def _account(self) -> dict:
        """What the artifact's card says of the run."""
        validation = {"best_validation_objective": self.best_score} if self.best_score < math.inf else {}
        done = {"meta_steps": self.meta_step, "inner_steps": self.inner_steps, "seconds": round(self.seconds, 1)}
        planned = {"complete": self.complete, "meta_steps_planned": self.spec.meta_steps}
        return account(self.spec) | planned | done | validation

    def summary(self) -> dict:
        """The outcome of the run."""
        rows = {
            "run": str(self.directory.path),
            "artifact": str(self.directory.artifact),
            "meta_steps": self.meta_step,
            "meta_steps_planned": self.spec.meta_steps,
            "inner_steps": self.inner_steps,
            "seconds": round(self.seconds, 1),
        }
        if self.best_score < math.inf:
            rows["best_validation_objective"] = round(self.best_score, 4)
        return rows


def _weights_of(spec: MetaTraining) -> Weights | None:
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
    return dict(found)


def _row(part: Estimated) -> dict[str, Any]:
    """What metrics.csv says of a family's part of a meta-step."""
    estimate = part.estimate
    return {
        "problem": part.title,
        "truncation": part.length,
        "meta_loss": float(estimate.meta_loss),
        "gradient_norm": float(estimate.norm),
        "nonfinite_entries": int(estimate.nonfinite),
        "diverged": estimate.diverged,
        "inner_steps": part.inner_steps,
        "compile_seconds": round(part.compile_seconds, 4),
        **{DIAGNOSTIC.format(name): float(value) for name, value in estimate.diagnostics.items() if "/" not in name},
    }
