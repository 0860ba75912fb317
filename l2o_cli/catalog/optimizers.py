"""What is said of optimizers: rows for listings, and the description of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from l2o_cli import assets
from l2o_cli.benchmark.inner_loop import UPDATE_SIZES, state_bytes, tensors, update_costs
from l2o_cli.catalog.card import describe_card
from l2o_cli.catalog.text import Row, beginning, block, description_of, options_of, shapes, transforms_of
from l2o_cli.export.artifact import CARD, LoadedOptimizer, read_card
from l2o_cli.export.resolve import UNTRAINED, resolve
from l2o_cli.optimizers import OPTIMIZERS
from l2o_cli.optimizers.transforms import layers


def optimizer_rows() -> list[Row]:
    """One for each update rule, with the published checkpoints of it."""
    published: dict[str, list[str]] = {name: [] for name in OPTIMIZERS}
    for card in sorted(assets.checkpoints().glob(f"*/{CARD}")):
        published.setdefault(read_card(card)["optimizer"]["name"], []).append(card.parent.name)
    return [
        {"name": name, "summary": cls.summary, "learned": cls.learned, "checkpoints": published[name]}
        for name, cls in sorted(OPTIMIZERS.items())
    ]


def find(name: str) -> LoadedOptimizer:
    """What `resolve` finds, and a learned update rule without a checkpoint by its name alone."""
    unpublished = name in OPTIMIZERS and OPTIMIZERS[name].learned and not (assets.checkpoints() / name / CARD).is_file()
    return resolve(name + UNTRAINED if unpublished else name)


def describe(loaded: LoadedOptimizer, cost: bool = True, tell: Callable[[str], None] = lambda line: None) -> Row:
    """All that is known of one optimizer, for JSON; `text_of` and `print_card` say the same to people.

    Args:
        cost: whether updates are timed, some seconds for each size.
        tell: is told what is being timed.
    """
    rule, *transforms = layers(loaded.optimizer)
    weights = loaded.weights
    costs = update_costs(loaded.optimizer, tensors(weights), UPDATE_SIZES, tell) if cost else []
    return {
        "optimizer": loaded.label,
        "rule": rule.name,
        "summary": rule.summary,
        "description": description_of(rule),
        "from": loaded.source,
        "options": options_of(rule),
        "defaults": options_of(OPTIMIZERS[rule.name]()),
        "transforms": transforms_of(transforms),
        "learned": loaded.optimizer.learned,
        "weights": {name: list(np.shape(value)) for name, value in sorted(weights.items())},
        "weight_count": int(sum(np.size(value) for value in weights.values())),
        "state_bytes_per_parameter": state_bytes(loaded.optimizer, weights),
        "reads_validation_loss": loaded.optimizer.reads_validation_loss,
        "gradient_elsewhere": loaded.optimizer.evaluates_elsewhere,
        "update": [cost._asdict() for cost in costs],
        "card": describe_card(loaded),
    }


def text_of(description: Mapping[str, Any]) -> str:
    """The description as a text of several blocks, but for the card."""
    kind = "learned" if description["learned"] else "hand-designed"
    weights = f"{description['weight_count']:,} weights" if description["learned"] else "hyperparameters"
    blocks = [*beginning(description["optimizer"], description), shapes(weights, description["weights"])]
    facts = {
        "kind": f"{kind}, {description['from']}",
        "state": f"{description['state_bytes_per_parameter']:.4g} bytes per parameter",
        "reads the validation loss": "yes" if description["reads_validation_loss"] else "no",
        "gradient taken ahead of the params": "yes" if description["gradient_elsewhere"] else "no",
    }
    blocks.append(block("facts", facts))
    if description["update"]:
        rows = {
            f"{cost['parameters']:,} parameters": f"{cost['milliseconds']:.3g} ms, {cost['adams']:.3g} times Adam's"
            for cost in description["update"]
        }
        blocks.append(block("one compiled update on this machine", rows))
    return "\n\n".join(blocks)
