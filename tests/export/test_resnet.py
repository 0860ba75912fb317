"""A network of 26 million parameters in Keras on TensorFlow; on JAX and PyTorch: `tests/frameworks`."""

import pytest

from tests import resnet


@pytest.fixture
def tiny():
    """The published checkpoints are to be found here."""


@pytest.mark.slow
def test_a_large_network_trains():
    resnet.train_in_keras()
