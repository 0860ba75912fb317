"""Learned optimizers: meta-training, evaluation, export.

    from l2o_cli import LearnedOptimizer
    model.compile(optimizer=LearnedOptimizer("hrnn"), loss="mse")

Importing the package imports neither TensorFlow nor Keras; asking it for `LearnedOptimizer` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from l2o_cli.export.keras_optimizer import LearnedOptimizer

    __version__: str

__all__ = ["LearnedOptimizer", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "LearnedOptimizer":
        from l2o_cli.export.keras_optimizer import LearnedOptimizer

        return LearnedOptimizer
    if name == "__version__":
        from l2o_cli.runtime import version

        return version()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
