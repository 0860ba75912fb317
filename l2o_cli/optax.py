"""A learned optimizer as a transformation of gradients for optax, on Keras's JAX backend.

    from l2o_cli.optax import learned_optimizer

    optimizer = learned_optimizer("tensor_rnn", steps=10_000)
    state = optimizer.init(params)
    loss, gradients = jax.value_and_grad(loss_of)(params, batch)
    updates, state = optimizer.update(gradients, state, params, value=loss)
    params = optax.apply_updates(params, updates)

Import this before Keras, which then runs on JAX; TensorFlow is not imported.

Shape letters: P parameters (all leaves packed), F features and N entries of a leaf of the rule's state.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from l2o_cli.keras_settings import require_backend

require_backend("jax", "l2o_cli.optax")

import jax  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402
from jax import numpy as jnp  # noqa: E402
from jax.sharding import Mesh  # noqa: E402

from l2o_cli.export.artifact import LoadedOptimizer  # noqa: E402
from l2o_cli.export.on_mesh import Division, step_on  # noqa: E402
from l2o_cli.export.packed_variables import PackedVariables, float32  # noqa: E402
from l2o_cli.export.resolve import resolve  # noqa: E402
from l2o_cli.export.rules import initial_state, loss_of, reads_loss, rule_of  # noqa: E402
from l2o_cli.optimizers.transforms import names_of  # noqa: E402


class LearnedState(NamedTuple):
    """The state of a run: a tree of arrays, which orbax saves as it is.

    Attributes:
        step: updates made, [] int32.
        rule: the update rule's own state, float32 leaves [F, 1, N].
        params: of a rule with attention the params, [1, P], since those that you hold are the attended point; else None.
    """

    step: jax.Array
    rule: dict[str, jax.Array]
    params: jax.Array | None


def learned_optimizer(
    optimizer: str | os.PathLike | LoadedOptimizer,
    learning_rate: Any = 1.0,
    weight_decay: Any = None,
    weight_decay_mask: Any = None,
    steps: int | None = None,
    seed: int = 0,
    mesh: Mesh | None = None,
) -> optax.GradientTransformationExtraArgs:
    """The optimizer, its steps times a learning rate, with decoupled weight decay if you want it.

    In `optax.inject_hyperparams(learned_optimizer, static_args=("steps", "seed", "mesh"))` the learning rate and the weight
    decay are hyperparameters.

    Args:
        optimizer: a name, a path (see `l2o_cli.export.resolve.resolve`) or a `LoadedOptimizer`.
        learning_rate: multiplies every update, a number or a schedule; the optimizer sets its own step lengths.
        weight_decay: at each step the params shrink by `weight_decay * learning_rate` of themselves.
        weight_decay_mask: a tree of booleans like the params, or a function that makes one of them: which decay.
        steps, seed, mesh: see `scale_by_learned_optimizer`.

    Raises:
        BadInput, Failure, ValueError: see `scale_by_learned_optimizer`; the last also if a rule with attention is to have another
            learning rate than 1.0 or weight decay, which would act on attended points.
    """
    loaded = optimizer if isinstance(optimizer, LoadedOptimizer) else resolve(optimizer)
    plain = isinstance(learning_rate, int | float) and learning_rate == 1.0
    if loaded.optimizer.evaluates_elsewhere and not (plain and weight_decay is None):
        raise ValueError(f"{names_of(loaded.optimizer)!r} with attention needs learning_rate=1.0 and no weight_decay")
    parts = [scale_by_learned_optimizer(loaded, steps=steps, seed=seed, mesh=mesh)]
    if weight_decay is not None:
        parts.append(optax.add_decayed_weights(-weight_decay, weight_decay_mask))
    if not plain:
        parts.append(optax.scale_by_learning_rate(learning_rate, flip_sign=False))
    return optax.with_extra_args_support(optax.chain(*parts))


def scale_by_learned_optimizer(
    optimizer: str | os.PathLike | LoadedOptimizer, steps: int | None = None, seed: int = 0, mesh: Mesh | None = None
) -> optax.GradientTransformationExtraArgs:
    """Gradients become the optimizer's steps, new params - params, ready for `optax.apply_updates`.

    All leaves are one problem instance, and the update computes in float32; each update has the type of its leaf. A leaf whose
    path has "embedding" in it counts as one. `update` needs the params and, if the rule reads the loss, `value=`, the training
    loss of the minibatch. With attention the params that you hold are the point where the next gradient is taken, and
    `params_of(state, params)` are the params; nothing may then change the updates on their way.

    Args:
        optimizer: a name, a path (see `l2o_cli.export.resolve.resolve`) or a `LoadedOptimizer`.
        steps: how many updates will be made, for optimizers that go by the length of the run; None: not known.
        seed: of the random part of the initial state.
        mesh: of several devices, over which the params are sharded. What the state has for each parameter is then divided among
            all of them, filled up with zeros to a multiple of their number; the updates lie as their params do.

    Raises:
        BadInput: no optimizer of that name, or nothing at that path.
        Failure: what was found there is damaged.
        ValueError: the optimizer goes by the length of the run, and `steps` is not given; or it has attention, and a `mesh`.
    """
    loaded = optimizer if isinstance(optimizer, LoadedOptimizer) else resolve(optimizer)
    rule, weights = rule_of(loaded, steps), loaded.weights
    if rule.evaluates_elsewhere and mesh is not None:
        raise ValueError(f"{names_of(rule)!r} with attention does not go with a mesh")
    with float32():
        needs_loss = reads_loss(rule, weights)

    @float32()
    def init(params: Any) -> LearnedState:
        packing = _packing(params)
        step = jnp.zeros((), jnp.int32)
        if packing.empty:
            return LearnedState(step, {}, None)
        leaves = initial_state(rule, weights, packing.layout, seed)
        given = _packed(packing, params) if rule.evaluates_elsewhere else None
        state = LearnedState(step, leaves, given)
        return state if mesh is None else Division(mesh, packing.layout.parameters).placed(state)

    def make_step(gradients: Any, state: LearnedState, params: Any, value: Any) -> tuple[Any, LearnedState]:
        packing = _packing(params)
        held, packed = _packed(packing, params), _packed(packing, gradients)
        old = held if state.params is None else state.params
        loss = loss_of(rule, jnp.mean(jnp.asarray(value, jnp.float32)) if needs_loss else 1.0)
        new, leaves = rule.update(weights, state.rule, old, packed, loss, state.step[None], packing.layout)
        point = new if state.params is None else rule.evaluation_point(weights, leaves, new, packing.layout)
        moved = _unpacked(packing, point - held, params)
        return moved, LearnedState(state.step + 1, dict(leaves), None if state.params is None else new)

    run_step = make_step if mesh is None else step_on(mesh, lambda params: _packing(params).layout.parameters, make_step)

    @float32()
    def update(
        updates: Any, state: LearnedState, params: Any = None, *, value: Any = None, **extra: Any
    ) -> tuple[Any, LearnedState]:
        if params is None:
            raise ValueError("update needs the params: call update(gradients, state, params)")
        if needs_loss and value is None:
            raise ValueError(f"optimizer {names_of(rule)!r} reads the loss: call update(gradients, state, params, value=loss)")
        if _packing(params).empty:
            return updates, state._replace(step=state.step + 1)
        return run_step(updates, state, params, value if needs_loss else None)

    return optax.GradientTransformationExtraArgs(init, update)


@float32()
def params_of(state: Any, params: Any) -> Any:
    """The params of a run whose state this is, also inside that of a chain; with attention those that you hold are others."""
    found = [part for part in jax.tree.leaves(state, is_leaf=_is_state) if _is_state(part)]
    if len(found) != 1:
        raise ValueError(f"params_of needs a state with one learned optimizer in it, not {len(found)}")
    return params if found[0].params is None else _unpacked(_packing(params), found[0].params, params)


def _is_state(part: Any) -> bool:
    return isinstance(part, LearnedState)


def _packing(params: Any) -> PackedVariables:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return PackedVariables([np.shape(leaf) for _, leaf in leaves], [jax.tree_util.keystr(path) for path, _ in leaves])


def _packed(packing: PackedVariables, tree: Any) -> jax.Array:
    """[1, P]."""
    return packing.pack(dict(enumerate(jax.tree.leaves(tree))))


def _unpacked(packing: PackedVariables, packed: jax.Array, like: Any) -> Any:
    """The inverse, in the types of the leaves of `like`."""
    leaves, tree = jax.tree.flatten(like)
    tensors = packing.unpack(packed)
    return jax.tree.unflatten(
        tree, [jnp.asarray(tensors.get(i, jnp.zeros_like(leaf)), leaf.dtype) for i, leaf in enumerate(leaves)]
    )
