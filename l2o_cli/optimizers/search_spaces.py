"""Search spaces for hand-designed optimizers (Metz et al. 2020, "Using a thousand optimization tasks to learn hyperparameter
search strategies", and the code released with it): named distributions over hyperparameters.

Every choice is a number, so that settings of all kinds run together in one compiled loop.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from l2o_cli.optimizers.base import Optimizer
from l2o_cli.optimizers.elementwise import Adam, NAdamW
from l2o_cli.optimizers.transforms import Decay, Regularization, Schedule

Setting = dict[str, float]
DECAY_STEPS = 10_000  # the length of the runs for which the rates of decay of Adam6p and Adam8p are meant


@dataclass(frozen=True)
class SearchSpace:
    """An optimizer and a distribution over its hyperparameters; those that are not drawn keep its values."""

    summary: str
    text: str  # the optimizer as a user names it
    optimizer: Optimizer
    draw: Callable[[np.random.Generator], Setting]


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _adam1p(rng: np.random.Generator) -> Setting:
    return {"learning_rate": _log_uniform(rng, 1e-8, 1e1)}


def _adam4p(rng: np.random.Generator) -> Setting:
    return {
        **_adam1p(rng),
        "beta_1": 1 - _log_uniform(rng, 1e-4, 1),
        "beta_2": 1 - _log_uniform(rng, 1e-6, 1),
        "epsilon": _log_uniform(rng, 1e-10, 1e3),
    }


def _adam6p(rng: np.random.Generator) -> Setting:
    linear, exponential = _log_uniform(rng, 1e-7, 1e-4), _log_uniform(rng, 1e-6, 1e-3)
    return {**_adam4p(rng), "decay/linear": linear, "decay/exponential": exponential}


def _adam8p(rng: np.random.Generator) -> Setting:
    l1, l2 = _log_uniform(rng, 1e-8, 1e1), _log_uniform(rng, 1e-8, 1e1)
    return {**_adam6p(rng), "regularization/l1": l1, "regularization/l2": l2}


def _nadamw(rng: np.random.Generator) -> Setting:
    """In equal thirds with decoupled weight decay, with an L2 penalty, and with both."""
    kind = rng.integers(3)
    decoupled, l2 = _log_uniform(rng, 1e-5, 1e-1), _log_uniform(rng, 1e-5, 1e-1)
    warmup, final = _log_uniform(rng, 1e-5, 1e-1), _log_uniform(rng, 1e-5, 1)
    begin_of_decay, has_warmup, ends_at_zero, nesterov = rng.uniform(), *rng.integers(2, size=3)
    warmup = min(warmup, begin_of_decay) if has_warmup else 0.0
    return {
        "learning_rate": _log_uniform(rng, 1e-5, 1),
        "beta_1": 1 - _log_uniform(rng, 1e-3, 1),
        "beta_2": 1 - _log_uniform(rng, 1e-5, 1),
        "epsilon": _log_uniform(rng, 1e-8, 1e4),
        "nesterov": float(nesterov),
        "weight_decay": decoupled if kind != 1 else 0.0,
        "regularization/l2": l2 / 2 if kind != 0 else 0.0,  # of the penalty l2 / 2 * sum params^2
        "schedule/warmup": warmup,
        "schedule/constant": begin_of_decay - warmup,
        "schedule/final": 0.0 if ends_at_zero else final,
    }


_DECAYING = Decay(Adam())
_SCHEDULED = Schedule(Regularization(NAdamW()))

SPACES: dict[str, SearchSpace] = {
    "adam1p": SearchSpace("Adam's learning rate, 1e-8 to 10", "adam", Adam(), _adam1p),
    "adam4p": SearchSpace("and both betas and epsilon", "adam", Adam(), _adam4p),
    "adam6p": SearchSpace("and a linear and an exponential decay of the learning rate", "adam+decay", _DECAYING, _adam6p),
    "adam8p": SearchSpace(
        "and L1 and L2 penalties of the params", "adam+decay+regularization", Regularization(_DECAYING), _adam8p
    ),
    "nadamw": SearchSpace(
        "NAdamW with or without Nesterov's momentum, with two kinds of weight decay, warm-up and cosine decay",
        "nadamw+regularization+schedule",
        _SCHEDULED,
        _nadamw,
    ),
}


def sample(space: str, seed: int, count: int, steps: int = DECAY_STEPS) -> list[Setting]:
    """`count` settings drawn from a space, a function of the arguments; the first ones of a longer list are those of a shorter.

    Args:
        space: one of SPACES.
        steps: the length of the runs; a rate of decay for each step is larger the shorter they are.
    """
    rng = np.random.default_rng(seed)
    settings = [SPACES[space].draw(rng) for _ in range(count)]
    scale = DECAY_STEPS / steps
    return [
        {name: value * scale if name.startswith(f"{Decay.name}/") else value for name, value in setting.items()}
        for setting in settings
    ]


NADAMW_LIST = Path(__file__).with_name("nadamw_list.csv")
MEAN_LOSS = "mean_loss"  # the column that says what the list reaches up to this setting


def nadamw_list() -> list[Setting]:
    """Settings for the optimizer of the space `nadamw`, to be tried in this order; the file says how they were chosen."""
    lines = [line for line in NADAMW_LIST.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return [{name: float(cell) for name, cell in row.items() if name != MEAN_LOSS} for row in csv.DictReader(lines)]
