"""Who won, by how much and with what certainty, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from l2o_cli.scoring.measures import MEASURES
from l2o_cli.scoring.scored import PairScore, Scoring

ENOUGH_RUNS = 5  # of each optimizer on a problem; with fewer the interval is too narrow to be relied on


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
    """One optimizer against another.

    One beats the other where the interval of the probability of improvement leaves 1/2 out and each has at least 5 runs on
    each problem; with fewer, it is only ahead.

    Raises:
        ValueError: they have no problem in common.
    """
    pair = find_pair(scoring, one, other)
    if pair is None:
        raise ValueError(f"{one!r} and {other!r} have no problem in common")
    return f"{claim(scoring, pair)}: probability of improvement {pair.improvement}{_amount(scoring, pair)}."


def claim(scoring: Scoring, pair: PairScore) -> str:
    ours, theirs = label(scoring, pair.optimizer), label(scoring, pair.other)
    problems = f"{pair.wins:g} of {pair.problems} problem{'s' if pair.problems > 1 else ''}"
    by = f"by {MEASURES[pair.measure].title}"
    side = side_of(pair)
    if side == 0:
        return f"{ours} and {theirs} cannot be told apart {by}; the first is ahead on {problems}"
    if pair.fewest_runs < ENOUGH_RUNS:
        runs = f"{pair.fewest_runs} run{'s' if pair.fewest_runs > 1 else ''} on a problem"
        direction = "ahead of" if side > 0 else "behind"
        return f"{ours} is {direction} {theirs} {by}, being better on {problems}, but {runs} cannot make it certain"
    if side > 0:
        return f"{ours} beats {theirs} on {problems} {by}"
    return f"{ours} loses to {theirs} {by}, being better on {problems}"


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
