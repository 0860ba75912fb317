"""Update rules under one contract, by name."""

from l2o_cli.optimizers.adam import Adam
from l2o_cli.optimizers.base import Optimizer
from l2o_cli.optimizers.hierarchical_rnn import HierarchicalRNN
from l2o_cli.optimizers.momentum import Momentum
from l2o_cli.optimizers.rmsprop import RmsProp
from l2o_cli.optimizers.sgd import Sgd

OPTIMIZERS: dict[str, type[Optimizer]] = {cls.name: cls for cls in (Sgd, Momentum, RmsProp, Adam, HierarchicalRNN)}
