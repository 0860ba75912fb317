"""A Keras model and one's own data as a problem.

It needs arguments that no spec can hold, so a function in a file makes it, which specs and the command line name as
`FILE.py:FUNCTION` (see `docs/problems.md`).

Shape letters: I instances, B minibatch, N examples.
"""

from __future__ import annotations

import contextlib
import inspect
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from problems.base import Batch, Params, Problem
from problems.options import require_number, require_whole
from problems.random import bits, fold, instance_bits, instance_integers, instance_keys, integers

Arrays = Any  # an array [N, ...], or a list, tuple or dict of such
Loss = Callable[[Any, Any], tf.Tensor]  # (targets, predictions) -> one loss per example, or their mean
Model = keras.Model

_NOISE = "noise"  # the leaf of a training minibatch that seeds dropout and the like


class KerasProblem(Problem):
    """The mean loss of a Keras model on minibatches of one's own data, regularization included.

    The params are the model's trainable variables. Its other variables keep their values, but:

    - Batch normalization uses the statistics of the batch it is given, of each instance alone; on a whole split those of that
      split, since there are no moving averages that would fit the params.
    - Dropout and other random layers get a new seed with every training minibatch, and are off on a whole split. Their random
      numbers are Keras's, which XLA draws otherwise than an ordinary graph does.

    Args:
        model: a model, at whose own values all instances start, so that they differ in their minibatches alone; or a function
            without arguments that returns a new model. The function is called `starts` times, each time with a Python `random`
            of another seed, from which Keras draws its initial values; the seeds are 0, 1, ..., so the values are the same
            every time. Each tensor of an instance starts at one of its `starts` values, drawn with the seed of the instance
            independently of the other tensors. All else is taken from the first model.
        loss: what `Model.compile` takes for a model of one output: the name of a Keras loss or a `keras.losses.Loss`; or a
            function (targets, predictions) -> losses of any shape, whose mean is taken. It must have a second derivative.
        train: (inputs, targets), arrays [N, ...] or lists or dicts of such, as the model and the loss take them.
        validation, test: the held-out splits, both or neither. Without them either split is all of `train`.
        batch_size: B, drawn with replacement.
        starts: initial values drawn for each tensor, if `model` is a function. They are kept in memory.
        lower_bound: a number that the loss is never below on any batch, for losses that can be negative.
        xla: whether it is compiled with XLA; by default if no layer is a convolution, which are slow under XLA on a CPU.
        name: what the problem is called in records.

    Raises:
        ValueError: a wrong argument, or one example does not go through model and loss; in one line.
    """

    name: ClassVar[str] = "keras_model"
    summary: ClassVar[str] = "a Keras model on one's own data"

    def __init__(
        self,
        model: Model | Callable[[], Model],
        loss: str | keras.losses.Loss | Loss,
        train: tuple[Arrays, Arrays],
        *,
        validation: tuple[Arrays, Arrays] | None = None,
        test: tuple[Arrays, Arrays] | None = None,
        batch_size: int = 32,
        starts: int = 8,
        lower_bound: float = 0.0,
        xla: bool | None = None,
        name: str = "keras_model",
    ):
        require_whole("batch_size", batch_size)
        require_whole("starts", starts)
        require_number("lower_bound", lower_bound)
        if (validation is None) != (test is None):
            raise ValueError("validation and test: give both, or neither")
        self.name = name  # type: ignore[misc]
        self.batch_size, self._lower_bound, self._held_out = batch_size, lower_bound, validation is not None
        self._criterion = _criterion(loss)
        self._nests = dict(zip(("inputs", "targets"), _pair("train", train), strict=True))
        with tf.init_scope():
            splits = {"train": train, "validation": validation or train, "test": test or train}
            self._splits = {split: self._leaves(split, data) for split, data in splits.items()}
            models = self._models(model, starts)
            self._model = models[0]
            self._starts = [tf.stack(values) for values in zip(*([v.value for v in m.trainable_variables] for m in models))]
            self._others = [tf.identity(variable.value) for variable in self._model.non_trainable_variables]
        layers = self._model._flatten_layers()
        self._names = [f"{index}/{variable.name}" for index, variable in enumerate(self._model.trainable_variables)]
        self._random = [i for i, v in enumerate(self._model.non_trainable_variables) if v.name == "seed_generator_state"]
        self._statistics = dict(_moving_statistics(self._model, layers))
        self._takes_training = "training" in inspect.signature(self._model.call).parameters
        self._xla = not any("Conv" in type(layer).__name__ for layer in layers) if xla is None else xla
        self._try_one()

    @property
    def param_shapes(self):
        return {name: tuple(values.shape[1:]) for name, values in zip(self._names, self._starts, strict=True)}

    def sample(self, seed, instances):
        return {"key": instance_keys(seed, instances)}

    def initial_params(self, seed, task):
        drawn = {}
        for index, (name, values) in enumerate(zip(self._names, self._starts, strict=True)):
            choice = integers(fold(seed, index), [task["key"].shape[0]], values.shape[0])
            drawn[name] = tf.gather(values, choice)
        return drawn

    def batch(self, seed, task, split):
        """inputs and targets, several as inputs/0, inputs/1, ...: [I, B, ...], or [1, N, ...] of a whole split."""
        leaves = self._splits[split]
        if split != "train":
            return {name: leaf[None] for name, leaf in leaves.items()}
        index = instance_integers(fold(seed, 0), task["key"], self.batch_size, _examples(leaves))
        noise = instance_bits(fold(seed, 1), task["key"], [1])
        return {**{name: tf.gather(leaf, index) for name, leaf in leaves.items()}, _NOISE: noise}

    def loss(self, params, task, batch):
        instances, shared = params[self._names[0]].shape[0], next(iter(batch.values())).shape[0] == 1
        if shared:
            batch = {name: leaf[0] for name, leaf in batch.items()}
        if instances == 1:
            return self._loss({name: values[0] for name, values in params.items()}, batch)[None]
        # One instance after another: a Keras model knows no instance axis.
        return tf.map_fn(
            lambda own: self._loss(own[0], batch if shared else own[1]),
            (params,) if shared else (params, batch),
            fn_output_signature=tf.TensorSpec([]),
            parallel_iterations=1,
        )

    def lower_bound(self, task):
        return tf.fill([task["key"].shape[0]], float(self._lower_bound))

    @property
    def held_out(self):
        return self._held_out

    @property
    def xla(self):
        return self._xla

    @property
    def source(self):
        return f"Keras model {self.name}, {_examples(self._splits['train'])} training examples"

    def _loss(self, params: Params, batch: Batch) -> tf.Tensor:
        """The loss of one instance, []; no leaf has an instance axis."""
        values, training = [params[name] for name in self._names], _NOISE in batch
        inputs, targets = (_packed(part, nest, batch) for part, nest in self._nests.items())
        others = list(self._others)
        if training:
            for index in self._random:
                others[index] = tf.cast(bits(tf.stack([batch[_NOISE][0], index]), [2]), others[index].dtype)
        elif self._statistics:
            # Moving averages that begin at 0 are 1 - momentum times the statistics of the one batch they have seen.
            zeroed = [tf.zeros_like(v) if index in self._statistics else v for index, v in enumerate(others)]
            _, moved, _ = self._call(values, zeroed, inputs, training=True)
            for index, momentum in self._statistics.items():
                others[index] = moved[index] / (1 - momentum)
        predictions, _, penalties = self._call(values, others, inputs, training)
        return tf.add_n([tf.reduce_mean(self._criterion(targets, predictions)), *penalties])

    def _call(self, values: Sequence[tf.Tensor], others: Sequence[tf.Tensor], inputs: Any, training: bool) -> Any:
        options = {"training": training} if self._takes_training else {}
        return self._model.stateless_call(values, others, inputs, return_losses=True, **options)

    def _leaves(self, split: str, data: tuple[Arrays, Arrays]) -> Batch:
        """The arrays of a split under the names of the leaves of a batch, [N, ...] each."""
        leaves = {}
        for (part, nest), arrays in zip(self._nests.items(), _pair(split, data), strict=True):
            try:
                tf.nest.assert_same_structure(nest, arrays)
            except (TypeError, ValueError):
                raise ValueError(f"{split}: {part} are not structured as those of train") from None
            for name, array in zip(_leaf_names(part, nest), tf.nest.flatten(arrays), strict=True):
                array = np.asarray(array)
                if array.ndim == 0 or array.dtype.kind not in "biuf":
                    raise ValueError(f"{split}: {name} must be an array of numbers, but is {array.dtype} of shape {array.shape}")
                leaves[name] = tf.constant(array, tf.float32 if array.dtype.kind == "f" else None)
        sizes = {name: leaf.shape[0] for name, leaf in leaves.items()}
        if len(set(sizes.values())) > 1 or 0 in sizes.values():
            raise ValueError(f"{split}: all arrays must have the same number of examples, at least one, but have {sizes}")
        return leaves

    def _models(self, model: Model | Callable[[], Model], starts: int) -> list[Model]:
        """The built models, whose trainable variables have the same shapes."""
        models = []
        for seed in range(1 if isinstance(model, Model) else starts):
            with _seeded(seed):
                made = model if isinstance(model, Model) else model()
                if not isinstance(made, Model):
                    raise ValueError(f"model must be a Keras model or a function that returns one, but is {made!r}")
                if not made.built:
                    made(_packed("inputs", self._nests["inputs"], self._splits["train"], slice(0, 1)))
            models.append(made)
        shapes = [[(variable.shape, variable.dtype) for variable in made.trainable_variables] for made in models]
        if not shapes[0] or any(dtype != "float32" for _, dtype in shapes[0]):
            raise ValueError("model must have trainable variables, all of them float32")
        if any(own != shapes[0] for own in shapes):
            raise ValueError("model: its trainable variables have other shapes every time the function is called")
        return models

    def _try_one(self) -> None:
        """Raises ValueError if the first example does not go through model and loss."""
        batch = {name: leaf[:1] for name, leaf in self._splits["train"].items()}
        params = {name: values[0] for name, values in zip(self._names, self._starts, strict=True)}
        try:
            value = self._loss(params, {**batch, _NOISE: tf.zeros([1], tf.int32)})
        except Exception as error:  # whatever a layer or a loss of one's own may raise
            message = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ValueError(f"one example does not go through model and loss: {message}") from error
        if value.dtype != tf.float32:
            raise ValueError(f"loss must be float32, but is {value.dtype.name}")


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Python's `random` begins at `seed` within, and goes on as before after it."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


def _criterion(loss: str | keras.losses.Loss | Loss) -> Loss:
    if not isinstance(loss, str):
        if not callable(loss):
            raise ValueError(f"loss must be a name or a function of targets and predictions, but is {loss!r}")
        return loss
    classes = {name.lower(): item for name, item in vars(keras.losses).items() if isinstance(item, type)}
    try:
        found = keras.losses.get(loss)
    except ValueError:
        raise ValueError(f"loss: Keras has no loss {loss!r}") from None
    # The classes bring targets and predictions to one shape, as `Model.compile` does.
    return found if isinstance(found, keras.losses.Loss) else classes[found.__name__.replace("_", "")]()


def _moving_statistics(model: Model, layers: Sequence[Any]) -> Iterator[tuple[int, float]]:
    """(index among the variables that are not trainable, momentum) of each moving average of batch normalization."""
    indices = {id(variable): index for index, variable in enumerate(model.non_trainable_variables)}
    for layer in layers:
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable and layer.momentum < 1:
            if getattr(layer, "renorm", False):
                raise ValueError(f"model: layer {layer.name!r} renormalizes by moving averages, which there are none of")
            for variable in (layer.moving_mean, layer.moving_variance):
                yield indices[id(variable)], layer.momentum


def _pair(split: str, data: Any) -> tuple[Arrays, Arrays]:
    if not isinstance(data, tuple) or len(data) != 2:
        raise ValueError(f"{split} must be (inputs, targets)")
    return data


def _leaf_names(part: str, nest: Any) -> list[str]:
    return [f"{part}/{index}" for index in range(len(tf.nest.flatten(nest)))] if tf.nest.is_nested(nest) else [part]


def _packed(part: str, nest: Any, leaves: Batch, rows: slice = slice(None)) -> Any:
    """The leaves of inputs or targets as the model takes them."""
    return tf.nest.pack_sequence_as(nest, [leaves[name][rows] for name in _leaf_names(part, nest)])


def _examples(leaves: Batch) -> int:
    return next(iter(leaves.values())).shape[0]
