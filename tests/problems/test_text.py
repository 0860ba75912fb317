"""Language models against definitions of their own in numpy, the text they read, and what they learn of it."""

import hashlib
import math
import platform

import numpy as np
import pytest
import tensorflow as tf
from l2o_problems import text as text_problems
from l2o_problems.data import DataMissing, embedded
from l2o_problems.data.text import TEXTS, load_text
from l2o_problems.random import as_seed
from l2o_problems.text import CharRnn
from l2o_problems.transformer import TransformerLm

from docs.tools.repack import paragraphs_once, repack_topics
from l2o_cli.optimizers.elementwise import Adam
from l2o_cli.rollout import Rollout
from tests.problems.sequence_references import rnn, transformer

# What `repack` made of the topics of CPython 3.11.7.
DIGEST = "5b2c0ece1d794d2a47471434d4aa2c6c2e54e79c05869a3737b66b5038c90295"

SMALL_RNN = {"hidden": 5, "embedding": 3, "length": 4, "batch_size": 3}
SMALL_TRANSFORMER = {"width": 6, "length": 5, "batch_size": 3}


CASES = {
    "gru": (CharRnn(**SMALL_RNN), rnn),
    "lstm": (CharRnn(cell="lstm", **SMALL_RNN), rnn),
    "vanilla": (CharRnn(cell="vanilla", **SMALL_RNN), rnn),
    "transformer": (TransformerLm(**SMALL_TRANSFORMER), transformer),
    "transformer of three heads": (TransformerLm(layers=1, heads=3, feed_forward=2, **SMALL_TRANSFORMER), transformer),
}


@pytest.fixture(params=CASES, name="case")
def _case(request):
    return CASES[request.param]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_loss(case, split, check_loss):
    check_loss(*case, split)


def test_gradient_against_differences_in_float64(case, check_gradient):
    check_gradient(*case)


def drawn(problem, instances=2):
    task = problem.sample(as_seed(1), instances)
    return task, problem.initial_params(as_seed(2), task)


def test_a_prediction_depends_on_every_character_up_to_it_and_on_none_after_it(case):
    problem, _ = case
    task, params = drawn(problem)
    inputs = problem.batch(as_seed(3), task, "train")["inputs"].numpy()
    logits = problem.logits(params, inputs).numpy().reshape(*inputs.shape, -1)
    for time in range(problem.length):
        other = inputs.copy()
        other[:, :, time] = (other[:, :, time] + 1) % problem.info.symbols
        changed = problem.logits(params, other).numpy().reshape(logits.shape) != logits
        np.testing.assert_array_equal(changed[:, :, :time], False)
        assert changed[:, :, time:].any(-1).all()


def test_the_embedded_text_is_what_repack_makes(tmp_path):
    text = load_text("topics")
    whole = text.decode(text.codes)
    assert hashlib.sha256(whole.encode()).hexdigest() == DIGEST
    assert "".join(sorted(set(whole))) == text.vocabulary
    with np.load(repack_topics(tmp_path)) as made:
        again = "".join(map(chr, made["vocabulary"][made["codes"]]))
        sizes = made["sizes"]
    assert sum(sizes) == len(again) and abs(sizes[0] / len(again) - 0.9) < 0.01 and abs(sizes[2] / len(again) - 0.05) < 0.01
    if platform.python_version() == "3.11.7":
        assert again == whole and tuple(sizes) == TEXTS["topics"].sizes
    else:  # other topics, but most paragraphs have stood there for years
        known = set(whole.split("\n\n"))
        assert len(known & set(again.split("\n\n"))) > 0.5 * len(known)


def test_splits_follow_one_another_and_share_no_paragraph():
    text = load_text("topics")
    train, validation, test = (text.split(name) for name in ("train", "validation", "test"))
    np.testing.assert_array_equal(np.concatenate([train, validation, test]), text.codes)
    assert tuple(map(len, (train, validation, test))) == TEXTS["topics"].sizes
    parts = [text.decode(part) for part in (train, validation, test)]
    assert all(part.endswith("\n\n") for part in parts)
    paragraphs = [{" ".join(paragraph.split()) for paragraph in part.split("\n\n")} - {""} for part in parts]
    assert sum(map(len, paragraphs)) == len(set().union(*paragraphs))


def test_paragraphs_once():
    assert paragraphs_once(["a b\n\nc\n", "\n   a\n   b\n\nd\n\n\n\nc"]) == ["a b\n\n", "c\n\n", "d\n\n"]


def test_text_that_is_missing_or_not_the_one_announced_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(embedded, "FOLDER", tmp_path)
    for codes in (None, np.zeros(3, np.uint8)):
        load_text.cache_clear()
        if codes is not None:
            np.savez(tmp_path / "topics.npz", codes=codes, vocabulary=np.array([65], np.uint32), sizes=np.ones(3, np.int32))
        with pytest.raises(DataMissing) as caught:
            load_text("topics")
        assert str(tmp_path / "topics.npz") in str(caught.value) and "\n" not in str(caught.value)
    load_text.cache_clear()
    assert CharRnn().param_shapes and "335864/18718/18522" in CharRnn().source  # known without the text
    with pytest.raises(DataMissing, match="no text 'tales'; there are: topics"):
        load_text("tales")


def test_batches_are_windows_of_the_text():
    problem, text = CharRnn(length=10, batch_size=6), load_text("topics")
    task = problem.sample(as_seed(1), 3)
    train = text.decode(text.split("train"))
    batch = problem.batch(as_seed(3), task, "train")
    windows = tf.concat([batch["inputs"], batch["labels"][..., -1:]], axis=-1).numpy().reshape(18, 11)
    assert batch["inputs"].shape == batch["labels"].shape == (3, 6, 10)
    np.testing.assert_array_equal(batch["inputs"][..., 1:], batch["labels"][..., :-1])
    assert all(text.decode(window) in train for window in windows) and len(np.unique(windows, axis=0)) > 15
    for split in ("validation", "test"):
        codes, whole = text.split(split), problem.batch(as_seed(3), task, split)
        count = (len(codes) - 1) // 10 * 10
        assert whole["inputs"].shape == (1, count // 10, 10)
        np.testing.assert_array_equal(whole["inputs"].numpy().ravel(), codes[:count])
        np.testing.assert_array_equal(whole["labels"].numpy().ravel(), codes[1 : count + 1])


def test_windows_begin_everywhere_where_they_fit(monkeypatch):
    monkeypatch.setattr(text_problems, "_constant", lambda name, split: tf.range(9))
    problem = CharRnn(length=5, batch_size=60)
    inputs = problem.batch(as_seed(3), problem.sample(as_seed(1), 1), "train")["inputs"]
    assert set(inputs[0, :, 0].numpy()) == {0, 1, 2, 3}
    # Whole splits: 1 to 5 are labels, what is left is less than a window.
    np.testing.assert_array_equal(problem.batch(as_seed(0), {}, "test")["labels"], [[[1, 2, 3, 4, 5]]])


def test_the_longest_window_is_the_shortest_split():
    problem = CharRnn(length=18521, batch_size=1)
    assert problem.batch(as_seed(0), problem.sample(as_seed(0), 1), "test")["labels"].shape == (1, 1, 18521)
    with pytest.raises(ValueError, match="length must be less than the characters of a split, 18522, but is 18522"):
        CharRnn(length=18522)


def test_the_whole_split_gives_each_instance_the_loss_and_gradient_of_its_own(case):
    problem, _ = case
    task, params = drawn(problem, 3)
    shared = {name: leaf[:, :50] for name, leaf in problem.batch(as_seed(0), task, "validation").items()}
    own = {name: tf.repeat(leaf, 3, axis=0) for name, leaf in shared.items()}

    def values(batch):
        with tf.GradientTape() as tape:
            tape.watch(params)
            loss = problem.loss(params, task, batch)
        return loss, tape.gradient(loss, params)

    for one, two in zip(*(tf.nest.flatten(values(batch)) for batch in (shared, own)), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-6)


def test_initial_parameters():
    params = drawn(CharRnn(cell="lstm"), 8)[1]
    np.testing.assert_array_equal(params["bias"][0].numpy().reshape(4, 64).mean(1), [0, 1, 0, 0])
    deviations = {"embedding": 1.0, "kernel": math.sqrt(2 / 80), "recurrent": 0.125, "kernel_out": math.sqrt(2 / 167)}
    for name, deviation in deviations.items():
        np.testing.assert_allclose(np.std(params[name]), deviation, rtol=0.03)
    params = drawn(TransformerLm(), 8)[1]
    deviation = 0.02 * math.sqrt(24)
    for name, values in params.items():
        if name.startswith("scale") or len(values.shape) == 2:
            np.testing.assert_array_equal(values, float(name.startswith("scale")))
        else:
            share = 0.5 if name[:-1] in ("kernel_mix", "kernel_out") else 1.0
            np.testing.assert_allclose(np.std(values), share * deviation, rtol=0.04)
    for problem in (CharRnn(), TransformerLm()):  # close to knowing nothing
        task, params = drawn(problem, 4)
        np.testing.assert_allclose(problem.loss(params, task, problem.batch(as_seed(3), task, "train")), math.log(103), atol=0.6)


LEARNERS = {
    "gru": CharRnn(hidden=24, embedding=8, length=12, batch_size=16),
    "lstm": CharRnn(cell="lstm", hidden=24, embedding=8, length=12, batch_size=16),
    "vanilla": CharRnn(cell="vanilla", hidden=24, embedding=8, length=12, batch_size=16),
    "transformer": TransformerLm(layers=1, width=16, length=12, batch_size=16),
}


# The cells differ in their losses and gradients alone, which are compared with numpy above.
@pytest.mark.parametrize(
    "name", ["transformer", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gru", "lstm", "vanilla"))]
)
def test_adam_learns_more_than_how_frequent_characters_are(name):
    problem, optimizer = LEARNERS[name], Adam(learning_rate=0.01)
    frequency = np.bincount(load_text("topics").split("train"), minlength=103) / 335864
    held_out = load_text("topics").split("validation")
    unigram = -np.mean(np.log(frequency[held_out]))
    loop = Rollout(problem, optimizer, maximum=300)
    weights = optimizer.init_weights(0)
    carry, losses = loop(weights, loop.start(weights, 1, 2), 300)
    assert unigram < 3.5 and math.log(103) - 0.6 < losses[0].numpy().min()
    assert (losses[-20:].numpy().mean(0) < unigram - 0.3).all()
    assert (loop.held_out_loss(carry).numpy() < unigram - 0.3).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gru", "transformer of three heads"])
def test_second_order_meta_gradient_under_xla_is_the_slope_of_the_meta_loss(name, check_meta_gradient):
    check_meta_gradient(CASES[name][0], steps=5)
