"""A network of 26 million parameters in Keras on JAX and on PyTorch."""

import pytest

from tests import resnet


@pytest.mark.slow
def test_a_large_network_trains():
    resnet.train_in_keras()
