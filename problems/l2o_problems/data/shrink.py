"""Images of fewer pixels, by averages over areas.

Shape letters: N images, H and W height and width, C channels.
"""

from __future__ import annotations

import numpy as np

PART = 1000  # images


def area_weights(size: int, fewer: int) -> np.ndarray:
    """The share of each of `size` pixels in a row in each of `fewer` that together cover the same length: [fewer, size].

    Rows sum to 1. A pixel that lies in two of the fewer counts in each by the part that lies in it.
    """
    edges = np.arange(fewer + 1) * (size / fewer)
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.maximum(overlap, 0.0) * (fewer / size)


def shrink(images: np.ndarray, side: int) -> np.ndarray:
    """Images [N, H, W] or [N, H, W, C] averaged to side x side pixels, float32: 28 -> 14 by blocks of 2x2."""
    rows, columns = (area_weights(size, side) for size in images.shape[1:3])
    # Some at a time, since sums are made in float64: all of a large data set would take gigabytes.
    parts = (images[begin : begin + PART] for begin in range(0, len(images), PART))
    shrunk = [np.einsum("ph,nhw...,qw->npq...", rows, part, columns, optimize=True).astype(np.float32) for part in parts]
    return np.concatenate(shrunk)
