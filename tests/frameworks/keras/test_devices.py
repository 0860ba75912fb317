"""`LearnedOptimizer` under `keras.distribution.DataParallel`, on two virtual devices of JAX's."""

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

if sys.argv[2] == "2":
    assert len(jax.devices()) == 2
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=keras.distribution.list_devices()))
keras.utils.set_random_seed(0)
x = np.random.default_rng(0).standard_normal((64, 5)).astype(np.float32)
model = keras.Sequential([keras.layers.Input((5,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(2)])
model.compile(LearnedOptimizer(sys.argv[1], steps=8), "mse")
losses = model.fit(x, np.sin(x[:, :2]), batch_size=16, epochs=2, shuffle=False, verbose=0).history["loss"]
variables = model.variables + model.optimizer.variables
copies = [[np.asarray(shard.data) for shard in own.value.addressable_shards] for own in variables]
alike = all(np.array_equal(copy, own[0]) for own in copies for copy in own)
print(json.dumps([losses, len(copies[0]), alike]))
"""


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="DataParallel is JAX's")
@pytest.mark.parametrize("optimizer", ["tensor_rnn", "hrnn"])
def test_two_devices_make_the_steps_of_one(optimizer):
    def train(devices):
        flags = f"--xla_force_host_platform_device_count={devices}"
        environment = os.environ | {"XLA_FLAGS": flags, "KERAS_BACKEND": "jax"}
        command = [sys.executable, "-c", TRAIN, optimizer, str(devices)]
        result = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[3])
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout.splitlines()[-1])

    (one, _, _), (two, copies, alike) = train(1), train(2)
    assert copies == 2 and alike and two[-1] < two[0]
    np.testing.assert_allclose(two, one, rtol=1e-5)
