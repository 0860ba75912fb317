"""Packing against numpy by hand."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from l2o_cli.optimizers.packing import FEW_TENSORS, Layout, pack, spread, tensor_mean, unpack

SHAPES = st.lists(st.lists(st.integers(1, 4), max_size=3).map(tuple), min_size=1, max_size=4)


def layout_of(shapes):
    return Layout.of({f"t{index}": shape for index, shape in enumerate(shapes)})


@settings(max_examples=25, deadline=None)
@given(SHAPES, st.integers(1, 3))
def test_round_trip(shapes, instances):
    layout = layout_of(shapes)
    rng = np.random.default_rng(0)
    params = {
        name: rng.normal(size=(instances, *shape)).astype("float32") for name, shape in zip(layout.names, shapes, strict=True)
    }
    packed = np.asarray(pack(params, layout))
    assert packed.shape == (instances, layout.parameters)
    np.testing.assert_array_equal(packed, np.concatenate([p.reshape(instances, -1) for p in params.values()], axis=1))
    for name, tensor in unpack(packed, layout).items():
        np.testing.assert_array_equal(tensor, params[name])


def test_order_is_that_of_the_layout():
    layout = Layout.of({"b": (2,), "a": ()})
    packed = pack({"a": np.float32([3]), "b": np.float32([[1, 2]])}, layout)
    np.testing.assert_array_equal(packed, [[1, 2, 3]])
    assert (layout.sizes, layout.offsets, layout.parameters, layout.tensors) == ((2, 1), (0, 2), 3, 2)


def test_many_tensors_lie_by_shape_and_come_back_in_the_given_order():
    shapes = {f"t{index}": (index % 3 + 1, 2)[: 1 + index % 2] for index in range(FEW_TENSORS + 5)}
    layout = Layout.of(shapes)
    assert len(layout.groups) == len(set(shapes.values())) < layout.tensors
    params = {name: np.full((2, *shape), float(name[1:]), np.float32) for name, shape in shapes.items()}
    packed = np.asarray(pack(params, layout))
    for group in layout.groups:
        numbers = packed[0, group.entries].reshape(group.members, *group.shape)
        names = layout.names[group.tensors]
        assert [f"t{int(number)}" for number in numbers.reshape(group.members, -1)[:, 0]] == list(names)
    unpacked = unpack(packed, layout)
    assert list(unpacked) == list(shapes)
    for name, tensor in unpacked.items():
        np.testing.assert_array_equal(tensor, params[name])


@settings(max_examples=25, deadline=None)
@given(SHAPES, st.sampled_from([(), (2,), (3, 2)]))
def test_tensor_mean_and_spread(shapes, lead):
    layout = layout_of(shapes)
    values = np.random.default_rng(1).normal(size=(*lead, layout.parameters)).astype("float32")
    ends = np.cumsum(layout.sizes)
    expected = np.stack([values[..., end - size : end].mean(-1) for end, size in zip(ends, layout.sizes, strict=True)], axis=-1)
    means = np.asarray(tensor_mean(values, layout))
    assert means.shape == (*lead, layout.tensors)
    np.testing.assert_allclose(means, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(spread(means, layout), np.repeat(means, layout.sizes, axis=-1))


@pytest.mark.parametrize("tensors", [1, 2, FEW_TENSORS, FEW_TENSORS + 1])
def test_derivatives_of_mean_and_spread(tensors):
    """Both are linear: the derivative is the transpose of the matrix that numpy builds."""
    layout = layout_of([(index % 3 + 1,) for index in range(tensors)])
    member = np.repeat(np.eye(tensors, dtype=np.float32), layout.sizes, axis=1)  # [T, P]
    matrices = {spread: member, tensor_mean: (member / member.sum(1, keepdims=True)).T}
    rng = np.random.default_rng(0)
    for function, matrix in matrices.items():
        values, upstream = (tf.constant(rng.normal(size=(3, 2, size)), tf.float32) for size in matrix.shape)
        with tf.GradientTape() as tape:
            tape.watch(values)
            result = function(values, layout)
        np.testing.assert_allclose(result, values @ matrix, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(tape.gradient(result, values, upstream), upstream @ matrix.T, rtol=1e-5, atol=1e-6)


def test_spread_keeps_what_is_not_finite_to_its_tensor():
    result = spread(np.float32([np.nan, 2, np.inf]), layout_of([(2,), (3,), (1,)]))
    np.testing.assert_array_equal(result, np.float32([np.nan, np.nan, 2, 2, 2, np.inf]))


def test_missing_tensor_is_an_error():
    with pytest.raises(KeyError, match="b"):
        pack({"a": np.float32([1])}, Layout.of({"a": (), "b": ()}))
