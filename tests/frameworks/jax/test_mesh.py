"""`l2o_cli.optax` with params that are sharded over four virtual devices of JAX's: their numbers, and where all of it lies."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

STEPS = 6
TRAIN = """
import json, sys
from l2o_cli.optax import learned_optimizer
import jax, optax
import numpy as np
from jax import numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

WHERE = {"first": P(None, "model"), "first_bias": P("model"), "second": P("model", None), "second_bias": P()}
SHAPES = {"first": (8, 64), "first_bias": (64,), "second": (64, 6), "second_bias": (6,)}  # 966 parameters: not 4 * N


def train(name, steps, axes=None, jit=True):
    mesh = axes and jax.make_mesh((4,), ("model",), axis_types=(axes,))
    rng = np.random.default_rng(0)
    params = {name: jnp.asarray(0.3 * rng.standard_normal(shape), jnp.float32) for name, shape in SHAPES.items()}
    x = jnp.asarray(rng.standard_normal((16, 8)), jnp.float32)

    def loss_of(params):
        hidden, second = jnp.tanh(x @ params["first"] + params["first_bias"]), params["second"]
        if axes == AxisType.Explicit:  # where a product over a divided axis is the user's to arrange
            hidden, second = (jax.sharding.reshard(value, NamedSharding(mesh, P())) for value in (hidden, second))
        return jnp.mean((hidden @ second + params["second_bias"] - jnp.sin(x[:, :6])) ** 2)

    optimizer = learned_optimizer(name, 0.5, steps=steps, mesh=mesh)
    def step(params, state):
        loss, gradients = jax.value_and_grad(loss_of)(params)
        updates, state = optimizer.update(gradients, state, params, value=loss)
        return optax.apply_updates(params, updates), state, updates, loss

    if mesh:
        params = {name: jax.device_put(value, NamedSharding(mesh, WHERE[name])) for name, value in params.items()}
    states, losses = [optimizer.init(params)], []
    step = jax.jit(step) if jit else step
    for _ in range(steps):
        params, state, updates, loss = step(params, states[-1])
        states.append(state)
        losses.append(float(loss))
    if mesh:
        for name, where in WHERE.items():
            for tree in (params, updates):
                assert tree[name].sharding.is_equivalent_to(NamedSharding(mesh, where), len(SHAPES[name])), (name, tree)
    here = [sum(part.data.nbytes for leaf in jax.tree.leaves(state) for part in leaf.addressable_shards
                if part.device == jax.devices()[0]) for state in states]
    values = {name: np.asarray(value).tolist() for name, value in params.items()}
    return {"losses": losses, "bytes": [here[0], here[-1]], "params": values}


name, steps = sys.argv[1], int(sys.argv[2])
print(json.dumps([train(name, steps), train(name, steps, AxisType.Auto), train(name, steps, AxisType.Explicit),
                  train(name, steps, AxisType.Auto, jit=False)]))
"""


@pytest.mark.parametrize("name", ["tensor_rnn", pytest.param("hrnn", marks=pytest.mark.slow)])
def test_four_devices_make_the_steps_of_one_and_share_the_state(name):
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", TRAIN, name, str(STEPS)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[3])
    assert result.returncode == 0, result.stderr
    one, *several = json.loads(result.stdout.splitlines()[-1])
    assert one["losses"][-1] < one["losses"][0]
    for found in several:
        np.testing.assert_allclose(found["losses"], one["losses"], rtol=1e-5)
        for tensor, value in one["params"].items():
            np.testing.assert_allclose(found["params"][tensor], value, rtol=1e-4, atol=1e-5, err_msg=tensor)
        assert max(found["bytes"]) < 0.27 * min(one["bytes"])
