"""Whether a problem keeps the contract of `base.py`, said in one line: for problems that a user brings along.

It is traced once as the inner loop traces it, and run with two instances.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from l2o_problems.base import Problem
from l2o_problems.random import as_seed, fold

INSTANCES = 2
MOST_PARAMETERS = 50_000_000  # of an instance, above which nothing is run


class Broken(ValueError):
    """What is wrong with a problem; its cause is the exception that the problem raised, if it raised one."""


def check(problem: Any) -> None:
    """Broken, if what should be a problem is none, or is one that cannot be run; else it is not looked at again."""
    if not isinstance(problem, Problem):
        kind = f"the class {problem.__name__}" if isinstance(problem, type) else type(problem).__name__
        raise Broken(f"expected a problem, found {kind}")
    try:
        hash(problem), hash(problem.structure)
    except TypeError as error:
        raise Broken(f"expected a frozen dataclass with options such as numbers, texts and tuples: {error}") from None
    _check(problem)


@functools.lru_cache(maxsize=256)
def _check(problem: Problem) -> None:
    _check_description(problem)
    _check_shapes(problem)
    graph = _asked("tracing", lambda: tf.function(_tried(problem), autograph=False).get_concrete_function(as_seed(0)))
    if sum(map(math.prod, problem.param_shapes.values())) > MOST_PARAMETERS:
        return
    first, again = (_asked("running", lambda: tf.nest.map_structure(np.asarray, graph(as_seed(0)))) for _ in range(2))
    for name, values in first["params"].items():
        if not np.isfinite(values).all():
            raise Broken(f"initial_params: {name!r} has entries that are not finite")
    for one, two in zip(tf.nest.flatten(first), tf.nest.flatten(again), strict=True):
        # Not to the last bit: it may depend on the order in which threads add.
        if one.dtype != object and not np.allclose(one, two, rtol=1e-2, equal_nan=True):
            raise Broken(
                "two draws with one seed differ: expected all that is random to be made from the seed by l2o_problems.random"
            )


def _check_description(problem: Problem) -> None:
    texts, truths = dict.fromkeys(("name", "summary", "source"), str), dict.fromkeys(("held_out", "xla", "xla_on_gpu"), bool)
    for name, kinds in {**texts, **truths, "input_leaves": tuple}.items():
        value = _asked(name, functools.partial(getattr, problem, name))
        if not isinstance(value, kinds):
            raise Broken(f"{name}: expected {kinds.__name__}, found {type(value).__name__}")
    if dataclasses.is_dataclass(problem):
        for field in dataclasses.fields(problem):
            value = getattr(problem, field.name)
            if isinstance(value, float) and math.isnan(value):
                raise Broken(f"option {field.name!r} is NaN, which is not equal to itself")


def _check_shapes(problem: Problem) -> None:
    shapes = _asked("param_shapes", lambda: problem.param_shapes)
    if not isinstance(shapes, Mapping) or not shapes:
        raise Broken(f"param_shapes: expected {{name: shape}} with at least one tensor, found {_shown(shapes)}")
    for name, shape in shapes.items():
        if not isinstance(name, str) or not name:
            raise Broken(f"param_shapes: expected names that are texts, found {name!r}")
        whole = isinstance(shape, tuple) and all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in shape)
        if not whole or min(shape, default=1) < 1:
            raise Broken(f"param_shapes: {name!r}: expected a tuple of whole numbers of at least 1, found {_shown(shape)}")


def _tried(problem: Problem) -> Callable[[tf.Tensor], dict[str, Any]]:
    """All that the inner loop asks of a problem, as a function of a seed that looks at what comes back."""

    def tried(seed: tf.Tensor) -> dict[str, Any]:
        task = _leaves("sample", problem.sample, fold(seed, 0), INSTANCES)
        if not task:
            raise Broken("sample: expected at least one leaf; a problem without data returns its key")
        params = _params("initial_params", problem, problem.initial_params, fold(seed, 1), task)
        memory = _leaves("initial_memory", problem.initial_memory, task, params)
        if problem.held_out:
            splits = [
                _leaves(f"batch of {split!r}", problem.batch, seed, task, split, shared=True) for split in ("test", "validation")
            ]
            _loss(problem, params, task, splits[-1])
        batch = _leaves("batch", problem.batch, fold(seed, 2), task, "train", shared=True)
        with tf.GradientTape() as tape:
            tape.watch(params)
            loss = _loss(problem, params, task, batch)
        slopes = _asked("the gradient of loss", lambda: tape.gradient(loss, params))
        if all(slope is None for slope in slopes.values()):
            raise Broken("loss: expected a function of the params that TensorFlow can differentiate, found no gradient")
        gradients = {
            name: tf.zeros_like(params[name]) if slope is None else tf.convert_to_tensor(slope) for name, slope in slopes.items()
        }
        _numbers("lower_bound", _asked("lower_bound", lambda: problem.lower_bound(task)))
        moved = _asked("perturb", lambda: problem.perturb(fold(seed, 3), task, gradients, memory))
        if not isinstance(moved, tuple) or len(moved) != 2:
            raise Broken(f"perturb: expected (gradients, memory), found {_shown(moved)}")
        _params("perturb", problem, lambda: moved[0])
        if _leaves("perturb", lambda: moved[1]).keys() != memory.keys():
            raise Broken(f"perturb: expected a memory of {sorted(memory)}, found {sorted(moved[1])}")
        _params("displace", problem, problem.displace, fold(seed, 4), task, params, params)
        return {"task": task, "params": params, "batch": batch, "loss": loss, "gradients": gradients}

    return tried


def _asked(what: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Broken:
        raise
    except (Exception, SystemExit) as error:
        raise Broken(f"{what} failed") from error


def _leaves(what: str, method: Callable[..., Any], *arguments: Any, shared: bool = False) -> dict[str, tf.Tensor]:
    """What a method gives, {name: [I, ...]}; where leaves may be shared by all instances, also [1, ...]."""
    leaves = _asked(what, lambda: method(*arguments))
    if not isinstance(leaves, Mapping):
        raise Broken(f"{what}: expected {{name: tensor}}, found {_shown(leaves)}")
    axis = f"a first axis of {INSTANCES} instances" + (", or of 1" if shared else "")
    for name, leaf in leaves.items():
        sizes = (INSTANCES, 1) if shared else (INSTANCES,)
        shape = getattr(leaf, "shape", None)
        if not isinstance(name, str) or shape is None or not len(shape) or shape[0] not in (*sizes, None):
            raise Broken(f"{what}: {name!r}: expected a tensor with {axis}, found {_shown(leaf)}")
    return dict(leaves)


def _params(what: str, problem: Problem, method: Callable[..., Any], *arguments: Any) -> dict[str, tf.Tensor]:
    """What a method gives, {name: [I, *shape]} in float32."""
    params, shapes = _leaves(what, method, *arguments), problem.param_shapes
    if params.keys() != shapes.keys():
        raise Broken(f"{what}: expected {', '.join(shapes)}, as in param_shapes, found {', '.join(params) or 'nothing'}")
    for name, shape in shapes.items():
        expected = tf.TensorSpec([INSTANCES, *shape])
        if not (tf.is_tensor(params[name]) and expected.is_compatible_with(params[name])):
            raise Broken(f"{what}: {name!r}: expected float32 {[INSTANCES, *shape]}, found {_shown(params[name])}")
    return params


def _loss(problem: Problem, params: Any, task: Any, batch: Any) -> tf.Tensor:
    return _numbers("loss", _asked("loss", lambda: problem.loss(params, task, batch)))


def _numbers(what: str, values: Any) -> tf.Tensor:
    """One number for each instance, [I]."""
    if not (tf.is_tensor(values) and tf.TensorSpec([INSTANCES]).is_compatible_with(values)):
        raise Broken(
            f"{what}: expected float32 [{INSTANCES}], one number for each of {INSTANCES} instances, found {_shown(values)}"
        )
    return values


def _shown(value: Any) -> str:
    if tf.is_tensor(value) or isinstance(value, np.ndarray):
        return f"{'' if tf.is_tensor(value) else 'numpy '}{tf.as_dtype(value.dtype).name} {list(value.shape)}"
    text = repr(value)
    return f"{type(value).__name__} {text}" if len(text) <= 60 else type(value).__name__
