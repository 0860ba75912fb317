"""How long inner runs and their truncations are (Wichrowska et al. 2017, section 4.2 and appendix A)."""

from __future__ import annotations

import numpy as np

from l2o_cli.spec import Lengths


def draw(lengths: Lengths, rng: np.random.Generator, size: int) -> np.ndarray:
    """`size` lengths in steps, int32.

    exponential: minimum + round(Exp(scale)), heavy-tailed; log_uniform: uniform in log between minimum and maximum;
    constant: maximum. All are capped at `maximum`.
    """
    values: np.ndarray
    if lengths.distribution == "exponential":
        values = lengths.minimum + np.round(rng.exponential(lengths.scale, size))
    elif lengths.distribution == "log_uniform":
        values = np.round(np.exp(rng.uniform(np.log(lengths.minimum), np.log(lengths.maximum), size)))
    else:
        values = np.full(size, float(lengths.maximum))
    return np.minimum(values, lengths.maximum).astype(np.int32)
