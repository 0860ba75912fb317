"""Keras's own tests of optimizers on its JAX and PyTorch backends."""

from tests.export.test_keras_own_tests import (  # noqa: F401
    LossScaleOptimizerTest,
    MultiOptimizerTest,
    OptimizerTest,
    ours_in_their_place,
)
