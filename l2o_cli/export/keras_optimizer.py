"""Any optimizer of this project as a Keras optimizer.

Shape letters: I instances (here 1: the model), P parameters (all trainable variables packed), T tensors, N, F as in the contract.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import keras
from keras import ops

from l2o_cli.errors import BadInput
from l2o_cli.export.artifact import LoadedOptimizer
from l2o_cli.export.backends import compiled_update_of, dense, eagerly, replicas, summed, tensor_of
from l2o_cli.export.keras_base import PackedOptimizer, path_of
from l2o_cli.export.keras_config import from_config, to_config
from l2o_cli.export.packed_variables import PackedVariables, float32
from l2o_cli.export.resolve import resolve
from l2o_cli.export.rules import all_finite, initial_state, rule_of, tensors, update_of
from l2o_cli.export.shown_loss import ShownLoss
from l2o_cli.optimizers.transforms import names_of


@keras.saving.register_keras_serializable(package="l2o")
class LearnedOptimizer(PackedOptimizer):
    """A learned (or hand-designed) optimizer for `model.compile`, on any of Keras's backends.

        from l2o_cli import LearnedOptimizer
        model.compile(optimizer=LearnedOptimizer("hrnn"), loss="mse")

    The trainable variables of the model are one problem instance, packed in the order Keras gives them; the update sees them
    all at once and computes in float32. A variable without a gradient counts as one with the gradient zero and stays as it is.

    Saved models hold the optimizer whole, weights and state, so `keras.models.load_model` (after `from l2o_cli import
    LearnedOptimizer`) goes on exactly where training stopped, wherever the optimizer had been read from.

    An optimizer with attention takes its gradients away from the params. The model then holds the attended point while it is
    trained, and the params themselves when `fit` has returned. Pass `l2o_cli.export.attention.AttentionCallback()` to `fit`
    as well: without it validation during `fit` is at the attended point, and the first gradient of each `fit` is taken at the
    params. In a loop of your own, or after an interrupted `fit`, call `finalize_variable_values(model.trainable_variables)`
    before using the model.

    An optimizer that reads the loss is shown it by `fit`, as `scale_loss(loss)`. In a loop of your own, call that before `apply`.
    It is the training loss, also where the optimizer asks for that of held-out data, and with gradient accumulation the mean
    over the minibatches. Keras's `LossScaleOptimizer` does not pass it on: for mixed_float16, give `loss_scale_factor` here and
    `auto_scale_loss=False` to `compile`.

    Args:
        optimizer: a name, a path (see `l2o_cli.export.resolve.resolve`) or a `LoadedOptimizer`.
        learning_rate: multiplies every update; the optimizer sets its own step lengths, so 1.0, or a schedule around it.
        steps: how many updates will be made, for optimizers that go by the length of the run; None: not known.
        seed: of the random part of the initial state.
        jit_compile: compile the update with XLA, whatever `model.compile` says of the model.
        skip_nonfinite: where a gradient (or a loss that is read) is not finite, leave params and state as they are; the step is
            then no step of the run, and `skipped` counts it. Else the rule says what happens, as inside `l2o`: most bound it.
        options: as of every Keras optimizer: weight_decay, clipnorm, clipvalue, global_clipnorm, use_ema, ema_momentum,
            ema_overwrite_frequency, loss_scale_factor, gradient_accumulation_steps, name. With `weight_decay` the params shrink,
            at each step before the update, by `weight_decay * learning_rate` of themselves.

    Raises:
        BadInput: no optimizer of that name, or nothing at that path.
        Failure: what was found there is damaged.
        ValueError: the optimizer goes by the length of the run (a schedule), and `steps` is not given; or it has attention, and
            `use_ema` or a need of the loss; or (from `apply`) it reads the loss and has not been shown it.
        NotImplementedError: (when built) attention or gradient accumulation in a TensorFlow strategy of several replicas.
    """

    def __init__(
        self,
        optimizer: str | os.PathLike | LoadedOptimizer,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 1.0,
        *,
        steps: int | None = None,
        seed: int = 0,
        jit_compile: bool = True,
        skip_nonfinite: bool = False,
        **options: Any,
    ):
        super().__init__(learning_rate=learning_rate, **options)
        self._loaded = optimizer if isinstance(optimizer, LoadedOptimizer) else resolve(optimizer)
        self._steps, self._seed, self._jit_compile, self._skip_nonfinite = steps, seed, jit_compile, skip_nonfinite
        self._rule = rule = rule_of(self._loaded, steps)
        if self.use_ema and rule.evaluates_elsewhere:
            raise ValueError(f"{names_of(rule)!r} with attention does not go with use_ema, which would average attended points")
        with float32():
            self._loss = ShownLoss(rule, self._loaded.weights)
        if self.reads_loss and rule.evaluates_elsewhere:
            raise ValueError(f"{names_of(rule)!r} with attention reads the loss at the params, and Keras knows another one")

    @classmethod
    def load(cls, path: str | os.PathLike, **options: Any) -> LearnedOptimizer:
        """What `l2o export` wrote at `path`; `options` as in the constructor."""
        return cls(os.path.abspath(path), **options)

    @property
    def loaded(self) -> LoadedOptimizer:
        """The update rule and its weights."""
        return self._loaded

    @property
    def reads_loss(self) -> bool:
        """Whether `scale_loss` must be called before `apply`."""
        return self._loss.read

    @property
    def skipped(self) -> int:
        """How many steps were left out since something was not finite."""
        return int(self._skipped.numpy()) if self.built and self._skip_nonfinite else 0

    @float32()
    def build(self, variables: Sequence[Any]) -> None:
        """Create the state of a run on `variables`."""
        if self.built:
            return
        rule = self._rule
        # Keras accumulates in a branch, where replicas cannot exchange anything: its own optimizers fail there as well.
        if replicas(self._strategy) > 1 and (rule.evaluates_elsewhere or self.gradient_accumulation_steps):
            raise NotImplementedError(
                f"{names_of(rule)!r} on several replicas: attention and gradient_accumulation_steps need one device"
            )
        constrained = [variable.path for variable in variables if getattr(variable, "constraint", None) is not None]
        if rule.evaluates_elsewhere and constrained:
            raise ValueError(
                f"{names_of(rule)!r} with attention does not go with constraints, which would bind attended points; "
                f"{constrained[0]!r} has one"
            )
        super().build(variables)
        self._packing = PackedVariables([own.shape for own in variables], [path_of(own) for own in variables])
        self._update = (compiled_update_of if self._jit_compile else update_of)(rule, self._packing.layout)
        self._state: dict[str, keras.Variable] = {}
        if not self._packing.empty:
            with eagerly():  # the contract of `init_state`
                self._make_state()

    def _make_state(self) -> None:
        rule = self._rule
        self._weights = tensors(self._loaded.weights)
        state = initial_state(rule, self._loaded.weights, self._packing.layout, self._seed)
        self._state = {name: self._state_variable(f"state_{name.replace('/', '.')}", leaf) for name, leaf in state.items()}
        if self.reads_loss and self.gradient_accumulation_steps:
            self._loss_sum = self._state_variable("loss_sum", 0.0)
        if self._skip_nonfinite:
            self._skipped = self._state_variable("skipped", 0.0)
        if rule.evaluates_elsewhere:
            start = self._held()
            self._params = self._state_variable("params", start)
            self._point = self._state_variable("point", start)

    def scale_loss(self, loss: Any) -> Any:
        """The loss times `loss_scale_factor`, as in every Keras optimizer; here the optimizer sees it, if it reads losses."""
        return super().scale_loss(self._loss.show(loss))

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """Update the variables, as in every Keras optimizer; sparse gradients (embeddings) are made dense first."""
        self._loss.require()
        variables = self._trainable_variables if trainable_variables is None else list(trainable_variables)
        given = [dense(gradient, variable) for gradient, variable in zip(grads, variables, strict=True)]
        super().apply(given, trainable_variables)
        self._loss.forget()

    @float32()
    def attend(self) -> None:
        """Put the point where the next gradient is to be taken into the model (see `AttentionCallback`)."""
        if self._attends:
            params = self._true_params()
            self._params.assign(params)
            point = self._rule.evaluation_point(self._weights, self._values(), params, self._packing.layout)
            self._write_point(point, [variable for variable in self._trainable_variables if variable.trainable])

    def show_params(self) -> None:
        """Put the params into the model, where an optimizer with attention has the attended point in it."""
        if self._attends:
            self._write(self._true_params(), self._trainable_variables)

    def finalize_variable_values(self, var_list: Sequence[Any]) -> None:
        """Put what has been learned into the model: the params, or their average if `use_ema`. `fit` calls it at its end."""
        super().finalize_variable_values(var_list)
        self.show_params()

    def get_config(self) -> dict[str, Any]:
        """Everything but the state of a run; the weights are in it, so nothing else is needed to make it again."""
        own = {"optimizer": to_config(self._loaded), "steps": self._steps, "seed": self._seed, "jit_compile": self._jit_compile}
        own["skip_nonfinite"] = self._skip_nonfinite
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None) -> LearnedOptimizer:
        """The optimizer `get_config` describes."""
        loaded = from_config(config.get("optimizer"), f"Keras configuration of the optimizer {config.get('name')!r}")
        return super().from_config({**config, "optimizer": loaded}, custom_objects)

    def _backend_apply_gradients(self, grads: Sequence[Any], trainable_variables: Sequence[Any]) -> None:
        if self.reads_loss and self.gradient_accumulation_steps:
            self._loss.add_to(self._loss_sum)
        super()._backend_apply_gradients(grads, trainable_variables)

    def _given_loss(self) -> Any:
        if not (self.reads_loss and self.gradient_accumulation_steps):
            return self._loss.given()
        mean = self._loss_sum / self.gradient_accumulation_steps
        self._loss_sum.assign(0.0)
        return self._loss.given(mean)

    # Keras's own step is one variable at a time; this is where it has all gradients, clipped and accumulated.
    @float32()
    def _backend_update_step(self, grads: Sequence[Any], trainable_variables: Sequence[Any], learning_rate: Any) -> None:
        if self._packing.empty:
            return
        indices = [self._get_variable_index(variable) for variable in trainable_variables]
        *grads, loss = summed([*grads, self._given_loss()], self._strategy)
        given = dict(zip(indices, grads, strict=True))
        rate = ops.cast(learning_rate, "float32")
        old = self._true_params()
        params = self._decayed(old, given.keys(), rate)
        step = ops.reshape(ops.cast(self.iterations, "int32"), (1,))
        gradients, before = self._packing.pack(given), self._values()
        if self._skip_nonfinite:
            step = step - ops.cast(self._skipped, "int32")
        new, state = self._update(dict(self._weights), before, params, gradients, loss, step)
        # Exactly the optimizer's own params where the rate is 1, so that a run is the same inside Keras and outside.
        new = ops.where(ops.equal(rate, 1.0), new, params + rate * (new - params))
        new = self._packing.choose(given.keys(), new, old)
        if self._skip_nonfinite:
            finite = all_finite(gradients, loss)
            new = ops.where(finite, new, old)
            state = {name: ops.where(finite, leaf, before[name]) for name, leaf in state.items()}
        kept = [(variable, state[name]) for name, variable in self._state.items()]
        if self._skip_nonfinite:
            kept.append((self._skipped, self._skipped + 1.0 - ops.cast(finite, "float32")))
        if self._attends:
            point = self._rule.evaluation_point(self._weights, state, new, self._packing.layout)
            self._write_point(point, trainable_variables, [*kept, (self._params, new)])
        else:
            self._write(new, trainable_variables, kept)

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        """Nothing: the model may hold the attended point; `_backend_update_step` decays the params."""

    def _decayed(self, params: Any, given: Collection[int], rate: Any) -> Any:
        if not self.weight_decay:
            return params
        decayed = [index for index in given if self.decays(self._trainable_variables[index])]
        return params - params * self._packing.spread(self.weight_decay, decayed) * rate

    @property
    def _attends(self) -> bool:
        """Whether the model may hold another point than the params."""
        return self.built and self._rule.evaluates_elsewhere and not self._packing.empty

    def _true_params(self) -> Any:
        """The params, [1, P]: the model's, save where the model still holds the point that was put there last.

        So whoever writes other values into the model (loaded weights, say) is obeyed.
        """
        held = self._held()
        return ops.where(ops.equal(held, self._point.value), self._params.value, held) if self._attends else held

    def _write_point(self, point: Any, variables: Sequence[Any], besides: Sequence[tuple[Any, Any]] = ()) -> None:
        self._write(point, variables, besides)
        self._point.assign(self._held())  # read back: as rounded to the variables' types

    def _values(self) -> dict[str, Any]:
        return {name: tensor_of(variable) for name, variable in self._state.items()}


def keras_file(loaded: LoadedOptimizer) -> str:
    """The text of a file for `LearnedOptimizer(path)`: `keras.optimizers.serialize` of it as JSON, with the card beside it.

    Raises BadInput if Keras cannot have this one.
    """
    try:
        made = LearnedOptimizer(loaded)
    except ValueError as error:
        raise BadInput(str(error)) from None
    return json.dumps({**keras.optimizers.serialize(made), "card": loaded.card}, indent=1)
