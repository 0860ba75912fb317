"""What follows from the device that computes, and how the driver is asked, with GPUs that are pretended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from l2o_problems.images import ImageMlp
from l2o_problems.quadratics import Quadratic
from l2o_problems.transforms import GradientNoise, SumOfProblems

from l2o_cli import devices, runtime
from l2o_cli.benchmark import inner_loop
from l2o_cli.export.resolve import resolve
from l2o_cli.meta.estimators import TruncatedBackpropagation
from l2o_cli.meta.objectives import MeasuredObjective
from l2o_cli.optimizers import Adam
from l2o_cli.runs import keys
from l2o_cli.runs.update_rules import RuleBatches, together
from l2o_cli.spec import Estimator, Objective, resources
from l2o_cli.spec.names import make_problem

H100 = "NVIDIA H100 80GB HBM3"
DRIVER = f"""#!/bin/sh
[ "$1 $2" = "--query-gpu=index,uuid,name,memory.total --format=csv,noheader,nounits" ] || exit 2
echo "0, GPU-aa11, {H100}, 81559"
echo "1, GPU-bb22, NVIDIA GB10, [N/A]"
"""
CONVOLUTIONAL = make_problem("mnist_conv")


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A folder on the PATH with the driver's command, which tells of two GPUs."""
    folder = tmp_path / "driver"
    folder.mkdir()
    (folder / "nvidia-smi").write_text(DRIVER)
    (folder / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.delenv(devices.VISIBLE, raising=False)
    devices._installed.cache_clear()
    yield folder
    devices._installed.cache_clear()


@pytest.fixture
def on_gpu(driver, monkeypatch):
    """TensorFlow computes on the first of them."""
    monkeypatch.setenv(devices.VISIBLE, "0")
    monkeypatch.setattr(devices, "gpu", lambda: H100)


@pytest.mark.parametrize(
    ("chosen", "tokens"),
    [
        (None, ["GPU-aa11", "GPU-bb22"]),
        ("1", ["1"]),
        ("1, 0", ["1", "0"]),
        ("GPU-bb", ["GPU-bb"]),
        ("1,7,0", ["1"]),
        ("MIG-cc33", ["MIG-cc33"]),
        ("", []),
        ("-1", []),
    ],
)
def test_the_gpus_that_a_process_may_use(driver, monkeypatch, chosen, tokens):
    if chosen is not None:
        monkeypatch.setenv(devices.VISIBLE, chosen)
    assert [one.token for one in devices.gpus()] == tokens
    given = [devices.worker_environment(worker).get(devices.VISIBLE) for worker in range(4)]
    assert given == (tokens * 4)[:4] or (not tokens and given == [None] * 4)


def test_what_the_driver_says_of_a_gpu(driver):
    assert [one[1:] for one in devices.gpus()] == [(H100, 81559 * 2**20), ("NVIDIA GB10", 0)]


@pytest.mark.parametrize("text", ["#!/bin/sh\necho failed\nexit 9\n", "#!/bin/sh\necho No devices were found\n", None])
def test_without_gpus_there_are_none(driver, text):
    (driver / "nvidia-smi").write_text(text) if text else (driver / "nvidia-smi").unlink()
    assert devices.gpus() == [] and devices.worker_environment(0) == {}


def test_the_driver_is_asked_without_tensorflow(driver):
    code = "import sys; from l2o_cli.devices import *; print(len(gpus()), worker_environment(3), 'tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "2 {'CUDA_VISIBLE_DEVICES': 'GPU-bb22'} False\n"


def test_the_gpu_that_tensorflow_has(monkeypatch):
    details = {"seen": {"device_name": H100, "compute_capability": (9, 0)}, "bare": {}}
    monkeypatch.setattr(tf.config.experimental, "get_device_details", details.get)
    for seen, expected in (["seen", "bare"], f"{H100} (compute capability 9.0)"), (["bare"], "a GPU"), ([], None):
        monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind, seen=seen: seen)
        assert devices.gpu.__wrapped__() == expected


def test_keys_and_records_name_it(driver, monkeypatch):
    def key():
        return keys.base_key(Quadratic(3), resolve("adam"), 5)

    monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    before = key()
    assert before["GPUs"] == [] and "device" not in before["versions"]
    monkeypatch.setenv(devices.VISIBLE, "1")
    monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", "false")
    assert keys.digest(key()) == keys.digest(before)  # of a GPU that TensorFlow leaves alone, and of memory alone
    monkeypatch.setattr(devices, "gpu", lambda: H100)
    assert key()["GPUs"] == [H100] and keys.digest(key()) != keys.digest(before)
    assert runtime.environment()["device"] == key()["versions"]["device"] == H100


def test_xla_compiles_convolutions_on_a_gpu_alone(monkeypatch):
    class Uncompilable(Quadratic):
        xla = xla_on_gpu = False

    problems = [Quadratic(3), CONVOLUTIONAL, GradientNoise(CONVOLUTIONAL), SumOfProblems((Quadratic(3), CONVOLUTIONAL))]
    problems += [Uncompilable(3), GradientNoise(Uncompilable(3)), SumOfProblems((Quadratic(3), Uncompilable(3)))]
    assert [devices.compiles(one) for one in problems] == [True] + 6 * [False]
    monkeypatch.setattr(devices, "gpu", lambda: H100)
    assert [devices.compiles(one) for one in problems] == 4 * [True] + 3 * [False]


@pytest.mark.slow
def test_meta_gradients_of_convolutions_are_the_same_under_xla(monkeypatch):
    problem = make_problem("mnist_conv", {"channels": [2], "kernels": [3], "batch_size": 4, "side": 7})

    def gradient():
        optimizer = Adam()
        weights = inner_loop.tensors(optimizer.init_weights(0))
        estimate = TruncatedBackpropagation(problem, optimizer, MeasuredObjective(Objective(), problem), Estimator(), 5)
        assert estimate._truncation(5)._derive._xla == devices.compiles(problem)
        return estimate(weights, estimate.start(weights, 0, 3), tf.constant(5), 0).gradient.numpy()

    plain = gradient()
    monkeypatch.setattr(devices, "gpu", lambda: H100)
    np.testing.assert_allclose(gradient(), plain, rtol=1e-3)


def test_a_gpu_has_room_for_more(on_gpu, monkeypatch):
    wide = ImageMlp(data="digits", hidden=(4000,))
    assert (devices.memory(), devices.room()) == (81559 * 2**20, 10)
    assert (together(Quadratic(3)), together(CONVOLUTIONAL), together(wide)) == (480, 32, 10 * 8_000_000 // 300_010)
    assert resources.machine_memory.__wrapped__() == devices.memory()
    one = SimpleNamespace(problem=Quadratic(3))
    assert not RuleBatches.single_threaded.fget(one)
    monkeypatch.setenv(devices.VISIBLE, "0,1")  # of one of which the memory is not known
    assert (devices.memory(), devices.room()) == (None, 1) and resources.machine_memory.__wrapped__() > 0
    monkeypatch.setattr(devices, "gpu", lambda: None)
    monkeypatch.setenv(devices.VISIBLE, "0")
    assert (devices.memory(), devices.room(), together(Quadratic(3))) == (None, 1, 48) and RuleBatches.single_threaded.fget(one)


def test_the_device_in_words(driver, monkeypatch, l2o):
    monkeypatch.setattr(devices, "cores", lambda: 1)
    assert devices.processor().endswith(", 1 core") and len(devices.processor()) > 8
    assert devices.text() == f"{devices.processor()}; TensorFlow does not use the {H100}"
    monkeypatch.setattr(devices, "gpu", lambda: H100)
    monkeypatch.setattr(inner_loop, "measure", lambda tell: {"rate": 2.0})
    assert l2o("bench").stdout == f"device: {H100}\nrate: 2.0\n"
    figures = json.loads(l2o("bench", "--json").stdout)
    assert figures == {"device": H100, "rate": 2.0, "environment": runtime.environment()}
    assert devices.text() == H100 == figures["environment"]["device"]


def test_the_peak_of_memory_is_that_of_the_gpu(monkeypatch):
    assert devices.peak_memory() == devices.process_peak() > 1e8
    monkeypatch.setattr(devices, "gpu", lambda: H100)
    monkeypatch.setattr(tf.config.experimental, "get_memory_info", {"GPU:0": {"current": 1, "peak": 7}}.__getitem__)
    assert devices.peak_memory() == 7.0
