"""Who won, in a plain sentence; then with what certainty and by how much."""

from __future__ import annotations

import math
from collections.abc import Sequence

from l2o_cli.scoring.measures import MEASURES
from l2o_cli.scoring.scored import PairScore, Scoring
from l2o_cli.scoring.statistics import Estimate

ENOUGH_RUNS = 5  # of each optimizer on a problem; with fewer the interval is too narrow to be relied on
SLOWER = "slower"


def verdict(scoring: Scoring) -> str:
    """Of the optimizer that is most likely to be better than another, against the next one."""
    ranked = ranking(scoring)
    if len(ranked) < 2:
        return "No verdict: it takes two optimizers that ran on the same problem."
    return sentence(scoring, ranked[0], ranked[1])


def verdicts(scoring: Scoring) -> list[str]:
    """Of each optimizer against the reference; without one, of the first against the next."""
    if scoring.reference is None:
        return [verdict(scoring)]
    others = [score.optimizer for score in scoring.optimizers if score.optimizer != scoring.reference]
    said = [sentence(scoring, other, scoring.reference) for other in others if find_pair(scoring, other, scoring.reference)]
    return said or [verdict(scoring)]


def ranking(scoring: Scoring) -> list[str]:
    """The optimizers, by the mean probability of improvement over the others; equal ones in the order of the curves."""
    means = {}
    for score in scoring.optimizers:
        own = [pair.improvement.value for pair in _pairs(scoring) if pair.optimizer == score.optimizer]
        if own:
            means[score.optimizer] = sum(own) / len(own)
    return sorted(means, key=lambda optimizer: -means[optimizer])


def sentence(scoring: Scoring, one: str, other: str) -> str:
    """One optimizer against another: the claim in plain words, and the statistics that it rests on.

    One beats the other where the interval of the probability of improvement leaves 1/2 out and each has at least 5 runs on
    each problem; with fewer, it is only ahead.

    Raises:
        ValueError: they have no problem in common.
    """
    pair = find_pair(scoring, one, other)
    if pair is None:
        raise ValueError(f"{one!r} and {other!r} have no problem in common")
    return f"{claim(scoring, pair)}. {evidence(scoring, pair)}{_amount(scoring, pair)}."


def claim(scoring: Scoring, pair: PairScore) -> str:
    """On how many problems one has the lower loss, how fast it was, and whether that may be chance; without the full stop."""
    ours, theirs, loss = label(scoring, pair.optimizer), label(scoring, pair.other), MEASURES[pair.measure].title
    lower, equal, higher, diverged = _outcomes(scoring, pair)
    side = side_of(pair)
    over_all = f"{'better' if side > 0 else 'worse'} over all runs"
    if not lower and not higher:
        said = f"reached the same {loss} on {_of(equal, pair)}" if equal else ""
        said += f"{' and ' if equal else ''}diverged on {_of(diverged, pair)}" if diverged else ""
        return f"{ours} and {theirs} both {said}{f', but {ours} is {over_all}' if side else ''}"
    ahead = len(lower) - len(higher)
    more = lower if ahead >= 0 else higher
    said = f"{ours} reached a {'lower' if more is lower else 'higher'} {loss} than {theirs} on {_of(more, pair)}"
    said += f" and the same on {len(equal)}" if equal else ""
    said += f" (both diverged on {len(diverged)})" if diverged else ""
    if side == 0:
        return f"{said}, which may be chance"
    said += _speed_in_words(scoring, pair, but=more is higher)
    if pair.fewest_runs < ENOUGH_RUNS:
        runs = f"{pair.fewest_runs} run{'s' if pair.fewest_runs > 1 else ''} on a problem"
        return f"{said}, but {runs} cannot make that certain"
    if side * ahead <= 0:  # a little ahead on most problems, far behind on the others
        return f"{said}, but is {over_all}"
    return said


def evidence(scoring: Scoring, pair: PairScore) -> str:
    """The claim in the words that docs/comparison.md defines, with the probability of improvement; without the full stop."""
    side, theirs = side_of(pair), pair.other
    if side == 0:
        said = "They cannot be told apart"
    elif pair.fewest_runs < ENOUGH_RUNS:
        said = f"It is {'ahead of' if side > 0 else 'behind'} {theirs}"
    else:
        said = f"It {'beats' if side > 0 else 'loses to'} {theirs}"
    return f"{said}: probability of improvement {pair.improvement}"


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


def _speed_in_words(scoring: Scoring, pair: PairScore, but: bool) -> str:
    """How fast the one was, beside the reference, in training; `but`: although its loss is the higher one."""
    if pair.other != scoring.reference or "train" not in pair.measure:
        return ""
    [ours] = [score for score in scoring.optimizers if score.optimizer == pair.optimizer]
    names = ("speedup_steps", "speedup_seconds")
    steps, seconds = (_times(ours.pooled[name], ours.pooled_at_least[name]) for name in names)
    if steps is None or seconds is None:
        return ""
    though = "though " if but and {steps, seconds} != {SLOWER} else ""
    if steps == seconds:
        return f", {though}{steps} in steps and seconds"
    link = "but" if SLOWER in (steps, seconds) else "and"
    return f", {though}{steps} in steps {link} {seconds} in seconds"


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


def _amount(scoring: Scoring, pair: PairScore) -> str:
    """How much faster, or how much lower the loss is, as far as it is known."""
    scores = {score.optimizer: score for score in scoring.optimizers}
    ours, theirs = scores[pair.optimizer], scores[pair.other]
    said = ""
    normalized = MEASURES[pair.measure].normalized
    mine, its = (normalized and score.pooled[normalized] for score in (ours, theirs))
    if mine and its:
        said += f", normalized loss {mine} against {its}"
    steps, seconds = ours.pooled["speedup_steps"], ours.pooled["speedup_seconds"]
    if pair.other == scoring.reference and steps and seconds:
        at_least = {name: "at least " if bound else "" for name, bound in ours.pooled_at_least.items()}
        said += f", {at_least['speedup_steps']}{steps} times as fast in steps"
        said += f" and {at_least['speedup_seconds']}{seconds} times in seconds, to the lowest loss that both reach"
    return said


def label(scoring: Scoring, optimizer: str) -> str:
    """The label with the number of settings that were tried, unless it says more itself."""
    tried = [count for count in scoring.trials.get(optimizer, ()) if count]
    if not tried or " (" in optimizer:
        return optimizer
    least, most = min(tried), max(tried)
    return f"{optimizer} (best of {least if least == most else f'{least} to {most}'} rates)"


def _pairs(scoring: Scoring) -> Sequence[PairScore]:
    return [pair for pair in scoring.pairs if pair.measure == scoring.measure]


def find_pair(scoring: Scoring, one: str, other: str) -> PairScore | None:
    return next((pair for pair in _pairs(scoring) if (pair.optimizer, pair.other) == (one, other)), None)
