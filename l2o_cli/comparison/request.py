"""What an evaluation or a comparison is asked: the problems and optimizers, for how long, on which seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from l2o_problems.base import Problem

from l2o_cli.errors import BadInput, shown
from l2o_cli.runs.batches import AT_ONCE, Batches, check_setting, hyperparameters
from l2o_cli.runs.lbfgs import contender, trials_of
from l2o_cli.runs.records import Contender, Labelled
from l2o_cli.runs.store import RunStore
from l2o_cli.runs.trials import together
from l2o_cli.spec import ComparisonSpec, EvaluationSpec, ProblemSpec, parse_problems
from l2o_cli.spec.resources import Factor, Runs, check_runs, state_size


@dataclass(frozen=True)
class Request:
    """What both commands ask: which problems and optimizers, for how long, on how many seeds."""

    problems: Sequence[str | ProblemSpec]
    contenders: Sequence[Contender]
    steps: int
    seeds: int  # of the report: seed, seed + 1, ...
    out: Path
    every: int | None = None  # steps per window; None: a hundredth of the steps
    seed: int = 0
    xla: bool = True
    overwrite: bool = False
    settings: Mapping[str, float] = field(default_factory=dict)  # hyperparameters for the hand-designed contenders
    store: RunStore | None = None  # of finished runs, which are not made again
    resume: bool = False  # go on with what is in `out`
    spec: EvaluationSpec | ComparisonSpec | None = None  # that asked it, to be kept beside the results
    workers: int = 1  # processes, each with a problem of its own
    report: bool = True  # whether the page and its pictures are made

    @property
    def reporting_seeds(self) -> list[int]:
        return list(range(self.seed, self.seed + self.seeds))

    def setting(self, contender: Contender) -> Mapping[str, float]:
        """What is set of the hyperparameters of a contender that runs as it is."""
        return {} if contender.optimizer.learned else self.settings

    def batches(self, name: str, problem: Problem, contender: Contender, label: str) -> Batches:
        """The runs of a contender on a problem."""
        options = {"steps": self.steps, "every": self.every, "xla": self.xla, "store": self.store}
        return trials_of(name, problem, contender, label=label, **options)


def request_of(spec: EvaluationSpec | ComparisonSpec, out: Path, **others: Any) -> Request:
    """The request that a spec makes.

    Args:
        others: fields of the request that no spec has.

    Raises:
        BadInput: an optimizer is not there.
    """
    return Request(
        problems=spec.problems,
        contenders=[contender(name) for name in spec.optimizers],
        steps=spec.steps,
        seeds=spec.seeds,
        seed=spec.seed,
        every=spec.every,
        xla=spec.xla,
        settings=spec.settings if isinstance(spec, EvaluationSpec) else {},
        out=out,
        spec=spec,
        **others,
    )


def make_problems(wanted: Sequence[str | ProblemSpec]) -> dict[str, Problem]:
    """{title: problem} of families, or of texts that mean some; BadInput when one is wrong or given twice."""
    families = [family for one in wanted for family in (parse_problems(one) if isinstance(one, str) else [one])]
    problems: dict[str, Problem] = {}
    for family in families:
        if family.title in problems:
            raise BadInput(f"problem {family.title!r} is given twice")
        problems[family.title] = family.make()
    return problems


def labels(contenders: Sequence[Labelled], taken: Sequence[str] = ()) -> list[str]:
    """A label for each, no two alike: its own, or where several share it its source.

    A label in `taken` (a tuned baseline's) becomes `label (defaults)`. BadInput when an optimizer is given twice.
    """
    own = [contender.label for contender in contenders]
    chosen = [label if own.count(label) == 1 else one.source for label, one in zip(own, contenders, strict=True)]
    for label, name in zip(chosen, own, strict=True):
        if chosen.count(label) > 1:
            raise BadInput(f"optimizer {name!r} is given twice")
    return [f"{label} (defaults)" if label in taken else label for label in chosen]


def check_memory(problems: Mapping[str, Problem], contenders: Sequence[Contender], steps: int, runs: int, seeds: int) -> None:
    """BadInput, naming what is too large, if so many runs on each problem would not fit in memory.

    Args:
        seeds: of the report, which `runs` grow with.
    """
    state = max((state_size(one.optimizer) for one in contenders), default=0.0)
    for name, problem in problems.items():
        size = min(runs, together(problem) * AT_ONCE)
        try:
            check_runs([Runs(problem, "", size, steps, runs * len(problems), [Factor("seeds", seeds, 5)])], state)
        except BadInput as error:
            raise BadInput(f"problem {shown(name)}: {error}") from None


def check_settings(request: Request) -> None:
    """BadInput unless every hand-designed contender has each hyperparameter that is set."""
    if request.settings and all(one.optimizer.learned for one in request.contenders):
        raise BadInput("--set is for hand-designed optimizers; none is among the --optimizer values")
    for one in request.contenders:
        known = hyperparameters(one)
        for name in request.settings:
            if not one.optimizer.learned and name not in known:
                raise BadInput(f"--set {name}: optimizer {one.label!r} has no such hyperparameter; there are: {', '.join(known)}")
        if not one.optimizer.learned:
            check_setting(one, request.settings)
