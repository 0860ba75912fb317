"""Loss ratios at the points of a comparison: of tables written by hand, and of a tiny comparison."""

from __future__ import annotations

import json
import math

import click.testing
import numpy as np
import pytest
import yaml
from matplotlib.colors import to_hex

from l2o_cli.commands.report import report
from l2o_cli.commands.score import score
from l2o_cli.errors import BadInput
from l2o_cli.reports.comparison.page import write_comparison_report
from l2o_cli.reports.ratios.page import ratio_lines, ratio_rows
from l2o_cli.reports.ratios.plots import PARAMETERS, panels_of, ratio_figure
from l2o_cli.scoring.loss_ratios import LossRatios, Point
from l2o_cli.scoring.results_folder import read_results
from tests.scoring.made_curves import made, write

INF = math.inf
SEEDS = [0, 1, 2]
# {name: (over, values, steps, parameters, {optimizer: final loss of each seed at each value})}
SWEEPS = {
    "width-m": (
        *("width", [64, 16, 256], [40] * 3, [640, 160, 2560]),
        {"new": [[0.9, 1, 9], [0.4, 0.5, 0.6], [3.9, 4, INF]], "adam": [[1.0] * 3] * 3, "sgd": [[0.1] * 3] * 3},
    ),
    "lengths": (
        *("horizon", [1, 4], [40, 160], [640, 640]),
        {"new": [[2.0] * 3, [INF] * 3], "adam": [[1.0] * 3, [0.5] * 3]},
    ),
    "units": ("option", ["relu", "tanh"], [40] * 2, [640, 640], {"new": [[0.5] * 3] * 2, "adam": [[1.0] * 3, [INF] * 3]}),
    "rates": ("learning_rate", [0.1, 1], [40] * 2, [640] * 2, {"new": [[9.0] * 3] * 2, "adam": [[1.0] * 3] * 2}),
    "alone": ("depth", [1, 2], [40] * 2, [10, 20], {"new": [[1.0] * 3] * 2, "sgd": [[1.0] * 3] * 2}),
}
PROBLEMS = {"p": (0.2, 0.4), "q(size=3)": (0.3, 0.1), "r": (math.nan, 0.1)}  # final losses of new and adam


def made_folder(folder, problems=tuple(PROBLEMS), sweeps=tuple(SWEEPS)):
    curves = []
    for problem in problems:
        for seed in SEEDS:
            for optimizer, loss in zip(("new", "adam"), PROBLEMS[problem], strict=True):
                curves.append(made([2, 1, loss], optimizer=optimizer, problem=problem, seed=seed))
    if curves:
        write(folder, curves)
    facts, lines = [], ["sweep,over,value,problem,optimizer,seed,final_train_loss,final_validation_loss,step_milliseconds"]
    for name in sweeps:
        over, values, steps, parameters, optimizers = SWEEPS[name]
        sizes = {f"m-{value}": size for value, size in zip(values, parameters, strict=True)}
        about = {label: {"learned": label == "new", "meta_trained": None} for label in optimizers}
        fact = {"name": name, "over": over, "problem": "m", "values": values, "steps": steps, "seeds": SEEDS}
        option = {"option": "activation"} if over == "option" else {}
        facts.append({**fact, **option, "parameters": sizes, "optimizers": about})
        for label, losses in optimizers.items():
            for value, of_seeds in zip(values, losses, strict=True):
                lines += [f"{name},{over},{value},m-{value},{label},{seed},{loss},,1" for seed, loss in enumerate(of_seeds)]
    if sweeps:
        (folder / "sweeps.csv").write_text("\n".join(lines) + "\n")
        (folder / "sweeps.yaml").write_text(yaml.safe_dump({"sweeps": facts}, sort_keys=False))
    record = {
        "command": "compare",
        "request": {"problems": list(problems), "optimizers": ["new"], "baselines": ["adam", "sgd"]},
        "problems": {problem: {"parameters": 100 * place} for place, problem in enumerate(problems, start=1)},
        "optimizers": {"new": {"learned": True}, "adam": {"learned": False}},
    }
    (folder / "compare.yaml").write_text(yaml.safe_dump(record, sort_keys=False))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return made_folder(tmp_path_factory.mktemp("made"))


@pytest.fixture(name="ratios", scope="module")
def _ratios(folder):
    [ratios] = read_results(folder).ratios
    return ratios


def test_ratios_of_medians_at_every_problem_and_value(ratios):
    found = {point.where: (point.ratio, point.lower, point.parameters) for point in ratios.points}
    assert found == {
        "p": (0.5, True, 100),
        "q(size=3)": (pytest.approx(3), False, 200),
        "r": (INF, False, 300),
        "width-m at 16": (0.5, True, 160),
        "width-m at 64": (1.0, False, 640),
        "width-m at 256": (4.0, False, 2560),
        "lengths at 1×": (2.0, False, 640),
        "lengths at 4×": (INF, False, 640),
        "units at relu": (0.5, True, 640),
        "units at tanh": (0.0, True, 640),
    }
    assert (ratios.optimizer, ratios.reference, ratios.lower, ratios.share) == ("new", "adam", 4, 0.4)
    assert ratios.left_out == ["alone"]
    assert [point.place for point in ratios.points if point.sweep == "lengths"] == [40, 160]


def test_trends_are_slopes_of_logarithms_per_doubling(ratios):
    x, y = np.log2([16, 64, 256]), np.log2([0.5, 1, 4])
    [trend] = ratios.trends  # of the others fewer than two values have a ratio
    assert (trend.sweep, trend.axis) == ("width-m", "width") and trend.slope == pytest.approx(np.polyfit(x, y, 1)[0])


def point(loss, reference, **fields):
    return Point(
        **{"sweep": None, "where": "p", "axis": None, "place": None, "parameters": 1, **fields}, loss=loss, reference=reference
    )


@pytest.mark.parametrize(
    ("loss", "reference", "ratio", "lower"),
    [(1, 2, 0.5, True), (INF, INF, None, False), (-2, -1, None, True), (1, 0, None, False), (0, 1, 0, True), (0, 0, None, False)],
)
def test_where_there_is_no_ratio(loss, reference, ratio, lower):
    assert (point(loss, reference).ratio, point(loss, reference).lower) == (ratio, lower)


def test_lines_say_how_often_how_far_and_whereto(ratios):
    summary, trends = ratio_lines([ratios])
    assert summary == (
        "new has a lower final training loss than adam at 4 of 10 problems and values of sweeps (40 %). Its largest ratio is "
        "infinite (it diverged), on r. adam did not run in these sweeps, which are left out: alone."
    )
    assert trends == "  Its ratio changes with each doubling of what is varied: width-m ×1.68."  # 8 ** (1 / 4)
    alone = LossRatios("new", "adam", [point(1, 2), point(3, 2)])
    assert ratio_lines([alone]) == [
        "new has a lower final training loss than adam at 1 of 2 problems (50 %). Its largest ratio is 1.5, on p."
    ]


def test_plain_values_have_no_infinities(ratios):
    [row] = json.loads(json.dumps(ratio_rows([ratios]), allow_nan=False))
    assert (row["points"], row["lower"], row["largest_ratio"], row["largest_at"]) == (10, 4, None, "r")
    assert row["trends"] == [{"sweep": "width-m", "over": "width", "slope": pytest.approx(0.75)}]
    assert row["at"][2]["loss"] is None and row["at"][4]["value"] == 64


def test_panels(ratios):
    panels = panels_of(ratios)
    assert {axis: [series.name for series in panels[axis]] for axis in panels} == {
        PARAMETERS: ["p", "q(size=3)", "r", "width-m", "units"],
        "steps of a run": ["lengths"],
    }
    series = [one for panel in panels.values() for one in panel]
    assert len({(one.colour, one.marker) for one in series}) == len(series)
    assert panels[PARAMETERS][3].places == (160, 640, 2560) and panels[PARAMETERS][3].joined
    assert not panels[PARAMETERS][4].joined


def test_the_picture_has_the_line_at_one_all_points_and_all_names(ratios):
    figure = ratio_figure(ratios)
    sizes, lengths = figure.axes
    assert [axes.get_xlabel() for axes in figure.axes] == ["parameters", "steps of a run"]
    for axes in figure.axes:
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        assert any(list(line.get_ydata()) == [1.0, 1.0] for line in axes.lines)
    assert {text.get_text() for text in sizes.texts} == {"p", "q", "r", "width-m", "units"}
    assert [text.get_text() for text in lengths.texts] == ["lengths"]
    low, high = sizes.get_ylim()
    marks = [(*map(float, line.get_xydata()[0]), line.get_marker()) for line in sizes.lines if line.get_marker() != "None"]
    assert len(marks) == 8 and all(low < y < high for _, y, _ in marks)
    assert [(x, y) for x, y, marker in marks if x in (100, 200, 160)] == [(100, 0.5), (200, pytest.approx(3)), (160, 0.5)]
    assert [(x, y > 4) for x, y, marker in marks if marker == "^"] == [(300, True)]  # it diverged
    assert [(x, y < 0.5) for x, y, marker in marks if marker == "v"] == [(640, True)]  # the reference did
    [joined] = [line for line in sizes.lines if len(line.get_xdata()) == 3]
    assert to_hex(joined.get_color()) == panels_of(ratios)[PARAMETERS][3].colour.lower()


def test_the_score_command_says_it_of_the_folder_alone(folder, tmp_path):
    def invoke(*arguments):
        result = click.testing.CliRunner().invoke(score, [str(argument) for argument in arguments], catch_exceptions=False)
        return result.stdout

    assert invoke(folder).splitlines()[-2:] == ratio_lines(read_results(folder).ratios)
    content = json.loads(invoke(folder, "--json"))
    assert content["verdict"] and content["loss_ratios"][0]["share"] == 0.4
    [by_sgd] = json.loads(invoke(folder, "--json", "--reference", "adam"))["loss_ratios"]
    assert by_sgd == content["loss_ratios"][0]
    sweeps = made_folder(tmp_path, problems=())
    assert json.loads(invoke(sweeps, "--json")).keys() == {"loss_ratios"}
    [summary, _] = invoke(sweeps).splitlines()
    assert summary.startswith("new has a lower final training loss than adam at 3 of 7 values of sweeps (43 %)")
    [of_sgd] = json.loads(invoke(sweeps, "--json", "--reference", "sgd"))["loss_ratios"]
    assert of_sgd["reference"] == "sgd" and of_sgd["points"] == 5
    with pytest.raises(BadInput, match="reference 'sgdd' is not among the optimizers: new, adam, sgd"):
        read_results(sweeps, reference="sgdd")


@pytest.mark.parametrize(
    ("problems", "sweeps"), [((), ("units",)), pytest.param(("p", "q(size=3)"), SWEEPS, marks=pytest.mark.slow)]
)
def test_the_report_has_a_section_and_pictures(tmp_path, problems, sweeps):
    page, *files = write_comparison_report(read_results(made_folder(tmp_path, problems, sweeps)))
    lines = ratio_lines(read_results(tmp_path).ratios)
    assert lines and all(line in page.read_text() for line in lines) and "Final training loss of new over" in page.read_text()
    assert {tmp_path / "pictures" / f"ratio new{kind}" for kind in (".png", ".svg")} <= set(files)
    assert (tmp_path / "pictures" / "ratio new.png").read_bytes()[:4] == b"\x89PNG"


def test_nothing_is_said_without_a_baseline(tmp_path):
    curves = [made([2, 1, 0.5], optimizer=name, problem="p", seed=seed) for name in ("one", "two") for seed in SEEDS]
    write(tmp_path, curves)
    assert read_results(tmp_path).ratios == []
    page, *files = write_comparison_report(read_results(tmp_path))
    assert "largest ratio is" not in page.read_text() and not [file for file in files if file.name.startswith("ratio")]


@pytest.mark.slow
def test_a_comparison_says_it_at_its_end(l2o, tmp_path):
    tiny = "logistic_regression(features=3,batch_size=4,samples=16)"
    spec = {
        "problems": [tiny],
        "optimizers": ["sgd(learning_rate=1e-6)"],
        "baselines": ["adam"],
        **{"trials": 2, "tuning_seeds": 1, "steps": 12, "seeds": 1, "xla": False},
        "sweeps": [{"over": "horizon", "problem": tiny, "values": [1, 2]}],
    }
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    result = l2o("compare", "spec.yaml", "--out", "out", "--quiet")
    assert result.returncode == 0, result.stderr
    said = [line for line in result.stdout.splitlines() if "problems and values of sweeps" in line]
    assert len(said) == 1 and said[0].startswith("sgd(learning_rate=1e-06) has a lower final training loss than adam at 0 of 3")
    assert said == [line for line in ratio_lines(read_results(tmp_path / "out").ratios) if "problems and values" in line]


def test_the_json_of_a_report_is_that_of_the_score(folder):
    runner = click.testing.CliRunner()
    page = folder / "page.html"
    of_report = runner.invoke(report, [str(folder), "--out", str(page), "--json"], catch_exceptions=False)
    of_score = runner.invoke(score, [str(folder), "--json"], catch_exceptions=False)
    assert json.loads(of_report.stdout) == json.loads(of_score.stdout)
