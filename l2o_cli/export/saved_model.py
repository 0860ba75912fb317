"""An optimizer for params of given shapes as a SavedModel, which TensorFlow loads without this package and without Keras."""

from __future__ import annotations

import math
import re
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from l2o_cli.errors import BadInput, Failure
from l2o_cli.export.artifact import LoadedOptimizer
from l2o_cli.export.packed_variables import float32
from l2o_cli.export.rules import initial_state, loss_of, reads_loss, rule_of, tensors
from l2o_cli.files import cause, replace_folder
from l2o_cli.optimizers.packing import Layout, pack, unpack
from l2o_cli.optimizers.transforms import names_of

Tensors = dict[str, tf.Tensor]
_PARTS = ("params", "gradients")
Shapes = Mapping[str, tuple[int, ...]]


def shapes_of(text: str) -> dict[str, tuple[int, ...]]:
    """{name: shape} from a Keras model file (its trainable variables by their paths), or from "kernel=784x10,bias=10,scale=".

    Raises:
        BadInput: the text is neither, or says a name twice.
    """
    if text.endswith(".keras"):
        return _of_model(text)
    shapes: dict[str, tuple[int, ...]] = {}
    for part in text.split(","):
        name, equals, axes = (piece.strip() for piece in part.partition("="))
        if not name or not equals or not re.fullmatch(r"([1-9]\d*(x[1-9]\d*)*)?", axes):
            raise BadInput(f"--shapes {text!r}: expected NAME=SIZExSIZE,... or a file.keras, found {part.strip()!r}")
        if name in shapes:
            raise BadInput(f"--shapes {text!r}: {name!r} is there twice")
        shapes[name] = tuple(map(int, axes.split("x"))) if axes else ()
    return shapes


def _of_model(file: str) -> dict[str, tuple[int, ...]]:
    import keras

    try:
        model = keras.saving.load_model(file, compile=False)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise BadInput(f"--shapes {file}: no model that Keras can load ({str(error).splitlines()[0]})") from None
    return {variable.path: tuple(variable.shape) for variable in model.trainable_variables}


def save(loaded: LoadedOptimizer, out: Path, shapes: Shapes, steps: int | None = None, seed: int = 0) -> None:
    """Write the SavedModel directory `out`, with two signatures; what is there is replaced once the new one is whole.

    `init` takes nothing and gives the state before the first step, as `state_LEAF`. `update` takes the params as `params_NAME`,
    their gradients as `gradients_NAME`, the state, `step` (int32 []; 0 in the first update), and `loss` (float32 []) if the rule
    reads it; it gives the new params and the new state by the same names. In these names `_` stands for what is no letter or
    digit.

    Args:
        shapes: of the params, by name.
        steps: how many updates will be made, for optimizers that go by the length of the run; None: not known.
        seed: of the random part of the initial state.

    Raises:
        BadInput: the optimizer takes its gradients elsewhere than at the params, or needs `steps`; or two names are alike.
        Failure: it cannot be written.
    """
    module = tf.Module()
    try:
        with float32():
            rule = rule_of(loaded, steps)
            if rule.evaluates_elsewhere:
                raise ValueError(f"optimizer {names_of(rule)!r} with attention takes gradients elsewhere than at the params")
            signatures = _signatures(rule, tensors(loaded.weights), shapes, seed, reads_loss(rule, loaded.weights))
    except ValueError as error:
        raise BadInput(f"--format saved_model: {error}") from None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
            made = Path(folder, "made")
            tf.saved_model.save(module, str(made), signatures=signatures)
            replace_folder(made, out)
    except (OSError, tf.errors.OpError) as error:
        raise Failure(f"{out}: cannot be written: {cause(error)}") from None


def _signatures(rule: Any, weights: Tensors, shapes: Shapes, seed: int, with_loss: bool) -> dict[str, Callable]:
    if not any(map(math.prod, shapes.values())):
        raise ValueError("there are no params")
    titles = [_title("params", name) for name in shapes]
    if len(set(titles)) < len(titles):
        raise ValueError(f"two params would be called {max(titles, key=titles.count)!r}")
    layout = Layout.of(shapes)
    start = initial_state(rule, weights, layout, seed)

    @tf.function(input_signature=(), autograph=False)
    def init() -> Tensors:
        return {_title("state", name): tf.identity(leaf) for name, leaf in start.items()}

    def update(params: Tensors, gradients: Tensors, state: Tensors, step: tf.Tensor, loss: tf.Tensor | float = 1.0) -> Tensors:
        with float32():
            new, state = rule.update(
                weights,
                state,
                pack({name: value[None] for name, value in params.items()}, layout),
                pack({name: value[None] for name, value in gradients.items()}, layout),
                loss_of(rule, loss),
                step[None],
                layout,
            )
        moved = {_title("params", name): value[0] for name, value in unpack(new, layout).items()}
        return {**moved, **{_title("state", name): leaf for name, leaf in state.items()}}

    specs = {part: {name: tf.TensorSpec(shape, name=_title(part, name)) for name, shape in shapes.items()} for part in _PARTS}
    state = {name: tf.TensorSpec(leaf.shape, leaf.dtype, name=_title("state", name)) for name, leaf in start.items()}
    step, loss = tf.TensorSpec([], tf.int32, name="step"), tf.TensorSpec([], name="loss")
    traced = tf.function(update, autograph=False).get_concrete_function(*specs.values(), state, step, *[loss] * with_loss)
    return {"init": init, "update": traced}


def _title(part: str, name: str) -> str:
    """What a tensor is called in the signatures."""
    return re.sub(r"[^A-Za-z0-9]", "_", f"{part}_{name}")
