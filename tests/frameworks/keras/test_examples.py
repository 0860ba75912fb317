"""The examples of docs/examples that train in Keras."""

import re
import subprocess
import sys
from pathlib import Path

import keras
import pytest

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="on PyTorch's CPU it takes minutes")
@pytest.mark.parametrize("name", ["with_keras", "layer_rates", "mixed_precision", "keras_loop_on_jax"])
def test_an_example_trains(name):
    done = subprocess.run([sys.executable, EXAMPLES / f"{name}.py"], capture_output=True, text=True)
    losses = [float(loss) for loss in re.findall(r"loss (\d\.\d+)", done.stdout)]
    assert losses and losses == sorted(losses) and losses[0] < 0.02, done.stderr  # ahead of Adam, where it is there
