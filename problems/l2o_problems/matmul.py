"""Algorithms for the product of matrices (Wichrowska et al. 2017, section 5.1)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import numpy as np
import tensorflow as tf

from l2o_problems.base import Problem
from l2o_problems.options import require_whole
from l2o_problems.random import fold, instance_keys, normal

RIDGE = 1e-5
# The fewest multiplications known to suffice (Strassen 1969, Laderman 1976); naively it is size^3.
KNOWN = {2: 7, 3: 23}


def products_of_units(size: int) -> np.ndarray:
    """The products of all pairs of n x n matrices with a single 1, as rows: [n^2, n^2, n^2], first factor, second, product."""
    unit = np.eye(size, dtype=np.float32)
    # The product of those with their 1 at (p, q) and (r, s) has a 1 at (p, s) if q = r, and is 0 if not.
    return np.einsum("qr,pu,sv->pqrsuv", unit, unit, unit).reshape((size * size,) * 3)


@dataclass(frozen=True)
class MatrixMultiplication(Problem):
    """Find a way to multiply matrices [n, n] with k = `products` multiplications of numbers, as Strassen's has 7 for n = 2.

    Factors A [n^2, k], B [n^2, k] and C [k, n^2] are such a way if (vec(a) A * vec(b) B) C = vec(a b) for all matrices a and
    b, with vec a row and * the product of entries. It is enough that this holds for all n^4 pairs of matrices with a single
    1; the loss is the sum of the squared errors over those. A and B are the params, C is the least-squares solution given
    them, so that the loss does not depend on the lengths of the columns of A and B, which are 1 at the start. An instance
    differs from another by its start only.

    The least squares have a ridge of 1e-5, relative to products of columns of length 1: without it two columns that come
    close to each other would make the equations singular. An exact algorithm has a loss of about 1e-9 for that.
    """

    name: ClassVar[str] = "matrix_multiplication"
    summary: ClassVar[str] = "search for an algorithm that multiplies n x n matrices with few multiplications"

    size: Annotated[int, partial(require_whole, least=2, most=16)] = 2  # the products of all units are size^6 numbers
    products: int = 7

    def __post_init__(self):
        super().__post_init__()
        require_whole("products", self.products, least=self.size**2)
        if self.products > self.size**3:
            raise ValueError(f"products must be at most size^3 = {self.size**3}, but is {self.products}")

    @property
    def param_shapes(self):
        return {"a": (self.size**2, self.products), "b": (self.size**2, self.products)}

    def sample(self, seed, instances):
        return {"key": instance_keys(seed, instances)}

    def initial_params(self, seed, task):
        shape = (task["key"].shape[0], self.size**2, self.products)
        return {name: tf.math.l2_normalize(normal(fold(seed, index), shape), axis=1) for index, name in enumerate("ab")}

    def loss(self, params, task, batch):
        wanted = tf.constant(products_of_units(self.size).reshape(-1, self.size**2))  # [n^4, n^2]
        a, b = (tf.math.l2_normalize(params[name], axis=1) for name in "ab")
        pairs = tf.reshape(a[:, :, None] * b[:, None], [-1, self.size**4, self.products])  # row by row, all rows of A and B
        gram = tf.matmul(a, a, transpose_a=True) * tf.matmul(b, b, transpose_a=True)  # pairs' pairs, for less
        moments = tf.einsum("ipk,pc->ikc", pairs, wanted)
        c = tf.linalg.solve(gram + RIDGE * tf.eye(self.products), moments)
        return tf.reduce_sum(tf.square(tf.matmul(pairs, c) - wanted), axis=(1, 2))

    @property
    def minimum(self):
        return 0.0 if self.products >= KNOWN.get(self.size, self.size**3) else None
