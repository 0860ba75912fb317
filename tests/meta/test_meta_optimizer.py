import keras
import numpy as np
import pytest
import tensorflow as tf

from l2o_cli.meta.meta_optimizer import WeightsInTraining, combine, learning_rate
from l2o_cli.spec import MetaOptimizer

FIRST = {"a": tf.constant([3.0, 4.0]), "b": tf.constant(0.0)}
SECOND = {"a": tf.constant([0.0, 0.0]), "b": tf.constant(-100.0)}


def test_families_are_averaged():
    mean = combine(MetaOptimizer(), [FIRST, SECOND])
    np.testing.assert_allclose(mean["a"], [1.5, 2.0])
    np.testing.assert_allclose(mean["b"], -50.0)


def test_normalized_families_weigh_the_same():
    mean = combine(MetaOptimizer(normalize_families=True), [FIRST, SECOND])
    np.testing.assert_allclose(mean["a"], [0.3, 0.4], rtol=1e-6)
    np.testing.assert_allclose(mean["b"], -0.5, rtol=1e-6)


def test_clipping_by_value_and_by_norm():
    mean = combine(MetaOptimizer(clip_value=1.0), [FIRST, SECOND])
    np.testing.assert_allclose(mean["a"], [0.5, 0.5])
    mean = combine(MetaOptimizer(clip_norm=1.0), [FIRST])
    np.testing.assert_allclose(mean["a"], [0.6, 0.8], rtol=1e-6)
    small = combine(MetaOptimizer(clip_norm=100.0), [FIRST])
    np.testing.assert_allclose(small["a"], [3.0, 4.0])


def test_a_familys_norm_is_clipped_or_the_family_left_out():
    mean = combine(MetaOptimizer(clip_family_norm=1.0), [FIRST, {"a": tf.constant([0.3, 0.0]), "b": tf.constant(0.4)}])
    np.testing.assert_allclose(mean["a"], [0.3 + 0.15, 0.4], rtol=1e-6)
    np.testing.assert_allclose(mean["b"], 0.2, rtol=1e-6)
    mean = combine(MetaOptimizer(discard_norm=10.0), [FIRST, SECOND])
    np.testing.assert_allclose(mean["a"], [1.5, 2.0])
    np.testing.assert_allclose(mean["b"], 0.0)


def test_a_huge_gradient_is_normalized_without_overflow():
    mean = combine(MetaOptimizer(normalize_families=True), [{"a": tf.constant([3e30, 4e30])}])
    np.testing.assert_allclose(mean["a"], [0.6, 0.8], rtol=1e-6)


def test_schedule():
    spec = MetaOptimizer(learning_rate=1.0, schedule={"kind": "cosine", "warmup": 10, "final": 0.2})
    assert learning_rate(spec, 0, 110) == pytest.approx(0.1)
    assert learning_rate(spec, 9, 110) == pytest.approx(1.0)
    assert learning_rate(spec, 60, 110) == pytest.approx(0.6)
    assert learning_rate(spec, 110, 110) == pytest.approx(0.2)
    assert learning_rate(MetaOptimizer(learning_rate=0.5), 77, 100) == 0.5


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop"])
def test_updates_are_those_of_keras_and_the_average_is_exponential(name):
    spec = MetaOptimizer(name=name, learning_rate=0.1, weight_decay=0.01, epsilon=1e-8)
    training = WeightsInTraining(spec, 0.9, {"a": np.array([1.0, 2.0], np.float32)})
    twin = keras.Variable([1.0, 2.0])
    by_name = {
        "adam": lambda: keras.optimizers.Adam(0.1, epsilon=1e-8),
        "adamw": lambda: keras.optimizers.AdamW(0.1, weight_decay=0.01, epsilon=1e-8),
        "rmsprop": lambda: keras.optimizers.RMSprop(0.1, rho=0.9, epsilon=1e-8),
    }
    reference = by_name[name]()
    average = np.array([1.0, 2.0])
    for step in range(5):
        gradient = tf.constant([1.0 + step, -2.0])
        training.apply([{"a": gradient}], 0.1)
        reference.apply_gradients([(gradient, twin)])
        average = 0.9 * average + 0.1 * np.asarray(twin)
    np.testing.assert_allclose(training.current["a"], twin, rtol=1e-5)
    np.testing.assert_allclose(training.average["a"], average, rtol=1e-5)


def test_snapshot_restores_everything():
    spec = MetaOptimizer(learning_rate=0.1)
    first, second = (WeightsInTraining(spec, 0.9, {"a": np.zeros(2, np.float32)}) for _ in range(2))
    first.apply([{"a": tf.constant([1.0, -2.0])}], 0.1)
    second.restore(first.snapshot())
    for training in (first, second):
        training.apply([{"a": tf.constant([-0.5, 3.0])}], 0.1)
    np.testing.assert_array_equal(first.current["a"], second.current["a"])
    np.testing.assert_array_equal(first.average["a"], second.average["a"])
