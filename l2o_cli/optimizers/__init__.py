"""Update rules under one contract, by name."""

from l2o_cli.optimizers.adafactor import Adafactor
from l2o_cli.optimizers.adafactor_mlp import AdafactorMlp
from l2o_cli.optimizers.base import Optimizer
from l2o_cli.optimizers.elementwise import Adagrad, Adam, AdamW, Lion, Momentum, NAdamW, Nesterov, RmsProp, Sgd
from l2o_cli.optimizers.hierarchical_rnn import HierarchicalRNN
from l2o_cli.optimizers.learned_hyperparameters import LearnedAdam, LearnedRate, LearnedSchedule
from l2o_cli.optimizers.lstm import Lstm
from l2o_cli.optimizers.lstm_mlp import LstmMlp
from l2o_cli.optimizers.mlp import Mlp
from l2o_cli.optimizers.muon import Muon
from l2o_cli.optimizers.rnnprop import RnnProp
from l2o_cli.optimizers.tensor_rnn import TensorRnn

_HAND_DESIGNED = (Sgd, Momentum, RmsProp, Adam, Nesterov, Adagrad, AdamW, NAdamW, Lion, Adafactor, Muon)
_WITH_LEARNED_HYPERPARAMETERS = (LearnedRate, LearnedAdam, LearnedSchedule)
_NETWORKS = (Mlp, AdafactorMlp, HierarchicalRNN, Lstm, RnnProp, LstmMlp, TensorRnn)
OPTIMIZERS: dict[str, type[Optimizer]] = {cls.name: cls for cls in (*_HAND_DESIGNED, *_WITH_LEARNED_HYPERPARAMETERS, *_NETWORKS)}
