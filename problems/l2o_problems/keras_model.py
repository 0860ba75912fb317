"""A Keras model and one's own data as a problem.

It needs arguments that no spec can hold, so a function in a file makes it, which specs and the command line name as
`FILE.py:FUNCTION` (see `docs/own_problems.md`).

Shape letters: I instances, B minibatch, N examples.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import random
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import keras
import tensorflow as tf

from l2o_problems.base import Batch, Params, Problem
from l2o_problems.nests import Arrays, as_leaves, examples, packed
from l2o_problems.options import require_number, require_whole
from l2o_problems.random import bits, fold, instance_bits, instance_integers, instance_keys, integers

Loss = Callable[[Any, Any], tf.Tensor]  # (targets, predictions) -> one loss per example, or their mean

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
        xla: whether it is compiled with XLA; by default unless a layer is recurrent, an `EinsumDense`, attention or a
            `TimeDistributed` (XLA may fail to compile their second derivatives), or on a CPU a convolution (slow under XLA).
        name: what the problem is called in records.

    Raises:
        ValueError: a wrong argument, or one example does not go through model and loss; in one line.
    """

    name: ClassVar[str] = "keras_model"
    summary: ClassVar[str] = "a Keras model on one's own data"
    held_out = False
    xla = True
    xla_on_gpu = True

    def __init__(
        self,
        model: keras.Model | Callable[[], keras.Model],
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
            raise ValueError("validation and test must be given both, or neither")
        self.name = name  # type: ignore[misc]
        self.batch_size, self._lower_bound, self.held_out = batch_size, lower_bound, validation is not None
        self._criterion = _criterion(loss)
        with tf.init_scope():
            leaves = _leaves("train", train, train)
            self._splits = {"train": leaves, "validation": leaves, "test": leaves}
            if validation is not None and test is not None:
                self._splits["validation"] = _leaves("validation", train, validation)
                self._splits["test"] = _leaves("test", train, test)
            self._nests = tuple(tf.nest.map_structure(lambda _: 0, nest) for nest in train)
            models = self._models(model, starts)
            self._model = models[0]
            values = [[variable.value for variable in made.trainable_variables] for made in models]
            self._starts = [tf.stack(one) for one in zip(*values, strict=True)]
            self._others = [tf.identity(variable.value) for variable in self._model.non_trainable_variables]
        layers = self._model._flatten_layers()
        self._names = [f"{index}/{variable.name}" for index, variable in enumerate(self._model.trainable_variables)]
        self._random = [i for i, v in enumerate(self._model.non_trainable_variables) if v.name == "seed_generator_state"]
        self._momenta = dict(_moving_averages(self._model, layers))
        self._takes_training = "training" in inspect.signature(self._model.call).parameters
        self.xla_on_gpu = not any(map(_fails_under_xla, layers)) if xla is None else xla
        self.xla = self.xla_on_gpu and not any("Conv" in type(layer).__name__ for layer in layers) if xla is None else xla
        self._fresh = self._try_one()

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
        index = instance_integers(fold(seed, 0), task["key"], self.batch_size, examples(leaves))
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
    def input_leaves(self):
        leaves = self._splits["train"]
        return tuple(name for name, leaf in leaves.items() if name.split("/")[0] == "inputs" and leaf.dtype.is_floating)

    @property
    def source(self):
        return f"Keras model {self.name}, {examples(self._splits['train'])} training examples"

    def _loss(self, params: Params, batch: Batch) -> tf.Tensor:
        """The loss of one instance, []; no leaf has an instance axis."""
        values, training = [params[name] for name in self._names], _NOISE in batch
        inputs, targets = self._packed(batch)
        others = list(self._others)
        if training:
            for index in self._random:
                others[index] = tf.cast(bits(tf.stack([batch[_NOISE][0], index]), [2]), others[index].dtype)
        elif self._momenta:
            moved = self._moved(values, inputs, 0.0)
            for index, fresh in self._fresh.items():
                others[index] = moved[index] / fresh
        predictions, _, penalties = self._call(values, others, inputs, training)
        return tf.add_n([tf.reduce_mean(self._criterion(targets, predictions)), *penalties])

    def _call(self, values: Sequence[tf.Tensor], others: Sequence[tf.Tensor], inputs: Any, training: bool) -> Any:
        options = {"training": training} if self._takes_training else {}
        return self._model.stateless_call(values, others, inputs, return_losses=True, **options)

    def _moved(self, values: Sequence[tf.Tensor], inputs: Any, start: float) -> dict[int, tf.Tensor]:
        """The moving averages of batch normalization, by index, if they were all `start` before they saw `inputs`."""
        others = [tf.fill(v.shape, start) if index in self._momenta else v for index, v in enumerate(self._others)]
        _, others, _ = self._call(values, others, inputs, training=True)
        return {index: others[index] for index in self._momenta}

    def _packed(self, leaves: Batch) -> tuple[Any, Any]:
        """(inputs, targets) as the model and the loss take them."""
        inputs, targets = self._nests
        return packed("inputs", inputs, leaves), packed("targets", targets, leaves)

    def _models(self, model: keras.Model | Callable[[], keras.Model], starts: int) -> list[keras.Model]:
        """The built models, whose trainable variables have the same shapes."""
        models = []
        for seed in range(1 if isinstance(model, keras.Model) else starts):
            with _seeded(seed):
                made = model() if callable(model) and not isinstance(model, keras.Model) else model
                if not isinstance(made, keras.Model):
                    raise ValueError(f"model must be a Keras model or a function that returns one, but is {made!r}")
                if not made.built:
                    with _going_through("model"):
                        made(self._packed({name: leaf[:1] for name, leaf in self._splits["train"].items()})[0])
            models.append(made)
        shapes = [[(variable.shape, variable.dtype) for variable in made.trainable_variables] for made in models]
        if not shapes[0] or any(dtype != "float32" for _, dtype in shapes[0]):
            raise ValueError("model must have trainable variables, all of them float32")
        if any(own != shapes[0] for own in shapes):
            raise ValueError("model: its trainable variables have other shapes every time the function is called")
        return models

    def _try_one(self) -> dict[int, float]:
        """How much of each moving average of batch normalization is new after a batch, by index: 1 - momentum if called once.

        Raises:
            ValueError: the first example does not go through model and loss.
        """
        batch = {name: leaf[:1] for name, leaf in self._splits["train"].items()}
        params = {name: values[0] for name, values in zip(self._names, self._starts, strict=True)}
        with _going_through("model and loss"):
            value = self._loss(params, {**batch, _NOISE: tf.zeros([1], tf.int32)})
        if value.dtype != tf.float32:
            raise ValueError(f"loss must be float32, but is {value.dtype.name}")
        # What is left of a start at 1 is momentum^calls.
        zero, one = (self._moved(list(params.values()), self._packed(batch)[0], start) for start in (0.0, 1.0))
        kept = {index: float(tf.reduce_mean(one[index] - zero[index])) for index in self._momenta}
        calls = {i: round(math.log(kept[i]) / math.log(momentum)) for i, momentum in self._momenta.items() if 0 < kept[i] < 1}
        return {index: 1 - momentum ** calls.get(index, 1) for index, momentum in self._momenta.items()}


def _leaves(split: str, train: tuple[Arrays, Arrays], data: tuple[Arrays, Arrays]) -> Batch:
    """The inputs and targets of a split, nested as those of train, as leaves [N, ...]."""
    if not isinstance(data, tuple) or len(data) != 2:
        raise ValueError(f"{split} must be a pair (inputs, targets)")
    try:
        leaves = {**as_leaves("inputs", train[0], data[0]), **as_leaves("targets", train[1], data[1])}
        examples(leaves)
    except ValueError as error:
        raise ValueError(f"{split}: {error}") from None
    return leaves


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Python's `random` begins at `seed` within, and goes on as before after it."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


@contextlib.contextmanager
def _going_through(what: str) -> Iterator[None]:
    """Whatever is raised within becomes a ValueError of one line."""
    try:
        yield
    except Exception as error:  # layers and losses of one's own may raise anything
        text = str(error) or type(error).__name__
        # Keras puts the reason in bold, between where it was and the arguments.
        reason = re.search(r"\x1b\[1m(.*?)\x1b\[0m", text, re.DOTALL)
        line = " ".join((reason[1] if reason else text).split())
        raise ValueError(f"one example does not go through {what}: {line}") from error


def _criterion(loss: str | keras.losses.Loss | Loss) -> Loss:
    if not isinstance(loss, str):
        if not callable(loss):
            raise ValueError(f"loss must be a name or a function of targets and predictions, but is {loss!r}")
        return loss
    classes = {name.lower(): item for name, item in vars(keras.losses).items() if isinstance(item, type)}
    try:
        found = keras.losses.get(loss)
    except (TypeError, ValueError):
        raise ValueError(f"loss: Keras has no loss {loss!r}") from None
    # The classes bring targets and predictions to one shape, as `Model.compile` does.
    return found if isinstance(found, keras.losses.Loss) else classes[found.__name__.replace("_", "")]()


def _fails_under_xla(layer: Any) -> bool:
    # Attention has layers of EinsumDense.
    return isinstance(layer, keras.layers.RNN | keras.layers.EinsumDense | keras.layers.TimeDistributed)


def _moving_averages(model: keras.Model, layers: Sequence[Any]) -> Iterator[tuple[int, float]]:
    """(index among the variables that are not trainable, momentum) of each moving average of batch normalization."""
    indices = {id(variable): index for index, variable in enumerate(model.non_trainable_variables)}
    for layer in layers:
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable and layer.momentum < 1:
            if getattr(layer, "renorm", False):
                raise ValueError(f"model: layer {layer.name!r} renormalizes by moving averages, which there are none of")
            for variable in (layer.moving_mean, layer.moving_variance):
                yield indices[id(variable)], layer.momentum
