"""Update rules under one contract, by name."""

from l2o_cli.optimizers.adam import Adam
from l2o_cli.optimizers.base import Optimizer

OPTIMIZERS: dict[str, type[Optimizer]] = {cls.name: cls for cls in (Adam,)}
