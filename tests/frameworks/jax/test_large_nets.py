"""The tool that trains large networks with learned optimizers and Adam, on small ones, and what it puts into a card."""

import json
import shutil

import pytest

from docs.tools import large_nets
from l2o_cli import assets
from l2o_cli.errors import BadInput
from l2o_cli.export.artifact import load_artifact

RULE = "adam(learning_rate=0.003,epsilon=1e-08)"  # what optax's is at that rate


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The file after calls that go on with it, of which the last finds nothing to do."""
    path = tmp_path_factory.mktemp("large") / "results.json"
    options = ["--small", "--steps", "20", "--out", str(path)]
    large_nets.main([*options, "--only", "gpt", "--optimizer", "tensor_rnn"])
    first = json.loads(path.read_text())["runs"]
    large_nets.main([*options, "--optimizer", RULE])
    content = json.loads(path.read_text())
    large_nets.main([*options, "--only", "resnet", "--optimizer", RULE])
    assert json.loads(path.read_text()) == content and content["data"].keys() == set(large_nets.NETWORKS)
    assert content["runs"][: len(first)] == first and content["failed"] == content["left_out"] == []
    return path, content


def test_every_optimizer_trains_every_network(results):
    _, content = results
    runs = {(run["network"], run["optimizer"], run["learning_rate"]): run for run in content["runs"]}
    adams = {(name, "adam", rate) for name in large_nets.NETWORKS for rate in large_nets.ADAM_RATES}
    assert len(runs) == len(content["runs"]) and {name for name, *_ in runs} == set(large_nets.NETWORKS)
    assert runs.keys() == adams | {("gpt", "tensor_rnn", None), ("gpt", RULE, None), ("resnet", RULE, None)}
    for run in runs.values():
        assert run["loss_at_step"]["20"] == pytest.approx(run["final_train_loss"]) and run["non_finite_losses"] == 0
        assert run["step_milliseconds"] > 0 and run["parameters"] > 1000 and run["steps"] == 20
    for name in large_nets.NETWORKS:
        held_out = [runs[name, "adam", rate]["held_out_loss"] for rate in sorted(large_nets.ADAM_RATES)]
        # In so few steps a higher rate is better.
        assert held_out == sorted(held_out, reverse=True) and held_out[-1] < 0.96 * held_out[0]
        assert len({runs[name, "adam", rate]["compile_seconds"] for rate in large_nets.ADAM_RATES}) == 1
        ours, theirs = runs[name, RULE, None], runs[name, "adam", 3e-3]
        assert ours["held_out_loss"] == pytest.approx(theirs["held_out_loss"], rel=1e-2)
    assert runs["gpt", "tensor_rnn", None]["held_out_loss"] < 3.5


def test_other_settings_and_unknown_optimizers_are_said_in_one_line(results, tmp_path):
    with pytest.raises(SystemExit, match=r"results\.json: seed is 0 there and 1 here; give another --out"):
        large_nets.main(["--small", "--steps", "20", "--seed", "1", "--out", str(results[0])])
    content = json.loads(results[0].read_text())
    content["data"]["resnet"]["sha256"] = "another"
    (tmp_path / "other.json").write_text(json.dumps(content))
    with pytest.raises(SystemExit, match=r"other\.json: resnet has other data there"):
        large_nets.main(["--small", "--steps", "20", "--only", "resnet", "--out", str(tmp_path / "other.json")])
    with pytest.raises(SystemExit, match="unknown optimizer 'tensor_rn'"):
        large_nets.main(["--optimizer", "tensor_rn", "--out", str(tmp_path / "new.json")])
    with pytest.raises(SystemExit, match="JAX sees no accelerator"):
        large_nets.main(["--optimizer", "sgd", "--out", str(tmp_path / "new.json")])


def test_a_run_takes_as_long_as_the_last_one_or_the_longest_of_another_optimizer():
    trainings = {pair: type("Training", (), {"compile_seconds": 30.0}) for pair in [("gpt", "a"), ("gpt", "b"), ("resnet", "a")]}
    spent = {("gpt", "a"): 10.0, ("gpt", "b"): 20.0, ("resnet", "a"): 100.0}
    guesses = [large_nets.expected(pair, spent, trainings) for pair in [("gpt", "a"), ("gpt", "c"), ("other", "a")]]
    assert guesses == [10, 50, 130] and large_nets.expected(("gpt", "a"), {}, {}) == 0


def test_into_a_card_go_the_losses_beside_adams_least(results, tmp_path):
    path, content = results
    folder = shutil.copytree(assets.checkpoints() / "tensor_rnn", tmp_path / "tensor_rnn")
    before = load_artifact(folder).card
    with pytest.raises(SystemExit, match=r"results\.json: --small made these results"):
        large_nets.main(["--into-card", str(folder), str(path)])
    content = json.loads(json.dumps(content))
    content["settings"]["small"] = False
    adams = [run for run in content["runs"] if run["network"] == "gpt" and run["optimizer"] == "adam"]
    for place, run in enumerate(adams):
        run |= {"final_train_loss": None if place == 0 else float(place), "held_out_loss": 9.0 - place}
    large = tmp_path / "large.json"
    large.write_text(json.dumps(content))
    large_nets.main(["--into-card", str(folder), str(large)])
    after = load_artifact(folder).card
    section = after.pop("large_networks")
    assert after == {name: part for name, part in before.items() if name != "large_networks"}
    [row] = section["rows"]
    own = next(run for run in content["runs"] if run["optimizer"] == "tensor_rnn")
    assert all(row[name] == own[name] for name in ("network", "parameters", "final_train_loss", "held_out_loss", "loss_at_step"))
    assert (row["adam"]["final_train_loss"], row["adam"]["learning_rate"]) == (1.0, adams[1]["learning_rate"])
    assert (row["adam"]["held_out_loss"], row["adam"]["held_out_learning_rate"]) == (5.0, adams[4]["learning_rate"])
    assert section["steps"] == 20 and section["device"] == own["device"] and len(section["adam_learning_rates"]) == 5
    with pytest.raises(BadInput, match="no run of tensor_rnn with the weights of this checkpoint"):
        large_nets.section_of(content, "tensor_rnn", "other weights")
    content["runs"].remove(adams[2])
    with pytest.raises(BadInput, match=f"gpt: no run of adam at {adams[2]['learning_rate']:g}"):
        large_nets.section_of(content, "tensor_rnn", own["weights_sha256"])
