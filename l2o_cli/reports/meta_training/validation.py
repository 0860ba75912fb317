"""What a report says of meta-validation, beside tuned Adam."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from l2o_problems.adam_table import AdamRow, Reference, find_adam
from l2o_problems.file_names import is_file_name

from l2o_cli.errors import BadInput
from l2o_cli.meta.run_tables import Row, Run, best_validation, by_meta_step, column, mean
from l2o_cli.reports.html import abbreviated, figure, grid, note, number, short_titles, table, tag
from l2o_cli.reports.meta_training import plots
from l2o_cli.spec import ProblemSpec

UNITS = {
    "log": "log(loss / initial loss)",
    "ratio": "loss / initial loss",
    "adam": "0: best of Adam, 1: initial",
    "loss": "loss",
}


def _terms(run: Run) -> list[Mapping[str, Any]]:
    """Those that validation judges by; older specs have `log` instead."""
    objective = run.spec.get("validation", {}).get("objective") or run.spec.get("objective", {})
    return objective.get("terms") or [{"scale": "log" if objective.get("log", True) else "ratio"}]


def unit(run: Run) -> str:
    """Of the objective, for people."""
    terms = _terms(run)
    return UNITS.get(terms[0].get("scale", "log"), "") if len(terms) == 1 else "weighted sum of terms"


def validation(run: Run) -> Iterator[str]:
    """The section on meta-validation."""
    yield tag("h2", "Meta-validation")
    problems = run.validation_problems
    if not problems:
        yield note("None so far." if run.spec.get("validation", {}).get("problems") else "The spec asks for none.")
        return
    best = best_validation(run)
    kept = best[0] if best else None
    steps = run.spec.get("validation", {}).get("steps")
    short = short_titles(problems)
    validations = by_meta_step(run.validation)
    means = [mean(column(rows, "objective")) for _, rows in validations]
    figures = [figure("Mean over the problems", plots.validation([step for step, _ in validations], means, unit(run), kept=kept))]
    rows_of_adam = {title: one.row for title, one in _references(run).items() if one.row and title in problems}
    for title, rows in problems.items():
        x, objective, ratio = (column(rows, name) for name in ("meta_step", "objective", "final_ratio"))
        levels = (_objective_level(run), _ratio_level(rows_of_adam.get(title), steps))
        known = [] if all(map(math.isnan, ratio)) else ratio
        figures.append(figure(short[title], plots.validation(x, objective, "objective", known, levels, kept), full=title))
    yield note(
        f"Of the averaged weights, over runs of {steps} steps, in units of {unit(run)}; less is better. Dotted: the weights "
        "that are kept. Final / initial loss: the last minibatch loss over the first, median over the instances; no point where "
        "it is 0 or not finite."
    )
    if any(row.get("rolled_back") for row in run.validation):
        back = sorted({int(row["meta_step"]) for row in run.validation if row.get("rolled_back")})
        yield note(f"The run went back to its best weights at meta-step {', '.join(map(str, back))}.")
    yield grid(figures)
    yield from _adam_table(rows_of_adam, problems, short, steps)


def _references(run: Run) -> dict[str, Reference]:
    """{title: what tuned Adam reaches on the validation problem, with the data that the run had}, as far as the spec tells."""
    sources = run.spec.get("record", {}).get("data", {})
    found = {}
    for written in run.spec.get("validation", {}).get("problems", []):
        try:
            family = ProblemSpec.model_validate(written)
            # A problem of one's own is in no table, and a report runs nobody's code.
            identity = None if is_file_name(family.name) else family.make().identity
        except (BadInput, ValueError):  # of an older l2o
            continue
        found[family.title] = find_adam(identity, sources.get(family.title))
    return found


def _objective_level(run: Run) -> tuple[str, float] | None:
    """0 where losses are scaled so that it is what tuned Adam reaches; no other objective has a counterpart in its table."""
    terms = _terms(run)
    comparable = len(terms) == 1 and terms[0].get("scale") == "adam" and terms[0].get("on", "training") == "training"
    return ("best loss of tuned Adam", 0.0) if comparable else None


def _ratio_level(row: AdamRow | None, steps: int | None) -> tuple[str, float] | None:
    """What tuned Adam's runs of equal length end at."""
    if row is None or row.steps != steps or row.initial_loss <= 0 or not row.final_loss > 0:
        return None
    return "tuned Adam, other instances", row.final_loss / row.initial_loss


def _adam_table(
    adam: Mapping[str, AdamRow], problems: Mapping[str, Sequence[Row]], short: Mapping[str, str], steps: int | None
) -> Iterator[str]:
    if not adam:
        yield note("None of these problems is in the table of tuned Adam.")
        return
    lengths = sorted({row.steps for row in adam.values()})
    drawn = "" if lengths == [steps] else f"; it is not drawn where validation's runs of {steps} steps are of another length"
    yield note(
        f"Adam with its learning rate tuned for the problem, over {' or '.join(map(str, lengths))} steps: minibatch loss at the "
        f"start, best mean over a hundredth of the steps, mean over the last 5 %{drawn}. Ratios are final over initial loss."
    )
    headings = ("problem", "Adam's rate", "initial", "best", "final", "Adam's ratio", "least ratio here", "last ratio here")
    rows = []
    for title, row in adam.items():
        ratios = [value for value in column(problems[title], "final_ratio") if not math.isnan(value)]
        own = row.final_loss / row.initial_loss if row.initial_loss > 0 else math.nan
        here = (min(ratios), ratios[-1]) if ratios else (math.nan, math.nan)
        numbers = (row.learning_rate, row.initial_loss, row.best_loss, row.final_loss, own, *here)
        rows.append([abbreviated(title, short), *map(number, numbers)])
    yield table(headings, rows)
