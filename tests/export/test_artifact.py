"""Artifacts on disk: what is written is read back, and every kind of damage is told in one line."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from l2o_cli import LearnedOptimizer
from l2o_cli.errors import BadInput, Failure
from l2o_cli.export.artifact import add_to_card, load_artifact, save_artifact, seal
from l2o_cli.export.keras_optimizer import keras_file
from l2o_cli.export.resolve import names, resolve
from l2o_cli.files import write_atomically
from l2o_cli.optimizers.hierarchical_rnn import HierarchicalRNN


@pytest.fixture
def artifact(load, tmp_path):
    """The directory of an artifact in a run called "demo"."""
    loaded = load(sizes=(2, 3), attention=True)
    directory = tmp_path / "runs" / "demo" / "artifact"
    save_artifact(directory, loaded.optimizer, loaded.weights, {"scores": {"mean": np.float32(-1.5), "steps": (1, 2)}})
    return directory


def refuse(path, error, *words):
    """`resolve(path)` fails with `error`, in one line that has each of `words`."""
    with pytest.raises(Failure) as caught:
        resolve(str(path))
    assert type(caught.value) is error
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message


def edit(path, change, sealed=True):
    """Apply `change` to the content of a card, and have its seal agree."""
    card = yaml.safe_load(path.read_text())
    change(card)
    if sealed and "format" in card and "weights" in card:
        card["sha256"] = seal({name: card[name] for name in ("format", "optimizer", "weights")})
    path.write_text(yaml.safe_dump(card))


def as_format_1(card):
    """What a card was before it had a seal."""
    card["format"] = 1
    del card["sha256"]


def replace_weights(directory, weights):
    """Other weights, with a card that agrees."""
    save_file(weights, directory / "weights.safetensors")
    digest = hashlib.sha256((directory / "weights.safetensors").read_bytes()).hexdigest()
    edit(directory / "card.yaml", lambda card: card["weights"].update(sha256=digest))


def test_round_trip(artifact, load):
    original = load(sizes=(2, 3), attention=True)
    loaded = load_artifact(artifact)
    assert loaded.optimizer == original.optimizer
    assert loaded.label == "demo"
    assert loaded.weights.keys() == original.weights.keys()
    for name, value in original.weights.items():
        np.testing.assert_array_equal(loaded.weights[name], value)
        assert loaded.weights[name].shape == np.shape(value)
    assert loaded.card["format"] == 2
    assert loaded.card["optimizer"] == {
        "name": "tiny",
        "options": {"attention": True, "sizes": [2, 3], "loss_power": 0.0},
    }
    assert loaded.card["weights"]["count"] == 8
    assert loaded.card["scores"] == {"mean": -1.5, "steps": [1, 2]}
    assert sorted(os.listdir(artifact)) == ["card.yaml", "weights.safetensors"]


def test_the_hierarchical_rnn_round_trips_with_its_options(tmp_path):
    optimizer = HierarchicalRNN(hidden=(4, 3), attention=True, relative_rate="off", initial_rate=(1e-5, 1e-3))
    save_artifact(tmp_path / "a", optimizer, optimizer.init_weights(3), {})
    loaded = load_artifact(tmp_path / "a")
    assert loaded.optimizer == optimizer
    for name, value in optimizer.init_weights(3).items():
        np.testing.assert_array_equal(loaded.weights[name], value)


def test_resolve_finds_names_and_paths(artifact, load, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve("adam").source == "built in"
    assert float(resolve("adam").weights["beta_2"]) == pytest.approx(0.999)
    assert resolve("runs/demo").label == resolve(artifact).label == "demo"
    assert resolve("runs/demo/artifact/").source == "runs/demo/artifact"

    untrained = resolve("tiny:untrained")
    assert untrained.label == "tiny:untrained"
    np.testing.assert_array_equal(untrained.weights["mix"], load().optimizer.init_weights(0)["mix"])

    of_a_run = resolve("runs/demo:untrained")
    assert (of_a_run.label, of_a_run.optimizer) == ("demo:untrained", resolve("runs/demo").optimizer)
    assert not np.array_equal(of_a_run.weights["mix"], resolve("runs/demo").weights["mix"])

    published = load()
    save_artifact(tmp_path / "published" / "best", published.optimizer, published.weights, {})
    assert (resolve("best").label, resolve("best").source) == ("best", "published")
    assert {"adam", "best", "tiny:untrained", "hrnn:untrained"} <= set(names())

    Path("exported.json").write_text(keras_file(resolve("runs/demo")))
    exported = resolve("exported.json")
    assert (exported.label, exported.card) == ("demo", resolve("runs/demo").card)
    np.testing.assert_array_equal(exported.weights["mix"], resolve("runs/demo").weights["mix"])
    assert LearnedOptimizer.load("exported.json", seed=2).loaded.label == "demo"


def test_a_section_of_a_card_is_set_and_the_rest_is_kept(artifact):
    before = load_artifact(artifact)
    add_to_card(artifact, "scores", {"rows": [{"problem": "p", "final_train_loss": np.float32(0.5)}]})
    after = load_artifact(artifact)
    assert after.card == {**before.card, "scores": {"rows": [{"problem": "p", "final_train_loss": 0.5}]}}


def test_names_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refuse("adan", BadInput, "unknown optimizer 'adan'", "did you mean 'adam'")
    refuse("tiny", BadInput, "no checkpoint is published", "tiny:untrained")
    refuse("tine:untrained", BadInput, "did you mean 'tiny'")
    refuse("adam:untrained", BadInput, "not learned")
    refuse("", BadInput, "unknown optimizer ''")
    refuse("runs/none", BadInput, "runs/none: no such file or directory")
    (tmp_path / "empty").mkdir()
    refuse("empty", BadInput, "empty: no artifact here")
    (tmp_path / "notes.txt").write_text("no optimizer")
    refuse("notes.txt", BadInput, "notes.txt: not an exported optimizer")
    (tmp_path / "other.json").write_text('{"class_name": "Adam"}')
    refuse("other.json", BadInput, "other.json", "registered_name")


def test_damaged_cards(artifact):
    card = artifact / "card.yaml"
    whole = card.read_text()
    for change, words in {
        "sha": (lambda c: c["weights"].update(sha256="0" * 64), ["weights.safetensors", "weights.sha256"]),
        "no format": (lambda c: c.pop("format"), ["format", "required"]),
        "format": (lambda c: c.update(format=3), ["format", "3"]),
        "older format": (lambda c: c.update(format=1), ["format: 1 has no sha256"]),
        "count": (lambda c: c["weights"].update(count=9), ["weights.count", "9", "8"]),
        "no name": (lambda c: c["optimizer"].pop("name"), ["optimizer.name"]),
        "name": (lambda c: c["optimizer"].update(name="hrn"), ["unknown optimizer 'hrn'", "'hrnn'"]),
        "option": (lambda c: c["optimizer"]["options"].update(colour=1), ["options.colour"]),
        "option type": (lambda c: c["optimizer"]["options"].update(sizes="big"), ["options.sizes"]),
        "no weights": (lambda c: c.pop("weights"), ["weights", "required"]),
    }.values():
        edit(card, change)
        refuse(artifact, Failure, artifact, *words)
        card.write_text(whole)
    for text, words in {"a: [1": ["not YAML", "line"], "just words": ["str"], "": ["NoneType"]}.items():
        card.write_text(text)
        refuse(artifact, Failure, card, *words)
    card.write_bytes(b"\xff\xfe\x00")
    refuse(artifact, Failure, card)


def test_what_is_sealed(artifact):
    card = artifact / "card.yaml"
    whole = card.read_text()
    for change in (
        lambda c: c["optimizer"]["options"].update(loss_power=1.0),
        lambda c: c["optimizer"].update(transforms=[{"name": "averaging", "options": {}}]),
        lambda c: c["weights"].update(count=9),
        lambda c: c["weights"].update(sha256="0" * 64),
        lambda c: c.update(sha256="0" * 64),
        lambda c: c.update(sha256=None),
        lambda c: c.pop("sha256"),
    ):
        edit(card, change, sealed=False)
        refuse(artifact, Failure, card, "sha256")
        card.write_text(whole)
    edit(card, lambda c: c["scores"].update(mean=0.0), sealed=False)
    assert load_artifact(artifact).card["scores"]["mean"] == 0.0


def test_artifacts_of_before_the_seal_are_read(artifact, load, tmp_path):
    original = load_artifact(artifact)
    edit(artifact / "card.yaml", as_format_1, sealed=False)
    old = load_artifact(artifact)
    assert old.optimizer == original.optimizer and old.card["format"] == 1
    add_to_card(artifact, "scores", {"mean": 2.0})
    assert load_artifact(artifact).card["scores"] == {"mean": 2.0}
    save_artifact(tmp_path / "new", old.optimizer, old.weights, old.card)
    assert load_artifact(tmp_path / "new").card == original.card


def test_damaged_weights(artifact):
    file = artifact / "weights.safetensors"
    content, weights = file.read_bytes(), load_file(file)
    file.write_bytes(content[:-1])
    refuse(artifact, Failure, file, "damaged")
    file.unlink()
    refuse(artifact, Failure, file, "no such file")

    mix = weights["mix"]
    for wrong, words in (
        ({**weights, "more": mix}, ["'more'", "not one of"]),
        ({"mix": mix, "rate": weights["rate"]}, ["'start'", "missing"]),
        ({**weights, "mix": mix.T.copy()}, ["'mix'", "(3, 2)", "(2, 3)"]),
        ({**weights, "mix": mix.astype(np.float64)}, ["'mix'", "float64"]),
        ({**weights, "mix": mix * np.float32("nan")}, ["'mix'", "finite"]),
    ):
        replace_weights(artifact, wrong)
        refuse(artifact, Failure, file, *words)

    file.write_bytes(b"not safetensors")
    digest = hashlib.sha256(b"not safetensors").hexdigest()
    edit(artifact / "card.yaml", lambda card: card["weights"].update(sha256=digest))
    refuse(artifact, Failure, file, "safetensors format")


@pytest.mark.parametrize("killed_at", [0, 1, 2])
def test_a_killed_process_leaves_the_old_artifact_or_the_new(killed_at, artifact, load, monkeypatch):
    old, new = load_artifact(artifact), load(sizes=(1, 1))
    replace, calls = os.replace, []

    def killed(source, target):
        if len(calls) == killed_at:
            raise KeyboardInterrupt
        calls.append(target)
        replace(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", killed)
        save_artifact(artifact, new.optimizer, new.weights, {})
    found = load_artifact(artifact)
    expected = new if killed_at == 2 else old
    assert found.optimizer == expected.optimizer
    np.testing.assert_array_equal(found.weights["mix"], expected.weights["mix"])

    save_artifact(artifact, new.optimizer, new.weights, {})
    assert load_artifact(artifact).optimizer == new.optimizer
    assert sorted(os.listdir(artifact)) == ["card.yaml", "weights.safetensors"]


def test_writing_atomically(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_atomically(path, "é")
    assert path.read_bytes() == b"\xc3\xa9"
    assert path.stat().st_mode & 0o777 == 0o666 & ~current_umask()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Failure, match="cannot be written: No space left"):
        write_atomically(path, b"new")
    assert path.read_text() == "é"
    assert [name for name in os.listdir(tmp_path) if "a.txt" in name] == ["a.txt"]
    with pytest.raises(Failure, match="No such file"):
        write_atomically(tmp_path / "none" / "b.txt", "b")


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
