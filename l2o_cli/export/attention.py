"""Fitting with an optimizer whose gradients are taken away from the params."""

from __future__ import annotations

import keras

from l2o_cli.export.keras_optimizer import LearnedOptimizer


class AttentionCallback(keras.callbacks.Callback):
    """For optimizers with attention (it does nothing to others): everything but training sees the params.

    Put it before the other callbacks, so that what they save or measure at the end of an epoch are the params; and training
    begins with a gradient at the attended point, so that several `fit` in a row are the same as one.
    """

    @property
    def _whole(self) -> keras.optimizers.Optimizer:
        return getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)  # inside a loss scaling

    def _optimizers(self) -> list[LearnedOptimizer]:
        # By name: releases of Keras before 3.15 have none of them.
        parts = self._whole.optimizers if type(self._whole).__name__ == "MultiOptimizer" else [self._whole]
        return [part for part in parts if isinstance(part, LearnedOptimizer)]

    def on_epoch_begin(self, epoch, logs=None):
        if self._optimizers():
            self._whole.build(self.model.trainable_variables)
        for optimizer in self._optimizers():
            optimizer.attend()

    def on_test_begin(self, logs=None):
        for optimizer in self._optimizers():
            optimizer.show_params()

    on_predict_begin = on_test_begin

    def on_epoch_end(self, epoch, logs=None):
        self.on_test_begin(logs)
