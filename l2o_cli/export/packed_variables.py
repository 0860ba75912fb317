"""The trainable variables of a model as one problem instance.

Shape letters: P parameters (all variables packed), T tensors.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from l2o_cli.optimizers.matrices import is_embedding
from l2o_cli.optimizers.packing import Layout, pack, spread, unpack


class PackedVariables:
    """How variables are packed, in float32: in the order given, known by their index in it.

    Those without entries are left out: there is nothing to update in them, and a mean over one is not a number. The names in
    the layout are the indices, and say of an embedding that it is one, since some rules treat them apart.
    """

    def __init__(self, shapes: Iterable[Sequence[int]], paths: Iterable[str]):
        """Args:
        paths: the names of the variables, with those of their layers.
        """
        self.shapes = [tuple(shape) for shape in shapes]
        names = [f"{index} embedding" if is_embedding(path) else str(index) for index, path in enumerate(paths)]
        self.layout = Layout.of({name: shape for name, shape in zip(names, self.shapes, strict=True) if math.prod(shape)})

    @property
    def empty(self) -> bool:
        """Whether there is nothing to pack."""
        return self.layout.tensors == 0

    @property
    def indices(self) -> list[int]:
        """Those of the variables that are packed, in that order."""
        return [_index(name) for name in self.layout.names]

    @property
    def signature(self) -> np.ndarray:
        """The shapes as numbers: of each variable the rank and the lengths of its axes."""
        return np.array([number for shape in self.shapes for number in (len(shape), *shape)], np.int64)

    def pack(self, tensors: Mapping[int, Any]) -> Any:
        """{index: tensor} -> [1, P], with zeros where there is none."""
        values = {}
        for name in self.layout.names:
            index = _index(name)
            value = ops.cast(tensors[index], "float32") if index in tensors else ops.zeros(self.shapes[index], "float32")
            values[name] = ops.expand_dims(value, 0)
        return pack(values, self.layout)

    def unpack(self, packed: Any) -> dict[int, Any]:
        """[1, P] -> {index: tensor}."""
        return {_index(name): tensor[0] for name, tensor in unpack(packed, self.layout).items()}

    def choose(self, chosen: Collection[int], new: Any, old: Any) -> Any:
        """`new` [1, P] in the variables chosen, `old` in the others."""
        if all(_index(name) in chosen for name in self.layout.names):
            return new
        new, old = self.unpack(new), self.unpack(old)
        return self.pack({index: (new if index in chosen else old)[index] for index in new})

    def spread(self, value: float, chosen: Collection[int]) -> Any:
        """`value` for the parameters of the variables chosen, 0 for the others, [1, P]."""
        return spread(
            ops.convert_to_tensor([[value * (_index(name) in chosen) for name in self.layout.names]], "float32"), self.layout
        )


def _index(name: str) -> int:
    """The index of a variable, from its name in the layout."""
    return int(name.partition(" ")[0])


@contextlib.contextmanager
def float32() -> Iterator[None]:
    """Within it Keras's default type is float32, the one that update rules compute in, whatever the user has set."""
    chosen = keras.config.floatx()
    keras.config.set_floatx("float32")
    try:
        yield
    finally:
        keras.config.set_floatx(chosen)
