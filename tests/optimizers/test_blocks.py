"""`l2o_cli.optimizers.blockwise` in TensorFlow, compiled with XLA."""

import tensorflow as tf

from tests.blocks import check, each_variant


@each_variant
def test_block_by_block_is_at_once(variant, monkeypatch):
    check(variant, lambda update: tf.function(update, jit_compile=True, autograph=False), monkeypatch)
