"""`l2o_cli.optimizers.fused` in PyTorch: what is compiled computes what the plain way of the rule computes."""

import shutil

import numpy as np
import pytest
import torch

from l2o_cli.torch import LearnedOptimizer  # before Keras, which it puts on PyTorch

from l2o_cli.optimizers.fused import compiled  # isort: skip

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="PyTorch compiles for a CPU with g++")


def trained(optimizer, shapes, monkeypatch, **options):
    """The params and the state after three steps, and how often the compiled way was taken."""
    rng, calls = np.random.default_rng(0), []
    level = compiled.parameter_level
    monkeypatch.setattr(compiled, "parameter_level", lambda *arguments: calls.append(1) or level(*arguments))
    params = [torch.nn.Parameter(torch.tensor(rng.standard_normal(shape), dtype=torch.float32)) for shape in shapes]
    made = LearnedOptimizer(params, optimizer, **options)
    for step in range(3):
        for param in params:
            param.grad = torch.tensor(rng.standard_normal(param.shape) * 10.0 ** (step - 1), dtype=torch.float32)
        made.step()
    monkeypatch.undo()
    state = made.state_dict()["learned"]["runs"][0]["state"]
    return {**state, **{str(index): param.detach() for index, param in enumerate(params)}}, len(calls)


@needs_compiler
@pytest.mark.parametrize(
    "optimizer",
    [
        pytest.param("hrnn(hidden=[2,2,2]):untrained", marks=pytest.mark.slow),
        pytest.param(
            "hrnn(hidden=[2,2],rate_level=both,relative_rate=tensor,attention=true,momentum_shortcut=true):untrained",
            marks=pytest.mark.slow,
        ),
        "hrnn(hidden=[2],scale_by_raw_moment=true,time_scales=2,relative_rate=off):untrained",
    ],
)
def test_the_compiled_step_is_the_plain_one(optimizer, monkeypatch):
    for shapes in ([(4, 3), (3,), ()], [(2, 2)] * 12):  # few tensors and many
        plain, none = trained(optimizer, shapes, monkeypatch)
        found, taken = trained(optimizer, shapes, monkeypatch, compile=True)
        assert (none, taken) == (0, 3)
        for name, leaf in plain.items():
            np.testing.assert_allclose(found[name], leaf, rtol=1e-5, atol=1e-5 * float(leaf.abs().max()), err_msg=name)
