"""Every update rule on Keras's JAX backend against TensorFlow's."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from l2o_cli.optimizers import OPTIMIZERS
from tests.optimizers.trajectories import FITTED, fitted, trajectory

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def on_jax(tmp_path_factory):
    file = tmp_path_factory.mktemp("jax") / "trajectories.npz"
    code = "import sys, runpy; runpy.run_module('tests.optimizers.trajectories', run_name='__main__', alter_sys=True)\n"
    code += "assert 'tensorflow' not in sys.modules, 'an update rule needs TensorFlow'"
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    result = subprocess.run([sys.executable, "-c", code, str(file)], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    with np.load(file) as paths:
        return dict(paths)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_jax_and_tensorflow_agree(name, on_jax):
    assert keras.backend.backend() == "tensorflow"
    ours = trajectory(name)
    assert np.isfinite(ours).all() and np.abs(np.diff(ours, axis=0)).max() > 1e-6
    np.testing.assert_allclose(on_jax[name], ours, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", FITTED)
def test_a_network_in_keras_has_the_same_losses(name, on_jax):
    losses = fitted(name)
    assert losses[-10:].mean() < 0.5 * losses[0]
    np.testing.assert_allclose(on_jax[f"fitted {name}"], losses, rtol=5e-5)
