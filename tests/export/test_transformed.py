"""Transformed optimizers: by their texts, on disk, and inside Keras."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from l2o_cli import LearnedOptimizer
from l2o_cli.errors import BadInput, Failure
from l2o_cli.export.artifact import load_artifact, save_artifact, seal
from l2o_cli.export.keras_optimizer import keras_file
from l2o_cli.export.resolve import resolve
from l2o_cli.optimizers.elementwise import Adam
from l2o_cli.optimizers.transforms import Averaging, Clipping, Schedule, WeightDecay
from l2o_cli.spec import OptimizerSpec


@pytest.fixture
def artifact(load, tmp_path, monkeypatch):
    """The directory of an artifact in a run called "demo", in the working directory."""
    loaded = load(sizes=(2, 3))
    monkeypatch.chdir(tmp_path)
    card = {"scores": {"mean": 1.0}, "large_networks": {"steps": 9}, "meta_training": {"steps": 3}}
    save_artifact("runs/demo/artifact", loaded.optimizer, loaded.weights, card)
    return loaded


def test_texts_of_hand_designed_optimizers():
    found = resolve("adam(learning_rate=0.01, beta_1=0.5)+clipping(norm=1)+schedule(kind=linear,warmup=0.05)")
    assert found.optimizer == Schedule(Clipping(Adam(0.01, 0.5), norm=1.0), kind="linear", warmup=0.05)
    assert found.label == "adam(learning_rate=0.01,beta_1=0.5)+clipping(norm=1)+schedule(kind=linear,warmup=0.05)"
    assert found.source == "built in"
    assert float(found.weights["learning_rate"]) == pytest.approx(0.01)
    assert float(found.weights["schedule/warmup"]) == pytest.approx(0.05)
    assert resolve("adam+averaging").optimizer == Averaging(Adam())
    assert resolve("adam").label == "adam"


def test_texts_around_learned_optimizers(artifact, tiny, tmp_path):
    plain = resolve("runs/demo")
    found = resolve("runs/demo+clipping(global_norm=2.0)")
    assert (found.label, found.source) == ("demo+clipping(global_norm=2.0)", plain.source)
    assert found.optimizer == Clipping(artifact.optimizer, global_norm=2.0)
    assert found.weights.keys() == plain.weights.keys()
    np.testing.assert_array_equal(found.weights["mix"], plain.weights["mix"])
    for measured in ("scores", "large_networks"):
        assert measured in plain.card and measured not in found.card
    assert found.card["meta_training"] == {"steps": 3}

    untrained = resolve("tiny(sizes=[3, 2]):untrained+weight_decay(rate=0.1)")
    assert untrained.optimizer == WeightDecay(tiny(sizes=(3, 2)), rate=0.1)
    assert untrained.label == "tiny(sizes=[3,2]):untrained+weight_decay(rate=0.1)"
    np.testing.assert_array_equal(untrained.weights["mix"], tiny(sizes=(3, 2)).init_weights(0)["mix"])

    other = resolve("runs/demo(attention=true):untrained")
    assert other.optimizer == tiny(sizes=(2, 3), attention=True)  # the other options are those of the run
    assert (other.label, other.card) == ("demo(attention=True):untrained", None)

    save_artifact(tmp_path / "published" / "best", artifact.optimizer, artifact.weights, {})
    assert resolve("best+averaging(decay=0.5)").optimizer == Averaging(artifact.optimizer, 0.5)


def test_a_path_is_taken_as_it_stands(artifact):
    for path in ("runs/a+b", "runs/adam+clipping(norm=1)", "runs/old (2)"):
        save_artifact(path, artifact.optimizer, artifact.weights, {})
        assert resolve(path).optimizer == artifact.optimizer
        assert resolve(path).source == path
        assert resolve(f"{path}:untrained").label == f"{path.removeprefix('runs/')}:untrained"
        assert resolve(f"{path}+averaging").optimizer == Averaging(artifact.optimizer)
        assert resolve(f"{path}:untrained+averaging").optimizer == Averaging(artifact.optimizer)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("adan+clipping(norm=1)", "unknown optimizer 'adan'; did you mean 'adam'"),
        ("adan(learning_rate=1)", "unknown optimizer 'adan'; did you mean 'adam'"),
        ("adam+cliping(norm=1)", "unknown transformation 'cliping'; did you mean 'clipping'"),
        ("adam(rate=1)", "optimizer 'adam': options.rate: unknown field"),
        ("adam(learning_rate)", "optimizer 'adam(learning_rate)': 'learning_rate' is not option=value"),
        ("adam(learning_rate=fast)", "optimizer 'adam': options.learning_rate: .*'fast'"),
        ("adam+clipping(norm=1", "expected NAME or NAME"),
        ("adam+clipping", "transformation 'clipping': options: value, norm or global_norm must be given"),
        ("adam+clipping(norm=0)", "transformation 'clipping': options: norm must be .*more than 0, not 0"),
        ("adam+clipping(norm=.nan)", "clipping.*norm: .*finite"),
        ("adam+clipping(norm=1)+clipping(value=1)", "transformation 'clipping': .*already around 'adam.clipping'"),
        ("adam+weight_decay(rate=-1)", "transformation 'weight_decay': options: rate must be .*at least 0"),
        ("adam+regularization(l2=-1)", "'regularization': options: l2 must be"),
        ("adam+decay(linear=-1)", "'decay': options: linear must be"),
        ("adam+averaging(decay=1.5)", "'averaging': options: decay must be .*at most 1, not 1.5"),
        ("adam+schedule(kind=cosin)", "'schedule': options.kind: .*'cosin'"),
        ("adam+schedule(kind=exponential)", "'schedule': options: final must be more than 0 if kind is exponential"),
        ("adam+schedule(warmup=0.6,constant=0.6)", "'schedule': options: warmup and constant are 1.2 of the run"),
        ("adam+schedule(steps=0)", "'schedule': options: steps must be at least 1, not 0"),
        ("adam+schedule(drops=0)", "'schedule': options: drops must be at least 1, not 0"),
        ("adam+low_precision(keep=[meen])", "'low_precision': options: keep: 'meen' is no part .*: mean, square"),
        ("runs/demo(sizes=[3])", "a trained one keeps the options that its weights depend on; .*:untrained begins anew"),
        ("runs/demo(size=3):untrained", "optimizer 'tiny': options.size: unknown field"),
        ("adam(learning_rate=1):untrained", "not learned"),
        ("runs/demo+nominal", "a part of it would be untrained; meta-train it as a whole"),
        ("+clipping(norm=1)", "unknown optimizer 'clipping'"),
        ("", "unknown optimizer ''"),
    ],
)
def test_bad_texts(artifact, text, message):
    with pytest.raises(BadInput, match=message.replace("(", r"\(").replace(")", r"\)")) as caught:
        resolve(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["adam(learning_rate=0.2)+schedule(final=0.1)", "tiny:untrained+low_precision(keep=[size])"])
def test_artifacts_hold_the_transformations(text, tmp_path):
    original = resolve(text)
    save_artifact(tmp_path / "a", original.optimizer, original.weights, {})
    loaded = load_artifact(tmp_path / "a")
    assert loaded.optimizer == original.optimizer
    assert loaded.weights.keys() == original.weights.keys()
    for name, value in original.weights.items():
        np.testing.assert_array_equal(loaded.weights[name], value)
    assert [part["name"] for part in loaded.card["optimizer"]["transforms"]] == [text.partition("+")[2].partition("(")[0]]
    assert resolve(f"{tmp_path / 'a'}+averaging").optimizer == Averaging(original.optimizer)

    card = yaml.safe_load((tmp_path / "a" / "card.yaml").read_text())
    card["optimizer"]["transforms"][0]["name"] = "scedule"
    card["sha256"] = seal({name: card[name] for name in ("format", "optimizer", "weights")})
    (tmp_path / "a" / "card.yaml").write_text(yaml.safe_dump(card))
    with pytest.raises(Failure, match=r"card\.yaml: unknown transformation 'scedule'"):
        load_artifact(tmp_path / "a")


def test_an_exported_file_holds_the_transformations(tmp_path):
    original = resolve("adam+weight_decay(rate=0.1,exclude_vectors=true)+clipping(norm=1)")
    (tmp_path / "a.json").write_text(keras_file(original))
    exported = resolve(tmp_path / "a.json")
    assert (exported.label, exported.optimizer) == (original.label, original.optimizer)
    assert exported.weights == original.weights


def test_keras_does_not_tell_how_long_a_run_is(load):
    with pytest.raises(ValueError, match="goes by the length of the run"):
        LearnedOptimizer("adam+schedule")
    with pytest.raises(BadInput, match="goes by the length of the run"):
        keras_file(resolve("adam+schedule"))
    assert "schedule" in keras_file(resolve("adam+schedule(steps=50)"))


def test_a_trained_optimizer_may_have_other_options_that_its_weights_do_not_depend_on():
    published = Path(__file__).parents[2] / "checkpoints" / "tensor_rnn"
    trained, changed = resolve(published), resolve(f"{published}(initial_rate=0.001)")
    assert changed.optimizer != trained.optimizer and "initial_rate=0.001" in changed.label
    assert OptimizerSpec.of(changed.optimizer).options == OptimizerSpec.of(trained.optimizer).options | {"initial_rate": 0.001}
    assert changed.weights.keys() == trained.weights.keys()
    for name, value in trained.weights.items():
        np.testing.assert_array_equal(changed.weights[name], value)
    assert "scores" in trained.card and "scores" not in changed.card
    for options in ("hidden=[8,8]", "unevenness=false"):
        with pytest.raises(BadInput, match="keeps the options that its weights depend on"):
            resolve(f"{published}({options})")


def test_a_transformation_in_a_trained_optimizer_may_have_other_options():
    published = Path(__file__).parents[2] / "checkpoints" / "tensor_rnn"
    changed = resolve(f"{published}(schedule/warmup=0.1,initial_rate=0.001)")
    spec, before = OptimizerSpec.of(changed.optimizer), OptimizerSpec.of(resolve(published).optimizer)
    assert spec.options == before.options | {"initial_rate": 0.001}
    for one, other in zip(spec.transforms, before.transforms, strict=True):
        assert one.options == other.options | ({"warmup": 0.1} if one.name == "schedule" else {})
    with pytest.raises(BadInput, match=r"no one transformation 'decay' in it; it has orthogonalized, fan_in, schedule"):
        resolve(f"{published}(decay/linear=1)")
    with pytest.raises(BadInput, match="warm"):
        resolve(f"{published}(schedule/warm=1)")
