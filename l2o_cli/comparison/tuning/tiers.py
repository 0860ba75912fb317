"""Tiers of tuning: what a baseline may try before it is reported, and how a user names that."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from l2o_cli.comparison.tuning.learning_rates import grid
from l2o_cli.errors import BadInput, naming
from l2o_cli.export.resolve import UNTRAINED, resolve
from l2o_cli.optimizers.search_spaces import SPACES, Setting, nadamw_list, sample
from l2o_cli.optimizers.transforms import layers
from l2o_cli.runs.batches import hyperparameters
from l2o_cli.runs.contenders import contender
from l2o_cli.runs.records import Contender, Run
from l2o_cli.spec import split_outside, unknown
from l2o_cli.spec.comparison import MOST_RATES

DEFAULTS, SWEEP, RANDOM, LIST, GLOBAL = "defaults", "sweep", "random", "list", "global"
FORMS = {DEFAULTS: "defaults", SWEEP: "sweep or sweep:N", RANDOM: "random:SPACE:N", LIST: "list or list:N"}  # N > 0
MOST = {DEFAULTS: 1, SWEEP: MOST_RATES, RANDOM: 10_000, LIST: 10_000}  # settings
LIST_SPACE = "nadamw"  # what the ordered list has settings of


@dataclass(frozen=True)
class Tier:
    """What a baseline may try.

    Attributes:
        kind: `defaults`, its own hyperparameters; `sweep`, learning rates half a decade apart; `random`, settings drawn from a
            search space; `list`, the first settings of the ordered list.
        count: how many settings are tried. None: as many rates as `--trials` says, the whole list.
        space: random: one of SPACES.
        shared: one setting is chosen for all problems together, not one for each.
    """

    kind: str = SWEEP
    count: int | None = None
    space: str | None = None
    shared: bool = False

    @property
    def text(self) -> str:
        """As a user names it."""
        begin = [GLOBAL] if self.shared else []
        kind = [] if self.shared and self.kind == SWEEP else [self.kind]
        return ":".join(str(part) for part in [*begin, *kind, self.space, self.count] if part is not None)

    @property
    def tuned(self) -> bool:
        """Whether anything is tried."""
        return self.kind != DEFAULTS

    @property
    def swept(self) -> bool:
        """Whether what is tried are learning rates, and more of them while the best is at an edge."""
        return self.kind == SWEEP

    def settings(self, one: Contender, trials: int, seed: int, steps: int) -> list[Setting]:
        """The settings that are tried in this order, for runs of a length, before a sweep is extended; none for `defaults`.

        Args:
            trials: learning rates of a sweep that names no number.
        """
        if self.swept:
            return [{"learning_rate": rate} for rate in grid(self.count or trials, hyperparameters(one)["learning_rate"])]
        if self.kind == RANDOM:
            return sample(self.space or "", seed, self.count or 0, steps)
        return nadamw_list()[: self.count] if self.kind == LIST else []


@dataclass(frozen=True)
class Baseline:
    """An optimizer and its tier."""

    contender: Contender
    tier: Tier = Tier()

    @property
    def label(self) -> str:
        """The optimizer's own name where it is swept for each problem, else with its tier in brackets."""
        return self.contender.label if self.tier == Tier() else f"{self.contender.label} ({self.tier.text})"

    @property
    def source(self) -> str:
        return self.contender.source


@dataclass(frozen=True)
class Choice:
    """The setting of a baseline on one problem, and how it was found."""

    tier: Tier
    setting: Setting  # what replaces its own hyperparameters
    trial: int = 0  # the index of the setting among those tried
    tried: int = 0  # settings that ran on the tuning seeds of this problem
    problems: int = 1  # for which it was chosen together
    edge: str | None = None  # "low" or "high": a sweep's best rate is the least or greatest
    runs: Sequence[Run] = ()  # on the tuning seeds of this problem

    @property
    def trials(self) -> int:
        """Settings that were tried to choose one for this problem: 1 where that of many problems is taken."""
        return 1 if self.problems > 1 else max(1, self.tried)


def parse_tier(text: str) -> Tier:
    """A tier in one of FORMS; with `global:` in front, one setting for all problems together.

    `global[:N]` is short for `global:sweep[:N]`. BadInput says what is expected instead.
    """
    parts = text.split(":")
    shared = parts[0] == GLOBAL
    if shared:
        parts = parts[1:] if len(parts) > 1 and not parts[1].isdecimal() else [SWEEP, *parts[1:]]
    kind, *arguments = parts
    if kind not in FORMS:
        raise unknown("tier", kind, [*FORMS, GLOBAL])
    if shared and kind == DEFAULTS:
        raise BadInput(f"tier {text!r}: {DEFAULTS} are the same for all problems anyway")
    space = arguments.pop(0) if kind == RANDOM and arguments else None
    count = arguments.pop(0) if kind != DEFAULTS and arguments else None
    if arguments or (kind == RANDOM and count is None) or not (count is None or (count.isdecimal() and count.strip("0"))):
        raise BadInput(f"tier {text!r}: expected {FORMS[kind]}")
    if space is not None and space not in SPACES:
        raise unknown("search space", space, SPACES)
    if len(count or "") > 6 or int(count or 0) > MOST[kind]:
        raise BadInput(f"tier {text!r}: at most {MOST[kind]:,} settings")
    if kind == LIST and int(count or 0) > len(nadamw_list()):
        raise BadInput(f"tier {text!r}: the list has {len(nadamw_list())} settings")
    return Tier(kind, None if count is None else int(count), space, shared)


def parse_baselines(texts: Sequence[str], tiers: Sequence[str]) -> list[Baseline]:
    """The baselines that a user means.

    Args:
        texts: each `OPTIMIZER`, `OPTIMIZER:TIER`, or the tier `random` or `list` alone, which is of the optimizer of its space.
        tiers: of those that name none; several of them make as many baselines of each.

    Raises:
        BadInput: the message begins with the option.
    """
    general = []
    for text in tiers:
        with naming(f"--tuning {text!r}"):
            general.append(parse_tier(text))
    return [baseline for text in texts for baseline in _baselines(text, general)]


def _baselines(text: str, general: Sequence[Tier]) -> list[Baseline]:
    with naming(f"--baselines {text!r}"):
        name, tier_text = _split(text)
        if tier_text is None:
            one = _contender(name)
            return [Baseline(one, tier) for tier in general]
        tier = parse_tier(tier_text)
        return [Baseline(_contender(name) if name else _of_space(tier), tier)]


def _split(text: str) -> tuple[str, str | None]:
    """The optimizer and the tier, if one is named."""
    parts = split_outside(text, ":")
    for index, part in enumerate(parts):
        if part in (*FORMS, GLOBAL):
            return ":".join(parts[:index]), ":".join(parts[index:])
    return text, None


def _contender(name: str) -> Contender:
    try:
        return contender(name)
    except BadInput:
        first, *more = split_outside(name, ":")
        if more and not more[-1].startswith(UNTRAINED[1:]):
            contender(first)  # rather that it is unknown than its tier
            raise unknown("tier", more[-1], [*FORMS, GLOBAL]) from None
        raise


def _of_space(tier: Tier) -> Contender:
    """The optimizer of the space that settings are drawn from or listed for, under the name of its update rule."""
    if tier.kind not in (RANDOM, LIST):
        raise BadInput(f"of which optimizer? expected OPTIMIZER:{tier.text}")
    loaded = resolve(SPACES[tier.space or LIST_SPACE].text)
    return dataclasses.replace(loaded, label=layers(loaded.optimizer)[0].name)
