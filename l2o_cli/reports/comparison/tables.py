"""The tables of a report on a comparison: the same numbers, written as `l2o score` writes them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from l2o_cli.reports.cells import (
    OPTIMIZER_HEADINGS,
    PROBLEM_HEADINGS,
    describe_divergence,
    describe_left_out,
    loss,
    optimizer_cells,
    problem_cells,
)
from l2o_cli.reports.comparison.reported import Reported
from l2o_cli.reports.html import abbreviated, folded, listed, note, short_titles, table, tag
from l2o_cli.scoring.measures import MEASURES
from l2o_cli.scoring.record import part
from l2o_cli.scoring.scored import ProblemScore
from l2o_cli.scoring.verdict import ENOUGH_RUNS, find_pair, ranking
from l2o_cli.terminal import several

BEST = "★"
LISTED = 20  # warnings of one kind, beyond which they are folded
LONG = 600  # characters of a warning, beyond which it is folded
ROWS = 25  # problems, beyond which their table is folded
OTHER_MEASURES = ("final_train_loss", "final_validation_loss", "final_test_loss")


def problems(reported: Reported) -> Iterator[str]:
    """A row for each problem, a column for each optimizer; the other losses and all scores folded."""
    scoring = reported.scoring
    yield tag("h2", "Each problem")
    yield note(f"Median {MEASURES[scoring.measure].title} over the seeds; less is better. {BEST}: the best of the row.")
    table_of_all = _by_problem(reported, scoring.measure)
    yield table_of_all if len(reported.problems) <= ROWS else folded(f"All {len(reported.problems)} problems", table_of_all)
    for measure in OTHER_MEASURES:
        known = any(score.medians[measure] is not None for score in scoring.problems)
        if measure != scoring.measure and known:
            yield folded(f"Median {MEASURES[measure].title}", _by_problem(reported, measure))
    short = short_titles(reported.problems)
    rows = ([abbreviated(score.problem, short), *map(escape, problem_cells(scoring, score)[1:])] for score in scoring.problems)
    yield folded("All scores of each problem, medians over the seeds", table(PROBLEM_HEADINGS, rows))


def _by_problem(reported: Reported, measure: str) -> str:
    scores: dict[str, dict[str, ProblemScore]] = {}
    for score in reported.scoring.problems:
        scores.setdefault(score.problem, {})[score.optimizer] = score
    short = short_titles(scores)
    rows = (
        [abbreviated(problem, short), *_row(reported.optimizers, by_optimizer, measure)]
        for problem, by_optimizer in scores.items()
    )
    return table(("problem", *reported.optimizers), rows, kind="figures matrix")


def _row(optimizers: Sequence[str], scores: Mapping[str, ProblemScore], measure: str) -> Iterator[str]:
    known = [value for score in scores.values() if (value := score.medians[measure]) is not None]
    least = min(known, default=math.inf)
    for name in optimizers:
        score = scores.get(name)
        if score is None:
            yield "-"
            continue
        value = score.medians[measure]
        text = escape(loss(value))
        cell = f"<b>{BEST} {text}</b>" if value == least and math.isfinite(least) else text
        yield cell + (f'<small class="alert">{score.diverged} of {score.runs} diverged</small>' if score.diverged else "")


def overall(reported: Reported) -> Iterator[str]:
    """Interquartile means and profiles of each optimizer, and every pair."""
    scoring = reported.scoring
    yield tag("h2", "All problems together")
    if len(reported.optimizers) > 1 and not scoring.optimizers[0].problems:
        yield note("There is no problem on which every optimizer ran.")
    rows = ([*map(escape, optimizer_cells(scoring, score))] for score in scoring.optimizers)
    yield table(OPTIMIZER_HEADINGS, rows)
    yield note(
        "Interquartile means, in brackets their 95 % intervals over other seeds. Normalized loss: 1 is the initial loss, 0 the "
        "best of tuned Adam; less is better. Speed-up: the time of tuned Adam over that of the optimizer, to the lowest loss "
        "that both reach; more is better. Profile: the mean height of the performance profile, from 0 to 1; more is better."
    )
    ranked = ranking(scoring)
    if len(ranked) > 1:
        yield tag("h3", "Every pair")
        yield note(
            f"How likely the optimizer on the left is to reach a lower {MEASURES[scoring.measure].title} than the one above, "
            "with the 95 % interval, and on how many of the problems its median is lower."
        )
        rows = ([tag("b", one), *(_pair(reported, one, other) for other in ranked)] for one in ranked)
        yield table(("", *ranked), rows, kind="figures matrix")


def _pair(reported: Reported, one: str, other: str) -> str:
    pair = find_pair(reported.scoring, one, other)
    if pair is None:
        return "-"
    return f"{escape(str(pair.improvement))}<small>{pair.wins:g} of {several(pair.problems, 'problem')}</small>"


def tunings(reported: Reported) -> Iterator[str]:
    """What was spent on the hyperparameters of each baseline."""
    tuned = dict.fromkeys(row.get("optimizer", "") for row in reported.tuning_rows)
    if not tuned:
        return
    yield tag("h3", "Tuning")
    rows = []
    for name in tuned:
        own = [row for row in reported.tuning_rows if row.get("optimizer", "") == name]
        settings = reported.scoring.trials.get(name, ())
        least, most = min(settings, default=0), max(settings, default=0)
        tried = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        runs = sum(bool(row.get("seed")) for row in own)
        rows.append([escape(name), escape(own[0].get("tier") or "-"), tried if settings else "-", f"{runs:,}"])
    yield table(("optimizer", "tier", "settings tried", "runs"), rows)
    yield note("Settings tried on each problem; runs spent on that, over all problems.")
    untuned = [name for name in reported.optimizers if name not in tuned]
    if untuned:
        yield note(f"Nothing was tuned for {', '.join(untuned)}.")


def cautions(reported: Reported) -> Iterator[str]:
    """What a reader should know before relying on the numbers."""
    scoring = reported.scoring
    edges = [
        f"{optimizer} on {problem}: the chosen learning rate is at the {choice['edge']} edge of those tried, a better one may be "
        "beyond it"
        for (problem, optimizer), choice in reported.choices.items()
        if choice.get("edge")
    ]
    wanted = part(reported.record, "request").get("problems")
    missing = [str(name) for name in wanted if name not in reported.problems] if isinstance(wanted, list) else []
    unfinished = [f"{len(missing)} of {len(missing) + len(reported.problems)} problems were not run: {', '.join(missing)}"]
    diverged = [describe_divergence(run) for run in scoring.diverged]
    fewest = min((pair.fewest_runs for pair in scoring.pairs), default=ENOUGH_RUNS)
    few = [f"Only {fewest} run{'s' if fewest > 1 else ''} of an optimizer on a problem: intervals are too narrow, or missing"]
    yield tag("h2", "What to be careful about")
    lists = (
        ("Not finished", unfinished if missing else []),
        ("Runs of different lengths", scoring.cut),
        ("Few runs", few if fewest < ENOUGH_RUNS else []),
        (f"Hyperparameters at an edge ({len(edges)})", edges),
        (f"Diverged runs ({len(diverged)}), counted as the worst", diverged),
        ("Left out of a score", describe_left_out(scoring)),
    )
    for title, lines in lists:
        long = len(lines) > LISTED or max(map(len, lines), default=0) > LONG
        if lines:
            yield folded(title, listed(lines)) if long else tag("h3", title) + listed(lines)
    if not any(lines for _, lines in lists):
        yield note("Nothing: no run diverged, no hyperparameter was chosen at an edge, and no score leaves a problem out.")
