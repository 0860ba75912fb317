"""The data of synthetic classifiers: balanced, distinct, separable where they should be."""

import numpy as np
import pytest
from l2o_problems.classifiers import LogisticRegression, RandomMlp
from l2o_problems.random import as_seed
from l2o_problems.synthetic import cluster_data, labels_by_rank, linear_data, prototype_data, random_network


def test_labels_by_rank_cut_at_the_quantiles():
    scores = np.random.default_rng(0).normal(size=(3, 90)).astype(np.float32)
    labels = labels_by_rank(scores, 3).numpy()
    for own, label in zip(scores, labels, strict=True):
        np.testing.assert_array_equal(label, np.searchsorted(np.sort(own)[[30, 60]], own, side="right"))


def test_labels_by_rank_of_a_constant_network_are_balanced_all_the_same():
    np.testing.assert_array_equal(np.bincount(labels_by_rank(np.zeros((1, 10), np.float32), 2)[0]), [5, 5])


@pytest.mark.parametrize("inputs", [2, 10, 60])
def test_clusters_lie_at_distinct_corners(inputs):
    points, labels = (leaf.numpy() for leaf in cluster_data(as_seed(3), (4, 8000, inputs), 50.0, 0.0))
    for own, label in zip(points, labels, strict=True):
        centers = np.stack([own[start::4].mean(0) for start in range(4)])
        np.testing.assert_allclose(np.abs(centers), 50, atol=1.0)
        assert len({tuple(np.sign(center)) for center in centers}) == 4
        assert all(len(set(label[start::4])) == 1 for start in range(4)) and label.mean() == 0.5


def test_clusters_have_covariances_of_their_own():
    points = cluster_data(as_seed(3), (1, 8000, 3), 0.0, 0.0)[0].numpy()[0]
    one, two = (np.cov(points[start::4].T) for start in (0, 1))
    assert np.abs(one - two).max() > 0.1
    # Entries of the mixing matrix have variance 1/3, so inputs have the variance D/3 on average.
    many = cluster_data(as_seed(4), (300, 40, 12), 0.0, 0.0)[0].numpy()
    np.testing.assert_allclose(many.var(), 4.0, rtol=0.05)


def test_label_noise_is_the_share_of_labels_drawn_anew():
    clean, noisy = (cluster_data(as_seed(5), (20, 1000, 4), 1.0, noise)[1].numpy() for noise in (0.0, 0.4))
    assert abs(np.mean(clean != noisy) - 0.2) < 0.015


def perceptron(inputs, labels, sweeps=1000):
    """A separating hyperplane [D + 1] (the last entry is the intercept), or None if none is found."""
    signed = np.append(inputs, np.ones((len(inputs), 1)), 1) * np.where(labels == 1, 1, -1)[:, None]
    plane = np.zeros(signed.shape[1])
    for _ in range(sweeps):
        wrong = signed @ plane <= 0
        if not wrong.any():
            return plane
        for example in signed[wrong]:
            plane += example
    return None


def test_separable_data_are_separated_and_cost_nothing_in_the_limit():
    problem = LogisticRegression(features=5, separable=True, separation=0.5, samples=200, l2=0.0)
    task = problem.sample(as_seed(1), 4)
    assert problem.minimum == 0
    planes = []
    for inputs, labels in zip(task["inputs"].numpy(), task["labels"].numpy(), strict=True):
        planes.append(perceptron(inputs, labels))
        assert planes[-1] is not None and labels.mean() == 0.5
    planes = 1e4 * np.float32(planes)
    params = {"kernel": planes[:, :5, None], "bias": planes[:, 5:]}
    whole = {name: task[name] for name in ("inputs", "labels")}
    np.testing.assert_allclose(problem.loss(params, task, whole), 0, atol=1e-6)


def test_the_margin_of_linear_data_is_the_separation():
    points, labels = (leaf.numpy()[0].astype(np.float64) for leaf in linear_data(as_seed(1), (1, 4000, 3), 2.0))
    difference = points[labels == 1].mean(0) - points[labels == 0].mean(0)
    projected = points @ difference / np.linalg.norm(difference)
    assert 3.5 < projected[labels == 1].min() - projected[labels == 0].max() < 4.2


def test_inseparable_problems_claim_no_minimum():
    assert LogisticRegression().minimum is None
    assert LogisticRegression(separable=True).minimum is None
    assert RandomMlp().minimum is None


@pytest.mark.parametrize("classes", [2, 5])
def test_random_networks_label_all_classes_equally(classes):
    problem = RandomMlp(classes=classes, samples=400)
    labels = problem.sample(as_seed(2), 50)["labels"].numpy()
    assert all(set(np.bincount(own, minlength=classes)) == {600 // classes} for own in labels)


def test_scores_of_random_networks_vary_and_depend_on_the_inputs():
    points, scores = (leaf.numpy() for leaf in random_network(as_seed(2), (50, 300, 8)))
    assert points.std() == pytest.approx(1, rel=0.02) and scores.std(axis=1).min() > 1e-3


@pytest.mark.parametrize("problem", [LogisticRegression(samples=120, features=4), RandomMlp(samples=120)])
def test_splits_share_no_example(problem):
    task = problem.sample(as_seed(1), 2)
    parts = [problem.batch(as_seed(0), task, split)["inputs"].numpy()[0] for split in ("validation", "test")]
    seen = np.concatenate([problem.batch(as_seed(s), task, "train")["inputs"].numpy()[0] for s in range(30)])
    train = np.unique(seen, axis=0)
    assert len(train) == 120 and [len(part) for part in parts] == [30, 30]
    assert len(np.unique(np.concatenate([train, *parts]), axis=0)) == 180


def test_prototypes_are_standard_normal_with_their_examples_around_them():
    points, labels = (leaf.numpy() for leaf in prototype_data(as_seed(6), (30, 6000, 4), 3, 0.5))
    assert points.min() > 0 and points.max() < 1
    assert all(np.bincount(own).tolist() == [2000] * 3 for own in labels)
    logits = np.log(points / (1 - points))
    centers = np.stack([logits[:, start::3].mean(1) for start in range(3)])  # labels go round
    np.testing.assert_allclose(centers.std(), 1.0, rtol=0.1)
    np.testing.assert_allclose(logits[:, ::3].std(1), 0.5, rtol=0.1)


def test_initial_scale_scales_the_kernels_alone():
    seed = as_seed(8)
    own, small = (RandomMlp(hidden=(3,), inputs=4, initial_scale=scale) for scale in (1.0, 0.1))
    params, scaled = (problem.initial_params(seed, problem.sample(seed, 2)) for problem in (own, small))
    for name, values in params.items():
        np.testing.assert_allclose(scaled[name], 0.1 * values.numpy(), rtol=1e-6)
    assert np.abs(params["kernel0"]).min() > 0
