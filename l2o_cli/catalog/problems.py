"""What is said of problems, transformations and ensembles: rows for listings, and the description of one problem."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from l2o_problems.adam_table import adam_row
from l2o_problems.base import Problem
from l2o_problems.data import DataMissing
from l2o_problems.ensembles import ENSEMBLES
from l2o_problems.registry import PROBLEMS, summary_of
from l2o_problems.transforms import layers

from l2o_cli.catalog.text import Row, beginning, block, description_of, options_of, plain, shapes, transforms_of
from l2o_cli.errors import BadInput, shown
from l2o_cli.spec import ProblemSpec, parse_problems
from l2o_cli.spec.resources import Runs, check_runs


def _parameters(problem: Problem) -> int:
    return sum(math.prod(shape) for shape in problem.param_shapes.values())


def problem_rows() -> list[Row]:
    """One for each registered problem, as it is by default."""
    made = {name: PROBLEMS[name]() for name in sorted(PROBLEMS)}
    return [
        {
            "name": name,
            "parameters": _parameters(problem),
            "tensors": len(problem.param_shapes),
            "minimum": problem.minimum,
            "source": _source(problem),
            "summary": summary_of(name),
        }
        for name, problem in made.items()
    ]


def _source(problem: Problem, remedy: bool = False) -> str:
    """Where the data come from, or which data are missing, and where they can be had."""
    try:
        return problem.source
    except DataMissing as error:
        return f"missing: {error if remedy else str(error).partition(':')[0]}"


def ensemble_rows() -> list[Row]:
    return [
        {"name": name, "families": len(ensemble.families), "summary": ensemble.summary} for name, ensemble in ENSEMBLES.items()
    ]


def family_rows(ensemble: str) -> list[Row]:
    """One for each family: `weight` is its share of the draws, `instances` how many run together, None the run's choice."""
    return [
        {
            "label": family.title,
            "parameters": _parameters(family.make()),
            "weight": float(f"{family.weight:.4g}"),
            "instances": family.instances,
        }
        for family in parse_problems(ensemble)
    ]


def is_ensemble(name: str) -> bool:
    return name in ENSEMBLES


def family_of(text: str) -> ProblemSpec:
    """The problem that `text` means; BadInput for an unknown name, a wrong option, or one too large for this machine."""
    (family,) = parse_problems(text)
    try:
        check_runs([Runs(family.make(), "", together=1, steps=1, number=1)])
    except BadInput as error:
        raise BadInput(str(error) if str(error).startswith("problem ") else f"problem {shown(text)}: {error}") from None
    return family


def describe(family: ProblemSpec) -> Row:
    """All that is known of one problem, for JSON; `text_of` says the same to people."""
    problem, *transforms = layers(whole := family.make())
    row = adam_row(whole)
    registered = PROBLEMS[family.name]() if family.name in PROBLEMS else None
    return {
        "problem": family.title,
        "summary": summary_of(family.name) if registered else problem.summary,
        "description": description_of(problem),
        "options": options_of(problem),
        "defaults": options_of(registered) if registered else {},
        "transforms": transforms_of(transforms),
        "parameters": _parameters(whole),
        "tensors": {name: list(shape) for name, shape in whole.param_shapes.items()},
        "minimum": whole.minimum,
        "source": _source(whole, remedy=True),
        "held_out": whole.held_out,
        "adam": dataclasses.asdict(row) if row else None,
    }


def text_of(description: Mapping[str, Any]) -> str:
    """The description as a text of several blocks."""
    minimum = description["minimum"]
    facts = {
        "parameters": f"{description['parameters']:,}",
        "minimum": "not known" if minimum is None else plain(minimum),
        "data": description["source"],
        "held-out data": "yes" if description["held_out"] else "no",
    }
    blocks = [*beginning(description["problem"], description), shapes("tensors", description["tensors"]), block("facts", facts)]
    if description["adam"]:
        blocks.append(_adam(description["adam"]))
    return "\n\n".join(blocks)


def _adam(row: Mapping[str, Any]) -> str:
    edge = f", at the {row['edge']} edge of those tried" if row["edge"] else ""
    title = f"Adam with its best learning rate, {row['steps']:,} steps (medians of {row['seeds']} seeds, see l2o calibrate)"
    names = ("initial_loss", "best_loss", "final_loss", "step_milliseconds")
    facts = {name.replace("_", " "): f"{row[name]:.4g}" for name in names}
    diverged = {"diverged": f"{row['diverged']} of {row['seeds']}"} if row["diverged"] else {}
    return block(title, {"learning rate": f"{row['learning_rate']:.3g}{edge}", **facts, **diverged})
