"""Shared by the tests on each backend: block by block optimizers compute what they compute at once."""

import numpy as np
import pytest
from keras import ops

from l2o_cli.optimizers import blockwise
from l2o_cli.optimizers.hierarchical_rnn import HierarchicalRNN
from l2o_cli.optimizers.packing import Layout
from l2o_cli.optimizers.tensor_rnn import TensorRnn
from l2o_cli.optimizers.transforms import TRANSFORMS

# Tensors that end within a block and at one's end, that are smaller than a block, and one at the end of all.
LAYOUT = Layout.of(
    {
        "kernel": (7, 9),
        "bias": (3,),
        "exact": (32,),
        "scalar": (),
        "one": (2, 3),
        "embedding": (2, 3),
        "two": (2, 3),
        "last": (5, 5),
    }
)
VARIANTS = {
    "default": {},
    "attention": {"attention": True, "rate_level": "both", "relative_rate": "tensor"},
    "rates of tensors": {"rate_level": "tensor", "tensor_features": True, "momentum_shortcut": True, "absolute_rate": True},
    "one level": {"hidden": (3,)},
}
PUBLISHED = {
    "orthogonalized": {},
    "fan_in": {"power": 0.5},
    "schedule": {"kind": "linear"},
    "weight_decay": {"exclude_vectors": True},
}
WITHIN = "tensor_rnn within transformations"
each_variant = pytest.mark.parametrize(
    "variant", ["default", *(pytest.param(name, marks=pytest.mark.slow) for name in (*list(VARIANTS)[1:], WITHIN))]
)


def check(variant, compiled, monkeypatch):
    """Three steps of two instances and of one.

    Args:
        compiled: makes a compiled function of an update.
    """
    monkeypatch.setattr(blockwise, "BLOCK", 16)
    for instances in (1, 2):
        whole = _steps(variant, instances, compiled)
        with monkeypatch.context() as patched, blockwise.compiled_loops():
            patched.setattr(blockwise, "LEAST_PARAMETERS", 1)
            calls = _counted(blockwise, "by_block", patched)
            found = _steps(variant, instances, compiled)
        assert calls
        for name, leaf in whole.items():
            np.testing.assert_allclose(found[name], leaf, rtol=1e-5, atol=1e-6 * np.abs(leaf).max(), err_msg=name)


def _counted(module, name, monkeypatch):
    """A list that grows with each call of a function."""
    calls, function = [], getattr(module, name)

    def counted(*arguments):
        calls.append(arguments)
        return function(*arguments)

    monkeypatch.setattr(module, name, counted)
    return calls


def _rule(variant):
    if variant != WITHIN:
        return HierarchicalRNN(**{"initial_rate": (1e-2, 1e-1), **VARIANTS[variant]})
    rule = TensorRnn(hidden=(4, 3), unevenness=True, initial_rate=0.1)
    for name, options in PUBLISHED.items():
        rule = TRANSFORMS[name](rule, **options)
    return rule.over(10)


def _steps(variant, instances, compiled):
    rng = np.random.default_rng(0)
    rule = _rule(variant)
    weights = {name: leaf + np.float32(0.1 * rng.standard_normal(leaf.shape)) for name, leaf in rule.init_weights(0).items()}
    state = {name: ops.convert_to_tensor(leaf) for name, leaf in rule.init_state(weights, LAYOUT, instances, 0).items()}
    weights = {name: ops.convert_to_tensor(np.float32(leaf)) for name, leaf in weights.items()}
    params = ops.convert_to_tensor(rng.standard_normal((instances, LAYOUT.parameters)).astype(np.float32))
    update = compiled(lambda *arguments: rule.update(*arguments, LAYOUT))
    for step in range(3):
        gradients = ops.convert_to_tensor(rng.standard_normal((instances, LAYOUT.parameters)).astype(np.float32))
        count = ops.convert_to_tensor(np.full(instances, step, np.int32))
        params, state = update(weights, state, params, gradients, ops.ones((instances,)), count)
    return {name: ops.convert_to_numpy(leaf) for name, leaf in {**state, "params": params}.items()}
