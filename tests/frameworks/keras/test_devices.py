"""`LearnedOptimizer` under `keras.distribution.DataParallel` and `ModelParallel`, on two virtual devices of JAX's."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

TRAIN = """
import json, sys
import jax, keras
import numpy as np
from l2o_cli import LearnedOptimizer

devices = keras.distribution.list_devices()
if sys.argv[2] == "data":
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))
if sys.argv[2] == "model":
    layout = keras.distribution.LayoutMap(keras.distribution.DeviceMesh((1, 2), ["batch", "model"], devices))
    layout[".*kernel"] = (None, "model")
    layout[".*state_(momenta|squares)"] = (None, None, "model")  # as in docs/using.md
    keras.distribution.set_distribution(keras.distribution.ModelParallel(layout_map=layout, batch_dim_name="batch"))
keras.utils.set_random_seed(0)
x = np.random.default_rng(0).standard_normal((64, 5)).astype(np.float32)
model = keras.Sequential([keras.layers.Input((5,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(2)])
model.compile(LearnedOptimizer(sys.argv[1], steps=8), "mse")
losses = model.fit(x, np.sin(x[:, :2]), batch_size=16, epochs=2, shuffle=False, verbose=0).history["loss"]
variables = model.variables + model.optimizer.variables
copies = [[np.asarray(shard.data) for shard in own.value.addressable_shards] for own in variables]
divided = {own.name for own, parts in zip(variables, copies) if parts[0].shape != tuple(own.shape)}
alike = all(np.array_equal(copy, parts[0]) for own, parts in zip(variables, copies) if own.name not in divided for copy in parts)
print(json.dumps([losses, len(copies[0]), alike, sorted(divided)]))
"""


def train(optimizer, way):
    flags = f"--xla_force_host_platform_device_count={1 if way == 'one' else 2}"
    environment = os.environ | {"XLA_FLAGS": flags, "KERAS_BACKEND": "jax"}
    command = [sys.executable, "-c", TRAIN, optimizer, way]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[3])
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="DataParallel is JAX's")
@pytest.mark.parametrize("optimizer", ["tensor_rnn", "hrnn"])
def test_two_devices_make_the_steps_of_one(optimizer):
    (one, *_), (two, copies, alike, divided) = train(optimizer, "one"), train(optimizer, "data")
    assert copies == 2 and alike and two[-1] < two[0] and not divided
    np.testing.assert_allclose(two, one, rtol=1e-5)
    if optimizer == "tensor_rnn":
        halved, copies, alike, divided = train(optimizer, "model")
        assert copies == 2 and alike and divided == ["kernel", "state_momenta", "state_squares"]
        np.testing.assert_allclose(halved, one, rtol=1e-5)
