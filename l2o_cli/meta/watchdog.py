"""Warnings when a meta-training run goes wrong, from nothing but the rows that it writes."""

from __future__ import annotations

import itertools
import math
import statistics
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]  # of metrics.csv or validation.csv, its numbers as numbers; a column may be absent

ZERO = 1e-12  # a gradient norm that is practically zero, whatever its median
HISTORY = 200  # values that a running median is of
ENOUGH = 20  # of them before anything is compared with it
PATIENCE = 10  # meta-steps, or draws of a family, for which something must be wrong
EXPLODED = 100.0  # times the running median of a gradient norm
COLLAPSED = 1e-4  # times the running median of a gradient norm
LOSS_JUMP = 3.0  # of a meta-loss above its running median; a factor of 20 in the loss, for the logarithmic objective
LOSS_SPREAD = 10.0  # the same, in median deviations from that median
FLAT = 1e-3  # range of a family's last `ENOUGH` meta-losses, relative to them where they are above 1
STARTS = {"log": 0.0, "ratio": 1.0, "adam": 1.0}  # what the scales of an objective make of the initial loss
WORSE = 3  # validations in a row, each worse than the one before
WORSE_BY = 0.05  # by which they are worse together, in units of the validation objective


@dataclass(frozen=True)
class RunWarning:
    """Something that goes wrong since about `meta_step`."""

    kind: str  # explosion, collapse, discarded, divergence, non-finite, fruitless or validation
    meta_step: int
    message: str  # one line: the family, a number, and what to try

    def __str__(self) -> str:
        return f"meta-step {self.meta_step}: {self.message}"


def no_progress(objective: Mapping[str, Any]) -> float:
    """The meta-loss of runs that stay at their initial loss; NaN where that depends on the problem.

    Args:
        objective: as a spec writes it; older ones have `log` instead of terms.
    """
    terms = objective.get("terms") or [{"scale": "log" if objective.get("log", True) else "ratio"}]
    return sum(term.get("weight", 1.0) * STARTS.get(term.get("scale", "log"), math.nan) for term in terms)


class _Episode:
    """Begins after `begin` bad observations in a row and ends after `end` good ones."""

    def __init__(self, begin: int = PATIENCE, end: int = PATIENCE):
        self._needed = {True: begin, False: end}
        self._active, self._streak = False, 0

    def begins(self, bad: bool) -> bool:
        """Take in an observation; whether it makes an episode begin."""
        self._streak = self._streak + 1 if bad != self._active else 0
        if self._streak < self._needed[bad]:
            return False
        self._active, self._streak = bad, 0
        return bad


class _Norms:
    """The norms of one gradient against their running median."""

    def __init__(self) -> None:
        self._history: deque[float] = deque(maxlen=HISTORY)
        self._exploded, self._collapsed = _Episode(), _Episode()

    def judge(self, norm: float) -> tuple[bool, bool, float]:
        """Whether an explosion and a collapse begin, and the median of the healthy norms before."""
        known = len(self._history) >= ENOUGH
        median = statistics.median(self._history) if known else math.nan
        high = not math.isfinite(norm) or (known and norm > EXPLODED * max(median, ZERO))
        low = norm <= ZERO or (known and norm < COLLAPSED * median)
        if not high and not low:
            self._history.append(norm)
        return self._exploded.begins(high), self._collapsed.begins(low), median


class _Family:
    """What is remembered of one problem family."""

    def __init__(self) -> None:
        self._losses: deque[float] = deque(maxlen=HISTORY)
        self.last: deque[float] = deque(maxlen=ENOUGH)
        self._exploded, self._flat = _Episode(), _Episode(begin=1)
        self.diverged = _Episode(begin=1)

    def loss_explodes(self, meta_loss: float) -> tuple[bool, float]:
        """Whether an explosion begins, and the median of the healthy meta-losses before."""
        median, high = math.nan, not math.isfinite(meta_loss)
        if len(self._losses) >= ENOUGH:
            median = statistics.median(self._losses)
            spread = statistics.median(abs(value - median) for value in self._losses)
            high |= meta_loss > median + max(LOSS_JUMP, LOSS_SPREAD * spread)
        if not high:
            self._losses.append(meta_loss)
        return self._exploded.begins(high), median

    def loss_is_stuck(self, meta_loss: float, start: float) -> bool:
        """Whether the meta-loss begins to be flat at `start` or above; a solved problem is flat far below."""
        self.last.append(meta_loss)
        level = statistics.median(self.last)
        flat = math.isfinite(level) and max(self.last) - min(self.last) <= FLAT * max(1.0, abs(level))
        return self._flat.begins(len(self.last) == ENOUGH and flat and level > start - FLAT)


class Watchdog:
    """Says once per episode what goes wrong.

    Its state follows from the rows: fed with those of metrics.csv and validation.csv again (`replay`), it is where it was.

    Args:
        start: the meta-loss of runs that stay where they start, see `no_progress`.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._start = start
        self._mean, self._typical = _Norms(), _Norms()
        self._families: defaultdict[str, _Family] = defaultdict(_Family)
        self._discarded, self._nonfinite = _Episode(), _Episode()
        self._recent: deque[Sequence[Row]] = deque(maxlen=PATIENCE)  # meta-steps
        self._scores: deque[float] = deque(maxlen=WORSE + 1)
        self._worse = _Episode(begin=1, end=1)
        self._moved = self._measured = False  # whether the weights ever did, and a meta-loss was ever a finite number

    def replay(self, metrics: Iterable[Row], validation: Iterable[Row] = ()) -> list[RunWarning]:
        """Take in the rows of whole tables, in the order of their meta-steps; all their warnings."""
        scores = {step: list(rows) for step, rows in itertools.groupby(validation, _meta_step)}
        warnings = []
        for step, rows in itertools.groupby(metrics, _meta_step):
            warnings += self.update(list(rows)) + self.validation(scores.get(step, []))
        return warnings

    def update(self, rows: Sequence[Row]) -> list[RunWarning]:
        """Take in the rows of one meta-step."""
        first = not self._recent
        self._recent.append(rows)
        self._moved |= not rows[0].get("skipped", 0)
        self._measured |= any(math.isfinite(row.get("meta_loss", 0.0)) for row in rows)
        found = [("fruitless", self.fault)] if first and self.fault else []
        found += [*self._combined(rows), *self._typical_norm(rows), *self._nonfinite_entries()]
        for row in rows:
            found += self._family(row)
        return [RunWarning(kind, _meta_step(rows[0]), message) for kind, message in found]

    def validation(self, rows: Sequence[Row]) -> list[RunWarning]:
        """Take in the rows of one validation; none if there was none."""
        if not rows:
            return []
        self._scores.append(statistics.fmean(row["objective"] for row in rows))
        scores = list(self._scores)
        rising = all(later > earlier or math.isnan(later) for earlier, later in itertools.pairwise(scores))
        if not self._worse.begins(len(scores) > WORSE and rising and not scores[-1] - scores[0] < WORSE_BY):
            return []
        message = (
            f"validation got worse {WORSE} times in a row, from {scores[0]:.3g} to {scores[-1]:.3g}; the best weights so far are "
            "kept; it may recover; otherwise try longer truncations and horizons, or a lower meta_optimizer.learning_rate"
        )
        return [RunWarning("validation", _meta_step(rows[0]), message)]

    def presume_fruitful(self) -> None:
        """Of the meta-steps so far nothing is known."""
        self._moved = self._measured = True

    @property
    def fault(self) -> str | None:
        """What is wrong if nothing was learned so far, and what to try; None where something was, or at the very start."""
        if not self._recent or (self._moved and self._measured):
            return None
        worst = max(self._recent[-1], key=lambda row: row.get("gradient_norm", 0.0))
        name, norm = worst["problem"], worst.get("gradient_norm", math.nan)
        if _all_diverged(worst):
            return f"no weight has moved: all instances of {name} diverge at once; try a lower initial rate, or other problems"
        if not self._measured:
            loss = worst["meta_loss"]
            return f"every meta-loss is {loss:g}, as of {name}; try other problems, or another scale of the objective"
        what = f"no weight has moved: all meta-steps are skipped, the gradient norm of {name} being {norm:.2g}"
        if norm > ZERO:
            return f"{what}; try a greater meta_optimizer.discard_norm, or shorter truncations"
        return f"{what}; try another objective, or other problems"

    def _combined(self, rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
        """Of the gradient that was applied."""
        norm = rows[0].get("mean_norm")
        if norm is None:
            return
        own = [row["gradient_norm"] for row in rows if row.get("gradient_norm") is not None]
        left_out = norm <= ZERO and any(value > ZERO for value in own)
        if self._discarded.begins(left_out):
            yield (
                "discarded",
                f"no family contributed to the weights' update for {PATIENCE} meta-steps, their gradient norms being up to "
                f"{max(own):.2g}; try a greater meta_optimizer.discard_norm, or shorter truncations",
            )
        if left_out:
            return
        exploded, collapsed, median = self._mean.judge(norm)
        if exploded:
            yield (
                "explosion",
                f"norm of the combined meta-gradient {norm:.2g}, {_compared(median)} for {PATIENCE} meta-steps; try "
                "meta_optimizer.clip_family_norm at about the median, discard_norm, or a lower learning_rate",
            )
        if collapsed:
            yield (
                "collapse",
                f"norm of the combined meta-gradient {norm:.2g}, {_compared(median)} for {PATIENCE} meta-steps: nothing is "
                "learned; try other initial weights (seed), a lower meta_optimizer.learning_rate, or longer truncations",
            )

    def _typical_norm(self, rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
        """Of the families' gradients before clipping, which hides from the combined one that they explode.

        Their median: chaotic truncations of single families are left to clipping and `discard_norm` (docs/meta-training.md).
        """
        own = [row for row in rows if row.get("gradient_norm") is not None]
        if not own:
            return
        worst = max(own, key=lambda row: row["gradient_norm"])
        norm = statistics.median(row["gradient_norm"] for row in own)
        exploded, _, median = self._typical.judge(norm)
        if exploded:
            yield (
                "explosion",
                f"median norm of the families' meta-gradients {norm:.2g}, {_compared(median)} for {PATIENCE} meta-steps, "
                f"greatest in {worst['problem']} ({worst['gradient_norm']:.2g}); "
                "try a lower meta_optimizer.learning_rate, or shorter truncations",
            )

    def _nonfinite_entries(self) -> Iterator[tuple[str, str]]:
        """Of the rows of the last meta-steps most have them."""
        recent = [row for step in self._recent for row in step]
        bad = [row for row in recent if row.get("nonfinite_entries", 0) > 0]
        if self._nonfinite.begins(2 * len(bad) > len(recent)):
            worst = max(bad, key=lambda row: row["nonfinite_entries"])
            yield (
                "non-finite",
                f"non-finite entries in {len(bad)} of the last {len(recent)} families' meta-gradients, most in "
                f"{worst['problem']} ({worst['nonfinite_entries']:.0f}); try shorter truncations or a lower estimator.divergence",
            )

    def _family(self, row: Row) -> Iterator[tuple[str, str]]:
        name, family = row["problem"], self._families[row["problem"]]
        if (loss := row.get("meta_loss")) is not None:
            if not family.last and not math.isfinite(loss) and not self.fault:
                yield "non-finite", f"{name}: meta-loss {loss:g} from its first draw on; try the family with other options"
            exploded, median = family.loss_explodes(loss)
            if exploded:
                yield (
                    "explosion",
                    f"{name}: meta-loss {loss:.3g}, far above its median {median:.3g} in {PATIENCE} draws; "
                    "try a lower meta_optimizer.learning_rate, or go back to the best weights",
                )
            if family.loss_is_stuck(loss, self._start):
                yield (
                    "collapse",
                    f"{name}: meta-loss stays at {loss:.3g} for {ENOUGH} draws: its runs make no progress; "
                    "try longer truncations, other initial rates, or the family with another transformation",
                )
        if family.diverged.begins(_all_diverged(row)):
            yield (
                "divergence",
                f"{name}: all {row['diverged']:.0f} instances diverged in one truncation; "
                "try a lower initial rate of the optimizer, a lower meta_optimizer.learning_rate, or shorter truncations",
            )


def _meta_step(row: Row) -> int:
    return int(row["meta_step"])


def _all_diverged(row: Row) -> bool:
    """Whether all instances of a family diverged in one truncation."""
    diverged, truncation = row.get("diverged", 0), row.get("truncation", 0)
    return bool(diverged and truncation and diverged * truncation >= row.get("inner_steps", math.inf))


def _compared(median: float) -> str:
    return "far from what it should be" if math.isnan(median) else f"against a median of {median:.2g}"
