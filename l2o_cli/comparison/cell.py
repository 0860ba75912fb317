"""A cell of a comparison: one optimizer on one problem, on the terms that all cells share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from l2o_problems.base import Problem

from l2o_cli.comparison.tuning.tiers import Baseline, Tier
from l2o_cli.errors import BadInput
from l2o_cli.optimizers.search_spaces import Setting
from l2o_cli.runs.batches import Batches
from l2o_cli.runs.contenders import batches_of
from l2o_cli.runs.records import Contender, Labelled
from l2o_cli.runs.store import RunStore
from l2o_cli.scoring.measures import CRITERIA
from l2o_cli.spec import ProblemSpec, parse_problems

TUNING_SEEDS_FROM = 1_000_000  # beyond every reporting seed, so that nothing is chosen on what it is reported on


@dataclass(frozen=True)
class Terms:
    """How long runs are, on which seeds, and how settings are chosen: the same for all cells that are compared.

    Attributes:
        steps: of a run.
        seeds: how many runs are reported: seed, seed + 1, ...
        every: steps per window; None: a hundredth of the steps.
        store: of finished runs, which are not made again; None: all are made.
        trials: learning rates of a sweep, before extensions.
        tuning_seeds: how many seeds settings are chosen on.
        select: one of CRITERIA, by which they are chosen.
    """

    steps: int
    seeds: int
    seed: int = 0
    every: int | None = None
    xla: bool = True
    store: RunStore | None = None
    trials: int = 15
    tuning_seeds: int = 2
    select: str = CRITERIA[0]

    @property
    def reporting(self) -> list[int]:
        """The seeds that are reported."""
        return list(range(self.seed, self.seed + self.seeds))

    @property
    def tuning(self) -> list[int]:
        """The seeds that settings are chosen on."""
        first = TUNING_SEEDS_FROM + self.seed
        return list(range(first, first + self.tuning_seeds))


@dataclass(frozen=True, eq=False)
class Cell:
    """One optimizer on one problem.

    Attributes:
        title: of the problem.
        label: of the optimizer, in the results.
        tier: what may be tried to choose its hyperparameters; None: it is no baseline, nothing is tuned.
        settings: what is reported where nothing is tuned: for each, what replaces its hyperparameters.
    """

    title: str
    problem: Problem
    label: str
    contender: Contender
    terms: Terms
    tier: Tier | None = None
    settings: Sequence[Setting] = ({},)

    @property
    def tuned(self) -> bool:
        return self.tier is not None and self.tier.tuned

    @property
    def shared(self) -> bool:
        """Whether its setting is chosen together with those of its label on other problems."""
        return self.tier is not None and self.tier.shared

    @property
    def candidates(self) -> Sequence[Setting]:
        """Those that run on the tuning seeds, before a sweep is extended; none where nothing is tuned."""
        terms = self.terms
        return self.tier.settings(self.contender, terms.trials, terms.seed, terms.steps) if self.tier else ()

    @property
    def tuning_runs(self) -> int:
        """Before extensions."""
        return len(self.candidates) * self.terms.tuning_seeds

    @property
    def reporting_runs(self) -> int:
        return len(self.settings) * self.terms.seeds

    @property
    def steps(self) -> int:
        """Of all runs."""
        return (self.tuning_runs + self.reporting_runs) * self.terms.steps

    def batches(self) -> Batches:
        """Its runs."""
        terms = self.terms
        options = {"steps": terms.steps, "every": terms.every, "xla": terms.xla, "store": terms.store}
        return batches_of(self.title, self.problem, self.contender, label=self.label, **options)


def cells_of(
    problems: Mapping[str, Problem],
    contenders: Mapping[str, Contender],
    baselines: Mapping[str, Baseline],
    terms: Terms,
    settings: Setting | None = None,
) -> list[Cell]:
    """Everything on every problem, problem by problem, contenders first.

    Args:
        settings: hyperparameters of the hand-designed contenders.
    """
    cells = []
    for title, problem in problems.items():
        for label, one in contenders.items():
            own = settings if settings and not one.optimizer.learned else {}
            cells.append(Cell(title, problem, label, one, terms, settings=(own,)))
        cells += [Cell(title, problem, label, one.contender, terms, one.tier) for label, one in baselines.items()]
    return cells


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


def labelled(contenders: Sequence[Contender], baselines: Sequence[Baseline]) -> tuple[dict[str, Contender], dict[str, Baseline]]:
    """Contenders and baselines by label, no two alike; BadInput where that cannot be."""
    of_baselines = dict(zip(labels(baselines), baselines, strict=True))
    of_contenders = dict(zip(labels(contenders, taken=list(of_baselines)), contenders, strict=True))
    for label in of_contenders:
        if label in of_baselines:
            raise BadInput(f"--optimizer and --baselines both mean {label!r}")
    return of_contenders, of_baselines
