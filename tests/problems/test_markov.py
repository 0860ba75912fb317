"""Random Markov chains and the models of them: the law of the symbols, losses in numpy, and what is learned."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from l2o_problems.markov import MarkovMlp, MarkovRnn, MarkovTransformer
from l2o_problems.random import as_seed

from l2o_cli.optimizers.elementwise import Adam
from l2o_cli.rollout import Rollout
from tests.problems.sequence_references import mean_nats, rnn, transformer


def mlp(problem, params, task, batch):
    hidden = np.concatenate([params["embedding"][batch["inputs"][:, time]] for time in range(problem.length)], axis=1)
    for layer in range(len(problem.hidden)):
        hidden = np.tanh(hidden @ params[f"kernel{layer}"] + params[f"bias{layer}"])
    last = len(problem.hidden)
    return mean_nats((hidden @ params[f"kernel{last}"] + params[f"bias{last}"])[:, None], batch["labels"])


SMALL = {"symbols": 7, "batch_size": 5, "samples": 60}
CASES = {
    "gru": (MarkovRnn(hidden=4, embedding=3, length=4, **SMALL), rnn),
    "transformer": (MarkovTransformer(width=6, heads=2, length=4, **SMALL), transformer),
    "bigram": (MarkovMlp(embedding=3, **SMALL), mlp),
    "mlp": (MarkovMlp(embedding=3, length=3, hidden=(5, 4), **SMALL), mlp),
}


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("name", CASES)
def test_loss(name, split, check_loss):
    check_loss(*CASES[name], split)


@pytest.mark.parametrize("name", CASES)
def test_gradient_against_differences_in_float64(name, check_gradient):
    check_gradient(*CASES[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_second_order_meta_gradient_under_xla_is_the_slope_of_the_meta_loss(name, check_meta_gradient):
    # Adam's first steps go by the signs of gradients, of which a transformer has many near 0: differences must be small.
    check_meta_gradient(CASES[name][0], steps=5, width=1e-4)


def windows(problem, instances=2):
    """[I, N, T + 1]."""
    return problem.sample(as_seed(1), instances)["windows"].numpy()


def test_symbols_that_ignore_their_context_are_of_the_zipf_distribution():
    problem = MarkovRnn(symbols=6, zipf=1.5, mixing=1.0, samples=4000, length=7)
    weights = np.array([1, 2, 3, 4, 5, 6]) ** -1.5
    drawn = windows(problem, 1).ravel()
    shares = np.bincount(drawn, minlength=6) / drawn.size
    np.testing.assert_allclose(shares, weights / weights.sum(), atol=0.01)


def test_a_symbol_follows_its_context_by_the_shares_of_the_branches():
    """With few branches and many symbols, those of a context are told apart by how often they follow."""
    problem = MarkovRnn(symbols=40, branches=2, mixing=0.0, zipf=0.0, samples=4000, length=9)
    for own in windows(problem):
        pairs = np.zeros((40, 40))
        np.add.at(pairs, (own[:, :-1].ravel(), own[:, 1:].ravel()), 1)
        seen = pairs[pairs.sum(1) > 500]
        assert len(seen) > 10 and ((seen > 0).sum(1) <= 2).all()
        two = seen[(seen > 0).sum(1) == 2]  # a context's two draws may be the same symbol
        np.testing.assert_allclose(two.max(1) / two.sum(1), 2 / 3, atol=0.05)
    first, second = windows(problem)
    assert not np.array_equal(first, second)


def test_a_chain_of_order_two_goes_by_two_symbols_and_not_by_one():
    problem = MarkovRnn(symbols=5, order=2, branches=1, mixing=0.0, zipf=0.5, samples=400, length=9)
    for own in windows(problem, 4):
        after_two = {(a, b, c) for row in own for a, b, c in zip(row, row[1:], row[2:], strict=False)}
        after_one = {(b, c) for _, b, c in after_two}
        assert len(after_two) == len({(a, b) for a, b, _ in after_two}) and len(after_one) > len({b for b, _ in after_one})


def test_batches_are_windows_and_splits_share_the_chain():
    problem = MarkovRnn(symbols=50, branches=1, mixing=0.0, zipf=0.0, samples=200, length=4, batch_size=30)
    task = problem.sample(as_seed(1), 2)
    rows = {tuple(row) for row in task["windows"].numpy()[1][:200]}
    batch = problem.batch(as_seed(3), task, "train")
    np.testing.assert_array_equal(batch["inputs"][:, :, 1:], batch["labels"][:, :, :-1])
    assert all((*i, o[-1]) in rows for i, o in zip(batch["inputs"].numpy()[1], batch["labels"].numpy()[1], strict=True))
    follows = {(a, b) for row in rows for a, b in itertools.pairwise(row)}
    held_out = problem.batch(as_seed(0), task, "test")
    again = [pair in follows for pair in zip(*(held_out[leaf].numpy()[1].ravel() for leaf in ("inputs", "labels")), strict=True)]
    assert held_out["inputs"].shape == (2, 50, 4) and np.mean(again) > 0.9


def test_rows_of_symbols_that_are_not_in_the_minibatch_get_no_gradient():
    problem = MarkovMlp(symbols=100, embedding=3, batch_size=8)
    task = problem.sample(as_seed(1), 2)
    params, batch = problem.initial_params(as_seed(2), task), problem.batch(as_seed(3), task, "train")
    with tf.GradientTape() as tape:
        tape.watch(params)
        loss = problem.loss(params, task, batch)
    gradient = tape.gradient(loss, params)["embedding"].numpy()
    for own, symbols in zip(gradient, batch["inputs"].numpy(), strict=True):
        assert set(np.flatnonzero(np.abs(own).sum(1))) == set(symbols.ravel()) and len(set(symbols.ravel())) < 9


LEARNERS = {
    "bigram": MarkovMlp(symbols=20, embedding=8),
    "gru": MarkovRnn(symbols=10),
    "transformer": MarkovTransformer(symbols=10),
}


@pytest.mark.parametrize("name", ["bigram", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gru", "transformer"))])
def test_adam_learns_more_than_how_frequent_symbols_are_and_no_more_than_there_is(name):
    problem, optimizer = LEARNERS[name], Adam(learning_rate=0.02)
    loop = Rollout(problem, optimizer, maximum=400, xla=False)
    weights = optimizer.init_weights(0)
    carry, _ = loop(weights, loop.start(weights, 1, 2), 400)
    held_out = loop.held_out_loss(carry).numpy()
    for loss, own in zip(held_out, carry.task["windows"].numpy(), strict=True):
        pairs = np.zeros((problem.symbols, problem.symbols))
        np.add.at(pairs, (own[:, :-1].ravel(), own[:, 1:].ravel()), 1)
        joint, single = pairs / pairs.sum(), pairs.sum(0) / pairs.sum()
        frequent = -np.sum(single * np.log(single + 1e-12))
        least = -np.sum(joint * np.log(joint / np.maximum(pairs.sum(1, keepdims=True) / pairs.sum(), 1e-12) + 1e-12))
        assert 0.9 * least < loss < frequent - 0.5 * (frequent - least)
