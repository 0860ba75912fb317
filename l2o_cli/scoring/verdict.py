"""Who won, in plain sentences; then with what certainty and by how much."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from l2o_cli.scoring.measures import MEASURES
from l2o_cli.scoring.scored import PairScore, Scoring
from l2o_cli.scoring.statistics import Estimate
from l2o_cli.terminal import several

ENOUGH_RUNS = 5  # of each optimizer on a problem; with fewer the interval is too narrow to be relied on
SLOWER = "slower"
BOTH_SLOWER = f"{SLOWER} in steps and seconds"


class Verdict(NamedTuple):
    """What is said of one optimizer against another.

    Attributes:
        plain: which one reached the lower loss on how many problems, how fast, and whether that may be chance.
        statistics: what that rests on, in the words that docs/comparison.md defines.
    """

    plain: str
    statistics: str = ""

    @property
    def text(self) -> str:
        return f"{self.plain} {self.statistics}".strip()


def verdict(scoring: Scoring) -> Verdict:
    """Of the optimizer that is most likely to be better than another, against the next one."""
    ranked = ranking(scoring)
    if len(ranked) < 2:
        return Verdict("No verdict: it takes two optimizers that ran on the same problem.")
    return judge(scoring, ranked[0], ranked[1])


def verdicts(scoring: Scoring) -> list[Verdict]:
    """Of each optimizer against the reference; without one, of the first against the next."""
    if scoring.reference is None:
        return [verdict(scoring)]
    others = [score.optimizer for score in scoring.optimizers if score.optimizer != scoring.reference]
    said = [judge(scoring, other, scoring.reference) for other in others if find_pair(scoring, other, scoring.reference)]
    return said or [verdict(scoring)]


def ranking(scoring: Scoring) -> list[str]:
    """The optimizers, by the mean probability of improvement over the others; equal ones in the order of the curves."""
    means = {}
    for score in scoring.optimizers:
        own = [pair.improvement.value for pair in _pairs(scoring) if pair.optimizer == score.optimizer]
        if own:
            means[score.optimizer] = sum(own) / len(own)
    return sorted(means, key=lambda optimizer: -means[optimizer])


def judge(scoring: Scoring, one: str, other: str) -> Verdict:
    """One optimizer against another.

    One beats the other where the interval of the probability of improvement leaves 1/2 out and each has at least 5 runs on
    each problem; with fewer, it is only ahead.

    Raises:
        ValueError: they have no problem in common.
    """
    pair = find_pair(scoring, one, other)
    if pair is None:
        raise ValueError(f"{one!r} and {other!r} have no problem in common")
    return Verdict(_sentences(claim(scoring, pair)), _sentences([evidence(scoring, pair), *_amounts(scoring, pair)]))


def _sentences(clauses: Sequence[str]) -> str:
    return " ".join(f"{clause}." for clause in clauses)


def claim(scoring: Scoring, pair: PairScore) -> list[str]:
    """The outcome in main clauses: where one has the lower loss, how fast it was, and whether that may be chance."""
    ours, theirs = _named(scoring, pair.optimizer, "Tuned"), _named(scoring, pair.other, "tuned")
    loss = MEASURES[pair.measure].title
    lower, equal, higher, diverged = _outcomes(scoring, pair)
    ahead, side = len(lower) - len(higher), side_of(pair)
    said = []
    if lower or higher:
        more, word = (lower, "lower") if ahead >= 0 else (higher, "higher")
        said.append(f"{ours} reached a {word} {loss} than {theirs} on {_of(more, pair)}")
        speed = _speed_in_words(scoring, pair) if side else ""
        if speed and ahead >= 0:
            said[0] += f", {speed}"
        elif speed:
            said.append(f"{'It' if speed == BOTH_SLOWER else 'But it'} was {speed}")
        said += [f"The loss was the same on {several(len(equal), 'problem')}"] if equal else []
        said += [f"Both diverged on {several(len(diverged), 'problem')}"] if diverged else []
    else:
        said += [f"{ours} and {theirs} reached the same {loss} on {_of(equal, pair)}"] if equal else []
        said += [f"{'Both' if equal else f'{ours} and {theirs}'} diverged on {_of(diverged, pair)}"] if diverged else []
    if side * ahead <= 0 and side:  # a little ahead on most problems, far behind on the others
        said.append(f"Over all runs {pair.optimizer} is {'better' if side > 0 else 'worse'}")
    if not side and (lower or higher):
        said.append("This may be chance")
    elif side and pair.fewest_runs < ENOUGH_RUNS:
        said.append(f"With {several(pair.fewest_runs, 'run')} on a problem this is not certain")
    return said


def evidence(scoring: Scoring, pair: PairScore) -> str:
    """The claim in the words that docs/comparison.md defines, with the probability of improvement."""
    side, ours = side_of(pair), label(scoring, pair.optimizer)
    if side == 0:
        said = "cannot be told apart from"
    elif pair.fewest_runs < ENOUGH_RUNS:
        said = "is ahead of" if side > 0 else "is behind"
    else:
        said = "beats" if side > 0 else "loses to"
    who = "It" if ours == pair.optimizer else ours
    return f"{who} {said} {label(scoring, pair.other)}: probability of improvement {pair.improvement}"


def _outcomes(scoring: Scoring, pair: PairScore) -> tuple[list[str], list[str], list[str], list[str]]:
    """The problems on which the median of the one is lower, equal and higher, and where both are infinite."""
    ours, theirs = (
        {row.problem: row.medians[pair.measure] for row in scoring.problems if row.optimizer == optimizer}
        for optimizer in (pair.optimizer, pair.other)
    )
    found: tuple[list[str], ...] = ([], [], [], [])
    for problem, mine in ours.items():
        its = theirs.get(problem)
        if mine is not None and its is not None:
            found[0 if mine < its else 2 if mine > its else 3 if math.isinf(mine) else 1].append(problem)
    lower, equal, higher, diverged = found
    return lower, equal, higher, diverged


def _of(some: Sequence[str], pair: PairScore) -> str:
    """So many of the problems; of one alone its name."""
    if pair.problems == 1:
        return some[0]
    if len(some) < pair.problems:
        return f"{len(some)} of {pair.problems} problems"
    return "both problems" if pair.problems == 2 else f"all {pair.problems} problems"


def _speed_in_words(scoring: Scoring, pair: PairScore) -> str:
    """How fast the one was, beside the reference, in training."""
    if pair.other != scoring.reference or "train" not in pair.measure:
        return ""
    [ours] = [score for score in scoring.optimizers if score.optimizer == pair.optimizer]
    names = ("speedup_steps", "speedup_seconds")
    steps, seconds = (_times(ours.pooled[name], ours.pooled_at_least[name]) for name in names)
    if steps is None or seconds is None:
        return ""
    if steps == seconds:
        return f"{steps} in steps and seconds"
    return f"{steps} in steps {'but' if SLOWER in (steps, seconds) else 'and'} {seconds} in seconds"


def _times(speedup: Estimate | None, at_least: bool) -> str | None:
    """A speed-up in words; None where it is not known whether it is one."""
    if speedup is None or (at_least and speedup.value < 1.1):
        return None
    low = speedup.value if speedup.low is None else speedup.low
    high = speedup.value if speedup.high is None else speedup.high
    if low <= 1 <= high and not at_least:
        return "about as fast"
    if speedup.value < 1:
        return SLOWER
    if speedup.value < 1.05:
        return "slightly faster"
    number = f"{speedup.value:.2g}" if speedup.value < 99.5 else f"{speedup.value:,.0f}"
    return f"{'at least ' if at_least else ''}{'twice' if number == '2' else f'{number} times'} as fast"


def side_of(pair: PairScore) -> int:
    """1 where the interval, or the value where there is none, is above 1/2, -1 where it is below."""
    estimate = pair.improvement
    low = estimate.value if estimate.low is None else estimate.low
    high = estimate.value if estimate.high is None else estimate.high
    return int(low > 0.5) - int(high < 0.5)


def _amounts(scoring: Scoring, pair: PairScore) -> list[str]:
    """How much lower the loss is, and how much faster it was reached, as far as that is known."""
    scores = {score.optimizer: score for score in scoring.optimizers}
    ours, theirs = scores[pair.optimizer], scores[pair.other]
    said = []
    normalized = MEASURES[pair.measure].normalized
    mine, its = (normalized and score.pooled[normalized] for score in (ours, theirs))
    if mine and its:
        said.append(f"Its normalized loss is {mine} against {its}")
    steps, seconds = ours.pooled["speedup_steps"], ours.pooled["speedup_seconds"]
    if pair.other == scoring.reference and steps and seconds:
        at_least = {name: "at least " if bound else "" for name, bound in ours.pooled_at_least.items()}
        said.append(
            f"It is {at_least['speedup_steps']}{steps} times as fast in steps and {at_least['speedup_seconds']}{seconds} times "
            "in seconds (to the lowest training loss that both reach)"
        )
    return said


def label(scoring: Scoring, optimizer: str) -> str:
    """The label with the number of settings that were tried, unless it says more itself."""
    tried = [count for count in scoring.trials.get(optimizer, ()) if count]
    if not tried or " (" in optimizer:
        return optimizer
    least, most = min(tried), max(tried)
    return f"{optimizer} (best of {least if least == most else f'{least} to {most}'} rates)"


def _named(scoring: Scoring, optimizer: str, tuned: str) -> str:
    """The label alone, after a word where settings were tried."""
    return optimizer if label(scoring, optimizer) == optimizer else f"{tuned} {optimizer}"


def _pairs(scoring: Scoring) -> Sequence[PairScore]:
    return [pair for pair in scoring.pairs if pair.measure == scoring.measure]


def find_pair(scoring: Scoring, one: str, other: str) -> PairScore | None:
    return next((pair for pair in _pairs(scoring) if (pair.optimizer, pair.other) == (one, other)), None)
