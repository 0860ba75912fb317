"""The language model of words, and the words themselves."""

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from l2o_problems.data.text import TEXTS, load_text, split_words, vocabulary, word_codes
from l2o_problems.random import as_seed
from l2o_problems.words import WordMlp

SMALL = {"vocabulary": 50, "context": 3, "embedding": 4, "hidden": 6, "batch_size": 9}


def word_mlp(problem, params, task, batch):
    examples = len(batch["labels"])
    inputs = params["embedding"][batch["inputs"]].reshape(examples, -1)
    hidden = np.tanh(inputs @ params["kernel"] + params["bias"])
    logits = hidden @ params["kernel_out"] + params["bias_out"]
    return np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(examples), batch["labels"]])


def test_loss_and_gradient(check_loss, check_gradient):
    for split in ("train", "validation"):
        check_loss(WordMlp(**SMALL), word_mlp, split)
    check_gradient(WordMlp(**SMALL), word_mlp)


@pytest.mark.slow
def test_second_derivative_compiled(check_meta_gradient):
    check_meta_gradient(WordMlp(**SMALL), 3)


def test_words_of_a_text():
    assert split_words("The `x_1`: it's\n  3.14, Übung!!") == [
        "the",
        "`",
        "x_1",
        "`:",
        "it",
        "'",
        "s",
        "3",
        ".",
        "14",
        ",",
        "übung",
        "!!",
    ]


def test_codes_are_ranks_in_the_training_text():
    text = load_text("topics")
    train = split_words(text.decode(text.split("train")))
    counts = Counter(train)
    assert len(counts) == TEXTS["topics"].words
    words = vocabulary("topics", 49)
    assert len(words) == 49 and min(counts[word] for word in words) >= max(n for word, n in counts.items() if word not in words)
    for split in ("train", "test"):
        codes, there = word_codes("topics", split, 50), split_words(text.decode(text.split(split)))
        assert codes.max() == 49 and len(codes) == len(there)
        assert [words[code - 1] if code else None for code in codes] == [word if word in words else None for word in there]


def test_batches_are_words_with_those_before_them():
    problem = WordMlp(**SMALL)
    codes = word_codes("topics", "validation", 50)
    whole = problem.batch(as_seed(0), problem.sample(as_seed(1), 2), "validation")
    np.testing.assert_array_equal(whole["labels"], codes[None, 3:])
    np.testing.assert_array_equal(whole["inputs"][0, 5], codes[5:8])


def test_rows_of_words_that_are_not_in_a_minibatch_get_no_gradient():
    problem = WordMlp(embedding=4, hidden=6)
    task = problem.sample(as_seed(1), 2)
    params, batch = problem.initial_params(as_seed(2), task), problem.batch(as_seed(3), task, "train")
    with tf.GradientTape() as tape:
        tape.watch(params)
        loss = problem.loss(params, task, batch)
    moved = np.any(tf.convert_to_tensor(tape.gradient(loss, params)["embedding"]).numpy(), axis=-1)
    for instance in range(2):
        np.testing.assert_array_equal(np.flatnonzero(moved[instance]), np.unique(batch["inputs"][instance]))
    assert moved.mean() < 0.1
