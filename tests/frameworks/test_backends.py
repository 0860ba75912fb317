"""Every update rule on Keras's PyTorch backend against its JAX backend, without TensorFlow.

That JAX's steps are those of TensorFlow is tested in `tests/optimizers/test_backends.py`.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


def paths_on(backend, folder):
    file = folder / f"{backend}.npz"
    environment = os.environ | {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "tests.optimizers.trajectories", str(file)]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    with np.load(file) as paths:
        return dict(paths)


@pytest.fixture(scope="module")
def on_each(tmp_path_factory):
    folder = tmp_path_factory.mktemp("paths")
    return paths_on("jax", folder), paths_on("torch", folder)


def test_the_same_rules_make_the_same_steps(on_each):
    on_jax, on_torch = on_each
    assert on_jax.keys() == on_torch.keys() and len(on_jax) > 20
    for name, path in on_jax.items():
        assert np.isfinite(path).all(), name
        near = {"rtol": 5e-5} if name.startswith("fitted") else {"rtol": 1e-5, "atol": 1e-5}
        np.testing.assert_allclose(on_torch[name], path, **near, err_msg=name)


@pytest.mark.parametrize(("module", "other", "backend"), [("optax", "torch", "jax"), ("torch", "jax", "torch")])
def test_the_backend_is_chosen_or_the_fault_is_said(module, other, backend):
    def run(code, **environment):
        command = [sys.executable, "-c", code]
        inherited = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
        return subprocess.run(command, cwd=ROOT, env=inherited | environment, capture_output=True, text=True)

    chosen = run(f"import l2o_cli.{module}, keras, sys; print(keras.backend.backend(), 'tensorflow' in sys.modules)")
    assert chosen.stdout.split() == [backend, "False"], chosen.stderr
    clash = run(f"import keras, l2o_cli.{module}", KERAS_BACKEND=other)
    assert f"l2o_cli.{module} needs Keras on {backend}, but Keras is imported already, on {other}" in clash.stderr
