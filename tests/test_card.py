"""What `l2o optimizers NAME` says of a card."""

import json
import math

import numpy as np
import pytest
from click.testing import CliRunner
from l2o_problems.text import CharRnn

from l2o_cli.catalog.card import describe_card, print_card
from l2o_cli.cli import cli
from l2o_cli.errors import Failure
from l2o_cli.export.artifact import LoadedOptimizer, add_to_card, load_artifact, save_artifact
from l2o_cli.meta.trainer import account, with_record
from l2o_cli.optimizers import LearnedRate
from l2o_cli.spec import MetaTraining

PROBLEMS = [
    "cluster_mlp(hidden=[4,16,8],inputs=5,classes=3,batch_size=20)+rescale(low=0.5,high=2)+smaller_batches(batch_size=6)",
    {"name": "random_mlp", "options": {"hidden": [9], "batch_size": 10}, "horizon": {"distribution": "constant", "maximum": 70}},
    {"name": "quadratic", "options": {"dimension": 3}, "transforms": [{"name": "rescale", "options": {"low": 0.01, "high": 1}}]},
    "transformer(layers=3,width=32,batch_size=12)",
]
SPEC = {
    "optimizer": {"name": "learned_rate"},
    "meta_steps": 50,
    "problems": PROBLEMS,
    "truncation": {"distribution": "uniform", "minimum": 5, "maximum": 25},
    "horizon": {"distribution": "exponential", "minimum": 30, "scale": 10, "maximum": 1000},
}

# The transformer's: embeddings, positions, three layers of attention and an MLP, and a scale and an offset of each norm.
_LAYER = 2 * 32 + 32 * 96 + 96 + 32 * 32 + 32 + 2 * 32 + 32 * 128 + 128 + 128 * 32 + 32
PARAMETERS = 103 * 32 + 32 * 32 + 3 * _LAYER + 2 * 32


def row(problem, optimizer, training, test=None, trials=0):
    losses = {"final_train_loss": training, "final_test_loss": test}
    return {"problem": problem, "optimizer": optimizer, "trials": trials, **losses}


ROWS = [
    *(row("a", "mine", 0.5, 3.0), row("a", "mine:untrained", 9.0, 9.0), row("a", "adam", 2.0, 1.0, 15)),
    *(row("b", "mine", 4.0), row("b", "sgd", 1.0, trials=15), row("b", "adam", 1.0, trials=15)),
    *(row("c", "mine", None), row("c", "adam", 1.0, trials=15)),
    *(row("d", "mine", 1.0), row("d", "adam", 0.1)),  # Adam was not tuned
    *(row("e", "mine", -1.0), row("e", "adam", 1.0, trials=15)),
]


def card(**others):
    spec = with_record(MetaTraining.model_validate(SPEC), "mine.yaml --set seed=1")
    done = {"meta_steps": 40, "inner_steps": 123456, "seconds": 5400.0}
    return {"meta_training": json.loads(json.dumps(account(spec) | done)), "scores": {"steps": 300, "rows": ROWS}, **others}


def described(content, label="mine"):
    optimizer = LearnedRate()
    return describe_card(LoadedOptimizer(label, optimizer, optimizer.init_weights(0), content, "published"))


def test_how_it_was_meta_trained():
    told = described(card())["meta_training"]
    assert told.pop("data")[0].startswith("Help topics of Python") and told == {
        **{"config": "mine.yaml --set seed=1", "hours": 1.5, "inner_steps": 123456, "meta_steps": 40},
        **{"meta_steps_planned": 50, "families": 4},
    }


def test_ranges_are_those_of_the_spec():
    sizes = [5 * 4 + 4 + 4 * 16 + 16 + 16 * 8 + 8 + 8 * 3 + 3, 10 * 9 + 9 + 9 * 2 + 2, 3]
    seen = described(card())["seen"]
    assert seen == {
        "parameters": [min(sizes), PARAMETERS],
        **{"families": 4, "unread_families": 0, "hidden_units": [4, 32], "hidden_layers": [1, 3], "batch_size": [6, 12]},
        **{"horizon": [30, 76], "truncation": [5, 25], "rescaling": [0.01, 2], "rescaled_families": 2},
    }
    assert round(30 - 10 * math.log(0.01)) == 76


def test_families_that_are_not_known_are_counted_and_code_of_a_users_is_not_run(tmp_path):
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    content = card()
    content["meta_training"]["spec"]["problems"] += [{"name": "gone"}, {"name": f"{tmp_path / 'mine.py'}:P"}, 3]
    seen = described(content)["seen"]
    assert (seen["families"], seen["unread_families"]) == (4, 3) and not (tmp_path / "ran").exists()


def test_scores_are_multiples_of_tuned_adams():
    told = described(card())
    assert told["scores"] == {
        "steps": 300,
        "rows": [
            {"problem": "a", "training": 0.25, "test": 3.0},
            {"problem": "b", "training": 4.0, "test": None},
            {"problem": "c", "training": None, "test": None},
            {"problem": "e", "training": None, "test": None},
        ],
    }
    assert told["worse_than_adam"] == {"training": ["b"], "test": ["a"]}
    assert described(card(), label="renamed")["scores"] is None
    own = [{**one, "optimizer": one["optimizer"].replace("mine", "learned_rate")} for one in ROWS]
    renamed = card(scores={"rows": own}, optimizer={"name": "learned_rate"})
    assert described(renamed, label="renamed")["scores"]["rows"] == told["scores"]["rows"]


@pytest.mark.parametrize("content", [None, {}, {"meta_training": 3, "scores": [1]}, {"scores": {"rows": [4, {}]}}])
def test_a_card_that_says_nothing(content):
    assert described(content) is None


def test_sections_of_other_kinds_are_not_known(capsys):
    told = described({"meta_training": {"seconds": "long", "spec": {"problems": "all"}, "record": []}, "weaknesses": ["slow"]})
    assert told["seen"] is told["scores"] is told["large_networks"] is told["meta_training"]["hours"] is None
    print_card(told)
    assert "hours             not known" in capsys.readouterr().out


def test_weaknesses_are_kept_by_what_writes_scores(tmp_path):
    optimizer, texts = LearnedRate(), ["Wide networks: its steps are too long.", "It does not slow down."]
    save_artifact(tmp_path, optimizer, optimizer.init_weights(0), {"weaknesses": texts})
    add_to_card(tmp_path, "scores", {"rows": [{"problem": "p", "final_train_loss": np.float32(0.5)}]})
    loaded = load_artifact(tmp_path)
    assert loaded.card["weaknesses"] == texts == describe_card(loaded)["weaknesses"]
    for wrong in ("one text", [1]):
        add_to_card(tmp_path, "weaknesses", wrong)
        with pytest.raises(Failure, match=r"card\.yaml: weaknesses"):
            load_artifact(tmp_path)
        (tmp_path / "card.yaml").unlink()
        save_artifact(tmp_path, optimizer, optimizer.init_weights(0), {})


LARGE = {
    "device": "A GPU",
    "steps": 1500,
    "adam_learning_rates": [1e-4, 1e-3, 1e-2],
    "rows": [
        {
            **{"network": "gpt", "parameters": 10942464, "final_train_loss": 1.5, "held_out_loss": 2.0},
            "adam": {"final_train_loss": 3.0, "held_out_loss": 1.0, "learning_rate": 1e-3},
        },
        {"network": "resnet", "parameters": "many", "final_train_loss": None, "adam": {"final_train_loss": 0.0123}},
    ],
}


def test_large_networks_are_printed_beside_adam(capsys):
    print_card(described({"large_networks": LARGE}))
    assert capsys.readouterr().out.splitlines() == [
        "losses on large networks on A GPU, after 1,500 steps, and Adam's at the best of 3 learning rates",
        "network  parameters  training loss  training Adam's  training ratio  held-out loss  held-out Adam's  held-out ratio",
        "gpt      10,942,464            1.5                3             0.5              2                1               2",
        "resnet            -              -           0.0123               -              -                -               -",
        "",
    ]


@pytest.mark.parametrize("section", [3, {}, {"rows": 3}, {"rows": [3, {"parameters": 5}]}])
def test_large_networks_of_other_kinds_are_not_known(section):
    assert described({"large_networks": section}) is None
    told = described({"large_networks": {"device": 3, "rows": [{"network": "gpt", "adam": [1], "held_out_loss": "low"}]}})
    nothing = {"loss": None, "adam": None, "ratio": None}
    rows = [{"network": "gpt", "parameters": None, "training": nothing, "held_out": nothing}]
    assert told["large_networks"] == {"device": None, "steps": None, "adam_rates": None, "rows": rows}
    print_card(told)


def test_the_command_says_it_and_in_json_too():
    text = CliRunner().invoke(cli, ["optimizers", "hrnn", "--no-cost"]).stdout
    said = json.loads(CliRunner().invoke(cli, ["optimizers", "hrnn", "--no-cost", "--json"]).stdout)["card"]
    trained, rows = said["meta_training"], said["scores"]["rows"]
    assert f"  inner steps       {trained['inner_steps']:,}\n" in text
    assert f"final loss as a multiple of tuned Adam's, after {said['scores']['steps']} steps\n" in text
    assert rows and all(f"{one['training']:.3g}" in text for one in rows)
    assert said["seen"]["unread_families"] == 0 and said["seen"]["families"] == trained["families"]
    assert json.loads(CliRunner().invoke(cli, ["optimizers", "adam", "--no-cost", "--json"]).stdout)["card"] is None


def test_what_is_printed(capsys):
    print_card(described(card(weaknesses=["It takes steps that are too long."])))
    assert capsys.readouterr().out.splitlines() == [
        "how it was meta-trained",
        "  spec              mine.yaml --set seed=1",
        "  hours             1.5",
        "  inner steps       123,456",
        "  meta-steps        40 of 50",
        "  problem families  4",
        f"  data              {CharRnn().source}; synthetic",
        "",
        "what it has seen in meta-training",
        "  hidden units of a layer  4 to 32",
        "  hidden layers            1 to 3",
        "  batch size               6 to 12",
        f"  parameters               3 to {PARAMETERS:,}",
        "  horizon, steps           30 to 76",
        "  truncation, steps        5 to 25",
        "  params rescaled by       0.01 to 2, in 2 of 4 families",
        "",
        "final loss as a multiple of tuned Adam's, after 300 steps",
        "problem  training  test",
        "a            0.25     3",
        "b               4     -",
        "c               -     -",
        "e               -     -",
        "",
        "what it is bad at",
        "  - worse than tuned Adam in training loss: b",
        "  - worse than tuned Adam in test loss: a",
        "  - It takes steps that are too long.",
        "",
    ]
