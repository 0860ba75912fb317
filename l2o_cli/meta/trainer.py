"""Meta-training: draws problem families, estimates meta-gradients, moves and averages the weights, validates, saves."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from l2o_cli.export.artifact import save_artifact
from l2o_cli.meta import horizons
from l2o_cli.meta.estimators import Estimate, truncated_backpropagation
from l2o_cli.meta.meta_optimizer import WeightsInTraining, learning_rate
from l2o_cli.meta.population import Population, derive_seed
from l2o_cli.meta.record import account, with_record
from l2o_cli.meta.run_directory import RunDirectory
from l2o_cli.meta.validation import Score, Validator, overall
from l2o_cli.runtime import give_memory_back
from l2o_cli.spec import MetaTraining
from problems.transforms import alike

# Purposes for which seeds are derived from the run's seed.
_WEIGHTS, _POPULATION, _DRAW, _VALIDATION = range(4)


@dataclass(frozen=True)
class Progress:
    """What is told after each meta-step."""

    meta_step: int
    meta_steps: int
    meta_loss: float  # mean over the families of this step
    inner_steps: int  # of this meta-step, over all instances
    seconds: float  # of this meta-step
    scores: tuple[Score, ...] = ()  # of the validation, where there was one
    best: bool = False  # whether it was the best so far


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop; it is saved."""


class Trainer:
    """One meta-training run. Its state is (weights, average, meta-optimizer, populations, best, step); seeds derive from the
    run's seed and the step, so that a resumed run goes on bit for bit."""

    def __init__(self, spec: MetaTraining, directory: RunDirectory, xla: bool = True):
        self.spec, self.directory = spec, directory
        self.optimizer = spec.optimizer.make()
        seed = spec.seed
        self.weights = WeightsInTraining(spec.meta_optimizer, spec.ema, self.optimizer.init_weights(derive_seed(seed, _WEIGHTS)))
        problems = alike([entry.make() for entry in spec.problems])
        self.populations = [
            Population(
                problem, self.optimizer, spec.horizon, entry.instances or spec.instances, derive_seed(seed, _POPULATION, index)
            )
            for index, (entry, problem) in enumerate(zip(spec.problems, problems, strict=True))
        ]
        # Families of equal structure share a compilation.
        estimates = {
            problem.structure: truncated_backpropagation(
                problem, self.optimizer, spec.objective, spec.estimator, spec.truncation.maximum, xla
            )
            for problem in problems
        }
        self._estimates = [estimates[problem.structure] for problem in problems]
        self._validator = Validator(spec.validation, spec.objective, self.optimizer, derive_seed(seed, _VALIDATION), xla)
        self._seen: set[int] = set()  # families that were estimated in this process
        self.meta_step = 0  # updates made
        self.inner_steps = 0
        self.seconds = 0.0
        self.best_score = np.inf
        self.best = self.weights.average

    @classmethod
    def open(cls, spec: MetaTraining | None, out: Path, *, resume: bool = False, xla: bool = True) -> Trainer:
        """A new run in the directory `out`, or the run that is there, at its last checkpoint.

        Raises:
            BadInput: `out` is in use, or holds another run than the one to resume.
        """
        if not resume:
            assert spec is not None
            spec = with_record(spec)
            return cls(spec, RunDirectory.create(out, spec), xla)
        directory, spec = RunDirectory.reopen(out, spec)
        trainer = cls(spec, directory, xla)
        leaves = directory.restore()
        if leaves is not None:
            trainer._restore(leaves)
        return trainer

    def run(self, watch: Callable[[Progress], None], stop: Callable[[], bool] = lambda: False) -> None:
        """Train to the end and write the artifact.

        Args:
            watch: called after each meta-step.
            stop: asked after each meta-step; when it says so the run is saved and `Interrupted` raised.
        """
        spec = self.spec
        self.directory.metrics.cut(self.meta_step)
        self.directory.validation.cut(self.meta_step)
        with ThreadPoolExecutor(min(spec.families_per_step, os.cpu_count() or 1)) as pool:
            while self.meta_step < spec.meta_steps:
                watch(self._step(pool))
                last = self.meta_step == spec.meta_steps
                stopping = stop()
                if last or stopping or self.meta_step % spec.checkpoint_every == 0:
                    self.directory.save(self.meta_step, self._snapshot())
                if stopping and not last:
                    self.directory.close()
                    raise Interrupted
        self.directory.close()
        weights = {name: np.asarray(value) for name, value in self.best.items()}
        save_artifact(self.directory.artifact, self.optimizer, weights, {"meta_training": self._account()})

    def _step(self, pool: ThreadPoolExecutor) -> Progress:
        spec, began = self.spec, time.perf_counter()
        rng = np.random.default_rng(derive_seed(spec.seed, _DRAW, self.meta_step))
        odds = np.array([entry.weight for entry in spec.problems])
        count = min(spec.families_per_step, len(odds))
        drawn = [int(index) for index in rng.choice(len(odds), count, replace=False, p=odds / odds.sum())]
        lengths = [int(length) for length in horizons.draw(spec.truncation, rng, count)]
        weights = self.weights.current
        for index in drawn:
            if index not in self._seen:
                # Here, since what threads trace has another order each time.
                self._estimates[index].trace(weights, self.populations[index].carry(weights, self.meta_step))

        # The families are independent: they keep both cores busy, and are combined in the order they were drawn.
        def estimate(index: int, length: int) -> Estimate:
            carry = self.populations[index].carry(weights, self.meta_step)
            result = self._estimates[index](weights, carry, tf.constant(length))
            if index not in self._seen:
                # The first call compiles; of a hundred families what it leaves behind adds up to gigabytes.
                self._seen.add(index)
                give_memory_back()
            return result

        estimates = list(pool.map(estimate, drawn, lengths))
        rate = learning_rate(spec.meta_optimizer, self.meta_step, spec.meta_steps)
        mean_norm = self.weights.apply([result.gradient for result in estimates], rate)
        self.meta_step += 1
        replaced = []
        for index, result in zip(drawn, estimates, strict=True):
            replaced.append(self.populations[index].advance(result.carry, self.weights.current, self.meta_step))

        seconds = time.perf_counter() - began
        made = [length * self.populations[index].instances for index, length in zip(drawn, lengths, strict=True)]
        inner_steps = sum(made)
        self.inner_steps += inner_steps
        rows: list[dict[str, Any]] = [
            {
                "meta_step": self.meta_step,
                "problem": spec.problems[index].title,
                "truncation": length,
                "meta_loss": float(result.meta_loss),
                "gradient_norm": float(result.norm),
                "nonfinite_entries": int(result.nonfinite),
                "diverged": int(result.diverged),
                "replaced": resets,
                "mean_norm": mean_norm,
                "learning_rate": rate,
                "inner_steps": own_steps,
                "seconds": round(seconds, 4),
            }
            for index, length, result, resets, own_steps in zip(drawn, lengths, estimates, replaced, made, strict=True)
        ]
        self.directory.metrics.append(rows)
        self.directory.event(
            self.meta_step,
            {f"meta_loss/{row['problem']}": row["meta_loss"] for row in rows}
            | {"mean_norm": mean_norm, "learning_rate": rate, "inner_steps_per_second": inner_steps / seconds},
        )
        scores, best = self._validate()
        self.seconds += time.perf_counter() - began
        meta_loss = float(np.mean([row["meta_loss"] for row in rows]))
        return Progress(self.meta_step, spec.meta_steps, meta_loss, inner_steps, seconds, scores, best)

    def _validate(self) -> tuple[tuple[Score, ...], bool]:
        """Score the averaged weights when it is time to, and keep them if they are the best so far."""
        validation = self.spec.validation
        if not validation.problems:
            self.best = self.weights.average
            return (), False
        if self.meta_step % validation.every and self.meta_step != self.spec.meta_steps:
            return (), False
        scores = self._validator.scores(self.weights.average)
        score = overall(scores)
        best = score < self.best_score
        if best:
            self.best_score, self.best = score, self.weights.average
        self.directory.validation.append({"meta_step": self.meta_step, **vars(entry)} for entry in scores)
        self.directory.event(
            self.meta_step,
            {f"validation/{entry.problem}": entry.objective for entry in scores} | {"validation": score},
        )
        return tuple(scores), best

    def _snapshot(self) -> dict[str, tf.Tensor]:
        leaves = self.weights.snapshot()
        leaves |= {f"best/{name}": value for name, value in self.best.items()}
        leaves["progress"] = tf.constant([self.meta_step, self.inner_steps, self.seconds, self.best_score], tf.float64)
        for index, population in enumerate(self.populations):
            leaves |= {f"population/{index}/{path}": leaf for path, leaf in population.snapshot().items()}
        return leaves

    def _restore(self, leaves: dict[str, tf.Tensor]) -> None:
        self.weights.restore(leaves)
        self.best = {name: leaves[f"best/{name}"] for name in self.best}
        meta_step, inner_steps, self.seconds, self.best_score = (float(value) for value in leaves["progress"])
        self.meta_step, self.inner_steps = int(meta_step), int(inner_steps)
        for index, population in enumerate(self.populations):
            prefix = f"population/{index}/"
            population.restore({path.removeprefix(prefix): leaf for path, leaf in leaves.items() if path.startswith(prefix)})

    def describe(self) -> str:
        """What is trained on what, in one line."""
        spec = self.spec
        count = sum(int(tf.size(value)) for value in self.weights.current.values())
        families = f"{len(spec.problems)} problem families" if len(spec.problems) > 1 else spec.problems[0].title
        return f"{self.optimizer.name} ({count:,} weights) on {families}"

    def _account(self) -> dict:
        """What the artifact's card says of the run."""
        validation = {"best_validation_objective": self.best_score} if self.spec.validation.problems else {}
        done = {"meta_steps": self.meta_step, "inner_steps": self.inner_steps, "seconds": round(self.seconds, 1)}
        return account(self.spec) | done | validation

    def summary(self) -> dict:
        """The outcome of the run."""
        rows = {
            "run": str(self.directory.path),
            "artifact": str(self.directory.artifact),
            "meta_steps": self.meta_step,
            "inner_steps": self.inner_steps,
            "seconds": round(self.seconds, 1),
        }
        if self.spec.validation.problems:
            rows["best_validation_objective"] = round(self.best_score, 4)
        return rows
