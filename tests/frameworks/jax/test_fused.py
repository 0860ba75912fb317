"""`l2o_cli.optimizers.fused` in JAX: the kernel computes what the plain way of the rule computes, for all options."""

import os
import sys

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from l2o_cli.optimizers import fused
from l2o_cli.optimizers.fused import pallas
from l2o_cli.optimizers.hierarchical_rnn import HierarchicalRNN
from l2o_cli.optimizers.packing import Layout

FEW = Layout.of({"kernel": (23, 13), "scalar": (), "bias": (13,), "exact": (2, 64)})
WIDE = Layout.of({"kernel": (400, 300), "bias": (300,)})
MANY = Layout.of({f"tensor_{index}": shape for index, shape in enumerate([(13, 11), (7,), (), (128,)] * 3)})
VARIANTS = {
    "small": ({"hidden": (1, 1, 1), "time_scales": 2}, FEW),
    "default": ({}, FEW),
    "many tensors": ({"momentum_shortcut": True, "attention": True}, MANY),
    "one level": ({"hidden": (3,), "extreme_rate": True, "absolute_rate": True, "relative_rate": "off"}, FEW),
    "two levels": ({"hidden": (3, 2), "relative_rate": "tensor", "rate_level": "both", "normalize_direction": False}, FEW),
    "rates of tensors": ({"rate_level": "tensor", "multiple_scale_decays": True, "tensor_features": True}, FEW),
    "raw moments": ({"scale_by_raw_moment": True, "time_scales": 2, "gradient_shortcut": False, "run_features": True}, FEW),
    "bare": ({"dynamic_scaling": False, "grad_products": False, "relative_log_moments": False, "attention": True}, FEW),
}


def begun(options, layout, seed=0):
    """A rule, with noise on all weights so that no zero hides a term, its state, and params."""
    rule, rng = HierarchicalRNN(**{"hidden": (2, 2, 2), "initial_rate": (1e-3, 1e-1), **options}), np.random.default_rng(seed)
    weights = {name: jnp.float32(leaf + 0.1 * rng.standard_normal(np.shape(leaf))) for name, leaf in rule.init_weights(0).items()}
    state = {name: jnp.asarray(leaf) for name, leaf in rule.init_state(weights, layout, 1, 0).items()}
    return rule, weights, state, jnp.float32(rng.standard_normal((1, layout.parameters)))


def updates(rule, weights, state, params, layout, steps=4):
    """The params and the state after some steps."""
    rng = np.random.default_rng(1)
    update = jax.jit(lambda *arguments: rule.update(*arguments, layout))
    for step in range(steps):
        gradients = rng.standard_normal(params.shape) * 10.0 ** (step - 2)
        gradients[0, :5] *= step > 1  # parameters whose gradients begin late
        params, state = update(weights, state, params, jnp.float32(gradients), jnp.ones(1), jnp.full(1, step, jnp.int32))
    return {**state, "params": params}


@pytest.fixture
def interpreted(monkeypatch):
    monkeypatch.setattr(fused, "LEAST_PARAMETERS", 0)
    monkeypatch.setattr(pallas, "INTERPRET", True)


@pytest.mark.parametrize("variant", ["small", *(pytest.param(name, marks=pytest.mark.slow) for name in list(VARIANTS)[1:])])
def test_the_kernel_computes_what_the_rule_says(variant, interpreted, monkeypatch):
    options, layout = VARIANTS[variant]
    run = begun(options, layout)
    launches = []
    launched = pallas._launched
    monkeypatch.setattr(pallas, "_launched", lambda *arguments: launches.append(1) or launched(*arguments))
    found = updates(*run, layout)
    assert launches
    monkeypatch.setenv(fused.SWITCH, "1")
    expected = updates(*run, layout)
    assert len(launches) == 1
    for name, leaf in expected.items():
        np.testing.assert_allclose(found[name], leaf, rtol=1e-5, atol=1e-5 * float(jnp.abs(leaf).max()), err_msg=name)


def test_the_kernel_is_used_on_cuda_alone(monkeypatch):
    rule, *run = begun({}, WIDE)

    def lowered(platform):
        traced = jax.jit(lambda *arguments: rule.update(*arguments, params, jnp.ones(1), jnp.ones(1, jnp.int32), WIDE)).trace(
            *run
        )
        return "triton" in traced.lower(lowering_platforms=(platform,)).as_text()

    params = run[-1]
    assert lowered("cuda") and not lowered("cpu")
    monkeypatch.setenv(fused.SWITCH, "1")
    assert not lowered("cuda")


def test_a_jax_without_triton_computes_the_plain_way(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax.experimental.pallas.triton", None)
    monkeypatch.delitem(sys.modules, "l2o_cli.optimizers.fused.pallas")
    monkeypatch.delattr(fused, "pallas")
    rule, *run = begun({}, WIDE)
    params, _ = rule.update(*run, run[-1], jnp.ones(1), jnp.ones(1, jnp.int32), WIDE)
    assert jnp.isfinite(params).all() and "l2o_cli.optimizers.fused.pallas" not in sys.modules


def test_the_kernel_has_the_derivative_of_the_rule(interpreted, monkeypatch):
    rule, weights, *run = begun({"hidden": (1, 1), "time_scales": 1, "grad_products": False}, FEW)

    def loss(weights):
        params, state = rule.update(weights, *run, run[-1], jnp.ones(1), jnp.ones(1, jnp.int32), FEW)
        return jnp.sum(params**2) + jnp.sum(state["parameter"] ** 2)

    found = jax.jit(jax.grad(loss))(weights)
    monkeypatch.setenv(fused.SWITCH, "1")
    expected = jax.jit(jax.grad(lambda weights: loss(weights)))(weights)
    for name, leaf in expected.items():
        np.testing.assert_allclose(found[name], leaf, rtol=1e-5, atol=1e-6, err_msg=name)
