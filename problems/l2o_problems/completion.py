"""Regression on real data: the lower half of an image from its upper half.

Shape letters: I instances, B minibatch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from l2o_problems.images import ImageProblem, shrunk_side
from l2o_problems.mlp import MlpProblem
from l2o_problems.networks import Activation, squared_error
from l2o_problems.options import Sizes


@dataclass(frozen=True)
class ImageCompletion(MlpProblem, ImageProblem):
    """An MLP from the pixels of the upper half to those of the lower one; initialized as He et al. 2015, biases 0.

    The loss is the mean over images and pixels of the squared error of linear outputs. Of an odd number of rows the middle one
    belongs to the lower half. With `side` the images are averaged to side x side pixels.
    """

    name: ClassVar[str] = "image_completion"
    summary: ClassVar[str] = "MLP regression of the lower half of images on the upper half"

    data: str = "mnist"
    hidden: Sizes = (64,)
    activation: Activation = "relu"
    batch_size: int = 64
    side: int | None = shrunk_side()

    def __post_init__(self):
        super().__post_init__()
        if self.side == 1:
            raise ValueError("side must be at least 2, since an image of one row has no upper half")

    @property
    def _inputs(self) -> int:
        """Numbers in the upper half."""
        return self.info.side // 2 * self.info.side * self.info.channels

    @property
    def ends(self):
        return self._inputs, self.info.pixels - self._inputs

    def batch(self, seed, task, split):
        pixels = super().batch(seed, task, split)["inputs"]
        return {"inputs": pixels[..., : self._inputs], "targets": pixels[..., self._inputs :]}

    def loss(self, params, task, batch):
        return squared_error(self.outputs(params, batch["inputs"]), batch["targets"])
