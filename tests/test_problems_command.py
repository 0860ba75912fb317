"""`l2o problems`: listings, descriptions and pictures."""

from __future__ import annotations

import json

import click.testing
import matplotlib.image
import numpy as np
import pytest
from l2o_problems import adam_table
from l2o_problems.data import DATA_SETS, DataMissing
from l2o_problems.data.prepared import Prepared
from l2o_problems.registry import PROBLEMS
from l2o_problems.transforms import TRANSFORMS
from matplotlib.figure import Figure

from l2o_cli.commands.problems import problems
from l2o_cli.errors import BadInput
from l2o_cli.portraits.portrait import check_file
from l2o_cli.reports.drawing import save
from l2o_cli.spec import parse_problems


def invoke(*arguments):
    result = click.testing.CliRunner().invoke(problems, [str(argument) for argument in arguments])
    if result.exception:
        raise result.exception
    return result


def listed(*arguments):
    return json.loads(invoke(*arguments, "--json").stdout)


@pytest.fixture
def no_cifar10(monkeypatch, tmp_path):
    assert all(isinstance(source, Prepared) for source in DATA_SETS["cifar10"].sources)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nothing"))
    monkeypatch.setattr("l2o_problems.data._loaded", {})


def test_lists_all_problems_and_says_which_data_are_missing(no_cifar10):
    rows = {row["name"]: row for row in listed()}
    assert rows.keys() == PROBLEMS.keys()
    assert list(rows["quadratic"]) == ["name", "parameters", "tensors", "minimum", "source", "summary"]
    assert rows["cifar10_mlp"]["source"] == "missing: CIFAR-10" and rows["cifar10_mlp"]["parameters"] == 394634
    assert rows["mnist_mlp"]["summary"] == "MLP on MNIST" and rows["quadratic"]["source"] == "synthetic"
    table = invoke().stdout.splitlines()
    assert len(table) == len(rows) + 1
    assert next(line for line in table if line.startswith("branin")).split()[1:4] == ["2", "1", "0.397887"]


def test_lists_transformations_and_ensembles():
    rows = {row["name"]: row for row in listed("--transforms")}
    assert rows.keys() == TRANSFORMS.keys()
    assert rows["rescale"]["options"] == ["low=0.1", "high=10", "per=global"]
    ensembles = {row["name"]: row for row in listed("--ensembles")}
    families = listed("wichrowska2017-test")
    assert ensembles["wichrowska2017-test"]["families"] == len(families)
    assert sum(row["weight"] for row in families) == pytest.approx(1, abs=1e-3)
    conv = next(row for row in families if row["label"] == "mnist_conv(activation=relu)")
    assert (conv["parameters"], conv["instances"]) == (64418, 4) and families[0]["instances"] is None


def test_describes_a_problem_with_options_and_transformations(monkeypatch):
    text = "quadratic(dimension = 3) + rescale(low=2)"
    identity = parse_problems(text)[0].make().identity
    row = adam_table.AdamRow("whatever", 3, 0.1, "high", 9.0, 0.25, 0.5, 0.01, 1, 1000, 2, identity, "synthetic")
    monkeypatch.setattr(adam_table, "_table", lambda: {row.problem: row})
    found = listed(text)
    assert found["options"]["dimension"] == 3 and found["defaults"]["dimension"] == 20
    assert found["tensors"] == {"x": [3]} and found["parameters"] == 3 and found["minimum"] == 0
    [rescale] = found["transforms"]
    assert rescale["name"] == "rescale" and rescale["options"]["low"] == 2
    assert found["adam"]["best_loss"] == 0.25
    lines = [" ".join(line.split()) for line in invoke(text).stdout.splitlines()]
    assert lines[0].startswith("quadratic(dimension = 3) + rescale(low=2): ")
    for line in ("dimension 3 (default 20)", "x 3", "data synthetic", "best loss 0.25", "diverged 1 of 2"):
        assert line in lines
    assert "learning rate 0.1, at the high edge of those tried" in lines
    assert listed("rosenbrock")["adam"] is None


def test_describes_what_has_no_data_here_but_does_not_draw_it(no_cifar10, tmp_path):
    assert "missing: CIFAR-10" in listed("cifar10_mlp")["source"]
    with pytest.raises(DataMissing, match="CIFAR-10"):
        invoke("cifar10_mlp", "--plot", tmp_path / "folder" / "x.png", "--optimizer", "adam")
    assert not (tmp_path / "folder").exists()


def test_describes_a_problem_in_a_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("from l2o_problems.quadratics import Quadratic\n\ndef small():\n    return Quadratic(4)\n")
    found = listed(f"{file}:small")
    assert found["parameters"] == 4 and found["defaults"] == {} and found["options"]["dimension"] == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["quadratc"], "did you mean 'quadratic'"),
        (["quadratic(dim=3)"], "options.dim: unknown field"),
        (["quadratic+nois"], "unknown transformation 'nois'"),
        (["rosenbrock", "--ensembles"], "NAME and --ensembles exclude each other"),
        (["rosenbrock", "--steps", "3"], "--steps is for pictures and needs --plot"),
        (["--plot", "x.png"], "--plot needs NAME"),
        (["rosenbrock", "--plot", "x.png", "--json"], "--plot and --json exclude each other"),
        (["wichrowska2017", "--plot", "x.png"], "draws one problem"),
        (["rosenbrock", "--plot", "x.jpg"], "must end in .png, .svg or .pdf"),
        (["rosenbrock", "--plot", "x.png", "--start", "1,nan"], "--start '1,nan': expected X,Y"),
        (["quadratic", "--plot", "x.png", "--start", "1,2"], "problems of 2 parameters; quadratic has 20"),
        (["rosenbrock", "--plot", "x.png", "--optimizer", "adm"], "did you mean 'adam'"),
        (["rosenbrock", "--plot", "x.png", "--optimizer", "adam", "--optimizer", "adam"], "'adam' is given twice"),
    ],
)
def test_wrong_requests(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput) as caught:
        invoke(*arguments)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_draws_a_surface(l2o, tmp_path):
    arguments = ["problems", "valley", "--plot", "new/valley.png", "--optimizer", "sgd", "--steps", "5", "--start", "2,0"]
    result = l2o(*arguments, "--start", "-1,1")
    assert (result.returncode, result.stdout) == (0, "wrote new/valley.png\n"), result.stderr
    assert result.stderr.splitlines() == ["valley: sgd, 5 steps", "valley: surface"]
    image = matplotlib.image.imread(tmp_path / "new" / "valley.png")
    blue = np.abs(image[..., :3] - np.array([0x00, 0x72, 0xB2]) / 255).max(axis=-1) < 0.05
    assert blue[:700].sum() > 500


def test_draws_curves_and_overwrites_only_when_told(tmp_path):
    file = tmp_path / "curves.pdf"
    file.write_text("mine")
    problem = "logistic_regression(samples=50,batch_size=5)"
    arguments = [problem, "--plot", file, "--optimizer", "adam", "--optimizer", "learned_rate:untrained", "--steps", 4, "--quiet"]
    with pytest.raises(BadInput, match="exists already"):
        invoke(*arguments)
    assert file.read_text() == "mine"
    assert invoke(*arguments, "--overwrite").stdout == f"wrote {file}\n"
    assert file.read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(("suffix", "beginning"), [(".png", b"\x89PNG"), (".SVG", b"<?xml"), (".pdf", b"%PDF")])
def test_the_suffix_is_the_format(tmp_path, suffix, beginning):
    path = tmp_path / f"picture{suffix}"
    check_file(path, overwrite=False)
    assert save(Figure(), path).read_bytes().startswith(beginning)
