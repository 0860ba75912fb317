"""`l2o_cli.optimizers.blockwise` in JAX and in PyTorch."""

import keras

from tests.blocks import check, each_variant


@each_variant
def test_block_by_block_is_at_once(variant, monkeypatch):
    if keras.backend.backend() == "jax":
        import jax

        check(variant, jax.jit, monkeypatch)
    else:
        import torch

        check(variant, torch.no_grad(), monkeypatch)
