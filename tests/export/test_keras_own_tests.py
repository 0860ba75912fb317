"""Keras's own tests of optimizers, which its wheel carries, with `LearnedOptimizer` in the place of its SGD and Adam.

The rules step at the rate 1, and Keras's rate multiplies that. SGD with momentum is our `momentum`, since our `sgd` has none.
"""

from __future__ import annotations

import types

import keras
import pytest
from keras.src import optimizers
from keras.src.optimizers import loss_scale_optimizer_test, multi_optimizer_test, optimizer_test

from l2o_cli import LearnedOptimizer


@keras.saving.register_keras_serializable(package="l2o tests")
class SGD(LearnedOptimizer):
    def __init__(self, learning_rate=0.01, momentum=0.0, nesterov=False, optimizer=None, **arguments):
        rule = "sgd(learning_rate=1.0)"
        if momentum:
            rule = f"momentum(learning_rate=1.0,momentum={momentum},nesterov={str(nesterov).lower()})"
        super().__init__(optimizer or rule, learning_rate, **arguments)


@keras.saving.register_keras_serializable(package="l2o tests")
class Adam(LearnedOptimizer):
    def __init__(self, learning_rate=0.001, optimizer=None, **arguments):
        super().__init__(optimizer or "adam(learning_rate=1.0)", learning_rate, **arguments)


def get(identifier, own=optimizers.get):
    """`keras.optimizers.get`, which finds ours by the names "sgd" and "adam"."""
    name, config = (identifier["class_name"], identifier["config"]) if isinstance(identifier, dict) else (identifier, {})
    ours = {"sgd": SGD, "adam": Adam}
    return ours[name](**config) if name in ours else own(identifier)


@pytest.fixture(autouse=True)
def ours_in_their_place(monkeypatch):
    stand_in = types.SimpleNamespace(**{**vars(optimizers), "SGD": SGD, "Adam": Adam, "get": get})
    for module in (optimizer_test, multi_optimizer_test):
        monkeypatch.setattr(module, "optimizers", stand_in)
    monkeypatch.setattr(loss_scale_optimizer_test, "SGD", SGD)


OTHER = "of another of Keras's optimizers, which nothing replaces here"
STATELESS = "Keras has no stateless updates with TensorFlow, and skips it"
LEFT_OUT = {
    # The first two are of adam and sgd.
    **{f"test_gradient_accumulation_with_weigth_decay{index}": OTHER for index in range(2, 11)},
    **{f"test_pickleable_optimizers{index}": OTHER for index in range(2, 11)},
}
if keras.backend.backend() == "tensorflow":
    LEFT_OUT |= {
        "test_stateless_apply": STATELESS,
        "test_finite_step_stateless": STATELESS,
        "test_finite_step_with_inner_loss_scale_stateless": STATELESS,
        "test_infinite_step_stateless": STATELESS,
        "test_finite_step_with_overwrite_stateless": STATELESS,
        "test_downscaling_stateless": STATELESS,
        "test_upscaling_stateless": STATELESS,
        "test_iterations_update_stateless": STATELESS,
    }
else:
    LEFT_OUT["test_tensorboard_logging_with_multi_optimizer"] = "writes by TensorFlow"


def here(case: type) -> type:
    """A test case as a class of this module, without the tests left out."""
    left_out = dict.fromkeys(name for name in LEFT_OUT if hasattr(case, name))
    return type(case.__name__, (case,), {**left_out, "__module__": __name__})


OptimizerTest = here(optimizer_test.OptimizerTest)
MultiOptimizerTest = here(multi_optimizer_test.MultiOptimizerTest)
LossScaleOptimizerTest = here(loss_scale_optimizer_test.LossScaleOptimizerTest)
