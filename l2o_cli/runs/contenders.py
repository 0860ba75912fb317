"""What takes part: update rules, and L-BFGS, which is none. Another kind is an entry of KINDS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from l2o_problems.base import Problem

from l2o_cli.errors import BadInput
from l2o_cli.export.resolve import resolve
from l2o_cli.runs.batches import Batches
from l2o_cli.runs.lbfgs import Lbfgs, LbfgsBatches
from l2o_cli.runs.records import Contender
from l2o_cli.runs.update_rules import RuleBatches

# By the name that a user gives; all other contenders are update rules.
KINDS: dict[str, tuple[type[Contender], type[Batches]]] = {Lbfgs.name: (Lbfgs, LbfgsBatches)}


def contender(name: str) -> Contender:
    """What a user means by the name of an optimizer in an evaluation; BadInput where there is no such thing."""
    return KINDS[name][0]() if name in KINDS else resolve(name)


def batches_of(title: str, problem: Problem, one: Contender, **options: Any) -> Batches:
    """The runs of a contender on a problem; options as for `Batches`."""
    return dict(KINDS.values()).get(type(one), RuleBatches)(title, problem, one, **options)


def check_fits(contenders: Sequence[Contender], problems: Mapping[str, Problem]) -> None:
    """BadInput if a contender is to run on a problem that it cannot run on."""
    for one in contenders:
        for title, problem in problems.items() if isinstance(one, Lbfgs) else ():
            if not problem.deterministic:
                raise BadInput(f"optimizer {Lbfgs.name!r} needs problems without minibatches and noise; {title!r} has them")
