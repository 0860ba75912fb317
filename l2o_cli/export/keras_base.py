"""A Keras optimizer of packed variables. Beyond those of Keras it remembers which do not decay, and what its state is of.

Shape letter: P parameters (all trainable variables packed).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from l2o_cli.export.backends import assign_on_replicas, replicas
from l2o_cli.export.packed_variables import PackedVariables
from l2o_cli.export.rules import tensors

_EXCLUDED, _SHAPES = "exclude_from_weight_decay", "shapes"  # in a configuration; in a store of variables


class PackedOptimizer(keras.optimizers.Optimizer):
    """A Keras optimizer whose state is that of all variables packed; subclasses set `_packing` when they are built."""

    _packing: PackedVariables

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self._excluded_names: tuple[str, ...] = ()
        self._excluded_paths: tuple[str, ...] = ()
        self._restored = False  # whether these are from a configuration, and the variables still to be found

    def exclude_from_weight_decay(self, var_list: Sequence[Any] | None = None, var_names: Sequence[str] | None = None) -> None:
        """Leave out of the weight decay these variables, and those with one of these texts in their names.

        Saved models remember it, which they do not with Keras's own optimizers.
        """
        super().exclude_from_weight_decay(var_list, var_names)
        self._restored = False
        self._excluded_names = tuple(var_names or ())
        self._excluded_paths = tuple(path_of(variable) for variable in var_list or ())

    def decays(self, variable: Any) -> bool:
        """Whether weight decay is for this one too."""
        # As Keras does, look for the names in TensorFlow's, which has those of the layers in it.
        own = variable.value if isinstance(variable, keras.Variable) else variable
        return bool(self._use_weight_decay(own))

    def build(self, variables: Sequence[Any]) -> None:
        super().build(variables)
        if self._restored:
            excluded = [variable for path in self._excluded_paths for variable in _called(path, variables)]
            self.exclude_from_weight_decay(excluded, self._excluded_names)

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().get_config()
        if self._excluded_names or self._excluded_paths:
            config[_EXCLUDED] = {"names": list(self._excluded_names), "paths": list(self._excluded_paths)}
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
        excluded = config.get(_EXCLUDED, {"names": [], "paths": []})
        made = super().from_config({name: value for name, value in config.items() if name != _EXCLUDED}, custom_objects)
        made.exclude_from_weight_decay(var_names=excluded["names"])
        made._excluded_paths, made._restored = tuple(excluded["paths"]), True
        return made

    def _held(self) -> Any:
        """What the model holds, [1, P]."""
        return self._packing.pack({index: ops.convert_to_tensor(own) for index, own in enumerate(self._trainable_variables)})

    def _write(self, packed: Any, variables: Sequence[Any], besides: Sequence[tuple[Any, Any]] = ()) -> None:
        """Put params, [1, P], into these variables; `besides` are further variables with their values."""
        values = self._packing.unpack(packed)
        indices = [self._get_variable_index(variable) for variable in variables]
        pairs = [(variable, values[index]) for index, variable in zip(indices, variables, strict=True) if index in values]
        pairs += besides
        if replicas(self._strategy) > 1:
            assign_on_replicas(pairs, self._strategy)
            return
        for variable, value in pairs:
            self.assign(variable, value)

    @property
    def _strategy(self) -> Any:
        """The strategy of TensorFlow's in which it was made; None on other backends."""
        return getattr(self, "_distribution_strategy", None)

    def _state_variable(self, name: str, value: Any) -> keras.Variable:
        value = tensors({name: value})[name]
        dtype = keras.backend.standardize_dtype(value.dtype)
        return self.add_variable(
            tuple(value.shape), initializer=lambda shape, dtype: ops.cast(value, dtype), dtype=dtype, name=name
        )

    def save_own_variables(self, store: Any) -> None:
        """The state of a run, and the shapes of the variables that it belongs to."""
        super().save_own_variables(store)
        if self.built:
            store[_SHAPES] = self._packing.signature

    def load_own_variables(self, store: Any) -> None:
        """The inverse; as in every Keras optimizer, a state that does not fit is passed over with a warning.

        So it is when it is that of a model with other layers frozen. Older files do not tell the shapes.
        """
        saved = {key: np.asarray(store[key]) for key in store.keys()}  # noqa: SIM118, not all stores are mappings
        shapes = saved.pop(_SHAPES, None)
        if self.built and len(saved) == len(self.variables):
            fits = all(saved[str(index)].shape == tuple(own.shape) for index, own in enumerate(self.variables))
            if not fits or not (shapes is None or np.array_equal(shapes, self._packing.signature)):
                warnings.warn(
                    f"Skipping variable loading for optimizer '{self.name}', because its trainable variables have other shapes "
                    "than those of the saved optimizer; were other layers frozen?",
                    stacklevel=2,
                )
                return
        super().load_own_variables(saved)


def path_of(variable: Any) -> str:
    """The name of a variable of Keras's or TensorFlow's, with those of its layers."""
    return str(getattr(variable, "path", variable.name))


def _called(path: str, variables: Sequence[Any]) -> list[Any]:
    """The variable of that path, if it is one of these; Keras may have called it by the model's name too, and not do so again."""
    ends = [(own, f"/{path_of(own)}") for own in variables]
    found = [own for own, end in ends if end == f"/{path}"]
    found = found or [own for own, end in ends if f"/{path}".endswith(end) or end.endswith(f"/{path}")]
    if len(found) > 1:
        warnings.warn(
            f"{path!r} was excluded from weight decay, and {len(found)} variables could be it; they all decay", stacklevel=2
        )
        return []
    return found
