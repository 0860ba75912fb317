"""The report on a run: what it computes, what it draws, and that the page needs nothing else."""

import csv
import json
import re
import shutil
import xml.etree.ElementTree
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import yaml
from l2o_problems.adam_table import adam_row
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from l2o_cli.errors import BadInput, Failure
from l2o_cli.files import locked
from l2o_cli.meta.run_directory import RunDirectory
from l2o_cli.meta.run_tables import read_run, read_table, summary
from l2o_cli.reports.drawing import FIRST, INK, SECOND
from l2o_cli.reports.html import TITLE, check_place, number, short_titles
from l2o_cli.reports.meta_training import page as report
from l2o_cli.reports.meta_training import plots as report_plots
from l2o_cli.reports.meta_training.page import page
from l2o_cli.reports.meta_training.validation import validation
from l2o_cli.spec import MetaTraining
from l2o_cli.spec.names import make_problem
from l2o_cli.terminal import duration

HEALTHY = Path(__file__).parents[1] / "meta" / "healthy_run.csv"  # of `l2o meta-train quick`, titles shortened
SPEC = {
    "seed": 7,
    "meta_steps": 300,
    "optimizer": {"name": "hrnn", "options": {"absolute_rate": True}},
    "problems": [{"name": "quadratic"}, {"name": "cluster_mlp"}, {"name": "random_mlp"}],
    "truncation": {"distribution": "log_uniform", "minimum": 10, "maximum": 50},
    "horizon": {"distribution": "exponential", "scale": 100, "maximum": 500},
    "objective": {"terms": [{"scale": "log"}]},
    "validation": {"problems": [{"name": "digits_mlp"}], "every": 100, "steps": 1000},
    "record": {
        "l2o": "0.1.0",
        "tensorflow": "2.21.0",
        "data": {"quadratic": "synthetic", "digits_mlp": make_problem("digits_mlp").source},
    },
}


def write_rows(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def scores(problems=("digits_mlp",), objectives=(-1.0, -3.0, -2.0)):
    return [
        {"meta_step": 100 * (index + 1), "problem": problem, "objective": value, "final_ratio": 0.1 / (index + 1), "diverged": 0}
        for index, value in enumerate(objectives)
        for problem in problems
    ]


def make_run(path):
    """A finished run, as one is written."""
    (path / "artifact").mkdir(parents=True)
    (path / "spec.yaml").write_text(yaml.safe_dump(SPEC))
    shutil.copy(HEALTHY, path / "metrics.csv")
    write_rows(path / "validation.csv", scores())
    return path


@pytest.fixture(name="folder")
def _folder(tmp_path):
    return make_run(tmp_path / "run")


@pytest.fixture(scope="module", name="text")
def _text(tmp_path_factory):
    """The report on a finished run, which takes a second or two."""
    return page(read_run(make_run(tmp_path_factory.mktemp("report") / "a run")))


class Page(HTMLParser):
    """Tags that are balanced, and what a page says and asks for."""

    VOID = ("meta", "path", "use", "br", "rect", "image", "line", "circle")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.words = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, name, attributes):
        self.tags.append(name)
        self.attributes += attributes
        if name not in self.VOID:
            self.open.append(name)

    def handle_startendtag(self, name, attributes):
        self.tags.append(name)
        self.attributes += attributes

    def handle_endtag(self, name):
        if name not in self.VOID:
            assert self.open.pop() == name

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    @property
    def pictures(self):
        return self.tags.count("svg")


def pictures(text):
    """Each picture of a page, as XML."""
    return [xml.etree.ElementTree.fromstring(svg.replace("xlink:", "")) for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]


def test_the_page_needs_nothing_else(text):
    whole = Page(text)
    assert "script" not in whole.tags and "link" not in whole.tags and "img" not in whole.tags
    asked = [value for name, value in whole.attributes if name in ("src", "href", "xlink:href", "data", "action")]
    assert asked and all(value.startswith("#") for value in asked)
    assert not re.search(r"(https?:)?//|@import|url\((?!#)", text)
    ids = [value for name, value in whole.attributes if name == "id"]
    assert len(ids) == len(set(ids)) and set(asked) <= {f"#{one}" for one in ids}
    assert len(pictures(text)) == whole.pictures


def test_the_page_says_what_was_trained_and_how_it_went(text):
    said = Page(text).text
    assert "300 of 300" in said and "finished" in said and "91,422" in said and "tensorflow 2.21.0" in said
    assert re.search(r"l2o meta-train '/[^']*/a run/spec\.yaml' --out NEW", said)  # quoted for the shell
    assert "-3 at 200" in said  # the best validation, not the last
    assert "None: no meta-gradient stayed" in said and "there is no horizons.csv" in said
    for axis in ("meta-steps", "log(loss / initial loss)", "inner steps/s", "truncation (inner steps)", "learning rate"):
        assert axis in said, axis


def painted(element, colour="black"):
    """(colour, text) of all text in a picture; colours are inherited."""
    own = re.search(r"(?:^|[; ])fill: ?([^;]+)", element.get("style", ""))
    colour = own[1] if own else element.get("fill", colour)
    if (element.text or "").strip():
        yield colour, element.text
    for child in element:
        yield from painted(child, colour)


def test_text_and_axes_follow_the_colours_of_the_page(text):
    assert INK not in text
    labels = [label for picture in pictures(text) for label in painted(picture)]
    assert len(labels) > 100 and {colour for colour, _ in labels} == {"currentColor"}
    colours = set(re.findall(r"#[0-9a-f]{6}", "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))))
    assert colours == {FIRST, SECOND}


def test_the_numbers(folder):
    rows = read_table(HEALTHY)
    numbers = summary(read_run(folder))
    json.dumps(numbers, allow_nan=False)
    assert numbers["state"] == "finished" and numbers["meta_steps"] == numbers["meta_steps_of"] == 300
    assert numbers["inner_steps"] == 91422 and numbers["compile_seconds"] is None and numbers["warnings"] == []
    assert numbers["best_validation"] == {"meta_step": 200, "objective": -3.0}
    assert numbers["validation"] == {"digits_mlp": {"objective": -2.0, "final_ratio": 0.1 / 3, "diverged": 0}}
    seconds = {row["meta_step"]: row["seconds"] for row in rows}
    assert numbers["seconds"] == pytest.approx(sum(seconds.values()), abs=0.1)
    speed = [sum(row["inner_steps"] for row in rows if row["meta_step"] == step) / seconds[step] for step in seconds]
    assert numbers["inner_steps_per_second"] == pytest.approx(np.median(speed), abs=0.1)
    losses = np.array([row["meta_loss"] for row in rows if row["problem"] == "quadratic"])
    norms = np.array([row["gradient_norm"] for row in rows if row["problem"] == "quadratic"])
    family = numbers["families"]["quadratic"]
    assert family["draws"] == len(losses) == 154
    assert family["meta_loss_first"] == pytest.approx(losses[:20].mean())
    assert family["meta_loss_last"] == pytest.approx(losses[-20:].mean())
    assert (family["gradient_norm_median"], family["gradient_norm_greatest"]) == (np.median(norms), norms.max())
    last = [entry["meta_loss_last"] for entry in numbers["families"].values()]
    assert last == sorted(last, reverse=True)


def test_values_that_are_not_finite_are_null_in_json(folder):
    rows = read_table(HEALTHY)
    rows[0]["gradient_norm"] = float("inf")
    write_rows(folder / "metrics.csv", rows)
    write_rows(folder / "validation.csv", scores(objectives=(float("nan"), float("inf"))))
    numbers = summary(read_run(folder))
    json.dumps(numbers, allow_nan=False)
    assert numbers["families"]["cluster_mlp"]["gradient_norm_greatest"] is None
    assert numbers["best_validation"]["objective"] is None


def test_what_is_not_finite_or_not_positive_can_be_drawn():
    values = [1.0, float("nan"), float("inf"), 0.0, -5.0, 1e29]
    for log in (False, True):
        assert len(pictures(report_plots.curves(range(6), [("norm", values, log)]))) == 1
    (picture,) = pictures(report_plots.curves([1, 2], [("norm", [0.0, float("nan")], True)]))
    assert "no finite values" in [label for _, label in painted(picture)]


def test_horizons_diagnostics_and_warnings_are_shown_where_there_are_any(folder, text):
    write_rows(folder / "horizons.csv", [{"meta_step": step, "problem": "quadratic", "horizon": 50 + step} for step in range(99)])
    rows = [row | {"estimator_variance_es": 0.5, "compile_seconds": 0.25} for row in read_table(HEALTHY)]
    rows = [row | ({"mean_norm": 1e9} if row["meta_step"] > 200 else {}) for row in rows]
    write_rows(folder / "metrics.csv", rows)
    after = Page(page(read_run(folder)))
    assert after.pictures == Page(text).pictures + 2
    assert "horizon (inner steps)" in after.text and "variance es" in after.text and "99 draws, median 99" in after.text
    assert "meta-step 210: norm of the combined meta-gradient 1e+09" in after.text
    numbers = summary(read_run(folder))
    assert numbers["compile_seconds"] == 75
    assert [(warning["kind"], warning["meta_step"]) for warning in numbers["warnings"]] == [("explosion", 210)]


def test_an_older_run_that_was_killed(folder):
    """Columns are missing, the last row is half written, and there is no validation yet."""
    known = ("meta_step", "problem", "truncation", "meta_loss", "gradient_norm", "inner_steps", "seconds")
    rows = [{name: row[name] for name in known} for row in read_table(HEALTHY)[:41]]
    write_rows(folder / "metrics.csv", rows)
    with (folder / "metrics.csv").open("a") as file:
        file.write("21,quadratic,30,-0.5,0.1,180,0.0")
    (folder / "validation.csv").unlink()
    (folder / "artifact").rmdir()
    spec = {name: value for name, value in SPEC.items() if name not in ("record", "horizon")} | {"objective": {"log": False}}
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec))
    run = read_run(folder)
    assert run.meta_steps == 21 and len(run.metrics) == 41 and run.state == "not finished"
    said = Page(page(run)).text
    assert f"l2o meta-train --resume --out {folder}" in said and "21 of 300" in said
    assert "loss / initial loss" in said and "log(loss" not in said


def test_a_run_that_goes_on(folder):
    (folder / "artifact").rmdir()
    with locked(folder / ".lock") as alone:
        assert alone and read_run(folder).state == "running"
    assert read_run(folder).state == "not finished"


def section(folder):
    """What the section on validation says."""
    return Page("".join(validation(read_run(folder)))).text


def test_tuned_adam_is_drawn_only_where_it_is_comparable(folder):
    row = adam_row(make_problem("digits_mlp"))
    assert row.steps == 1000
    level = "tuned Adam, other instances"
    same = section(folder)
    assert level in same and number(row.final_loss / row.initial_loss) in same and "not drawn" not in same
    spec = SPEC | {"validation": SPEC["validation"] | {"steps": 500}}
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec))
    shorter = section(folder)
    assert level not in shorter and "not drawn where validation's runs of 500 steps" in shorter
    assert number(row.final_loss / row.initial_loss) in shorter
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec | {"objective": {"terms": [{"scale": "adam"}]}}))
    scaled = section(folder)
    assert "best loss of tuned Adam" in scaled and level not in scaled


def test_tuned_adam_is_that_of_the_same_problem_and_data(folder):
    """Whatever a problem is called, and whatever data lie on the machine that writes the report."""
    nothing = "None of these problems is in the table of tuned Adam"
    renamed = {**SPEC["validation"], "problems": [{"name": "quadratic", "label": "digits_mlp"}]}
    elsewhere = {**SPEC["record"], "data": {"digits_mlp": "UCI handwritten digits 8x8, other ones"}}
    own = {**SPEC["validation"], "problems": [{"name": "nowhere.py:Mine", "label": "digits_mlp"}]}
    assert nothing not in section(folder)
    for changed in ({"validation": renamed}, {"record": elsewhere}, {"validation": own}):
        (folder / "spec.yaml").write_text(yaml.safe_dump(SPEC | changed))
        assert nothing in section(folder)


def test_a_hundred_families_stay_readable(folder, monkeypatch):
    monkeypatch.setattr(report, "PICTURED", 3)
    rng = np.random.default_rng(0)
    titles = [f"quadratic(dimension={index},condition=<{index}>)+gradient_noise(deviation={index}.25)" for index in range(132)]
    rows = [
        {"meta_step": step, "problem": titles[step % 132], "truncation": 20, "meta_loss": rng.normal(), "gradient_norm": 1.0}
        for step in range(1, 600)
    ]
    write_rows(folder / "metrics.csv", rows)
    text = page(read_run(folder))
    whole = Page(text)
    assert whole.pictures < 12 and "Curves of the 3 of 132" in whole.text
    shown = {value for name, value in whole.attributes if name == "title"}
    assert set(titles) <= shown
    assert "<7>" not in text  # escaped


def test_short_titles():
    long = "cluster_mlp(hidden=[16],inputs=20,classes=6)+rescale(low=0.3,high=3,per=tensor)"
    titles = ["quadratic(dimension=20)", long, long.replace("tensor", "parameter"), "x" * 90]
    short = short_titles(titles)
    assert short["quadratic(dimension=20)"] == "quadratic(dimension=20)"
    assert short[long].startswith("cluster_mlp(hidden=[16]") and short[long].endswith("+rescale(…)")
    assert len(set(short.values())) == 4
    assert all(len(value) <= TITLE + 4 for value in short.values())


def test_numbers_for_people():
    assert [number(value) for value in (1234567.0, 0.00012345, float("nan"), None, float("inf"), -3.14159)] == [
        "1,234,567",
        "0.000123",
        "-",
        "-",
        "infinite",
        "-3.14",
    ]
    assert [duration(value) for value in (3.4, 75, 7265)] == ["3 s", "1 min 15 s", "2 h 1 min"]


def test_running_means():
    values = np.random.default_rng(1).normal(size=200)
    values[[3, 50]] = np.nan
    expected = [np.nanmean(values[max(0, index - 5) : index + 6]) for index in range(200)]
    np.testing.assert_allclose(report_plots.smoothed(values), expected, rtol=1e-12)
    assert np.isnan(report_plots.smoothed(np.full(4, np.inf))).all()


def test_thinning_keeps_the_extremes():
    x = np.arange(5000.0)
    y = np.sin(x / 300)
    y[1234], y[4321], y[10] = 50.0, -60.0, np.nan
    short_x, short_y = report_plots.thinned(x, y)
    assert len(short_x) <= 300 and np.all(np.diff(short_x) > 0)
    assert short_y.max() == 50 and short_y.min() == -60
    np.testing.assert_array_equal(short_y, y[short_x.astype(int)])


@pytest.mark.parametrize("logarithmic", [False, True])
def test_every_length_is_counted_once(logarithmic):
    lengths = np.random.default_rng(2).integers(10, 500, 2000)
    edges = report_plots.bin_edges(lengths, logarithmic)
    counts, _ = np.histogram(lengths, edges)
    assert counts.sum() == 2000 and counts.min() > 0 and np.all(edges == np.round(edges))
    np.testing.assert_array_equal(report_plots.bin_edges([7.0, 7.0], logarithmic), [7, 8])


def test_what_is_no_run(tmp_path, folder):
    with pytest.raises(BadInput, match="gone: not the directory of a meta-training run: no such directory"):
        read_run(tmp_path / "gone")
    with pytest.raises(BadInput, match=r"no spec\.yaml in it"):
        read_run(tmp_path)
    (folder / "metrics.csv").write_text("meta_step,problem,meta_loss\n1,quadratic,abc\n")
    with pytest.raises(BadInput, match=r"metrics\.csv, line 2: meta_loss: expected a number, found 'abc'"):
        read_run(folder)
    for content in ("meta_step,problem,meta_loss\n", ""):
        (folder / "metrics.csv").write_text(content)
        with pytest.raises(Failure, match=r"metrics\.csv: nothing to report yet"):
            read_run(folder)


def test_only_reports_are_replaced(folder, text):
    out = folder / "report.html"
    check_place(out)
    out.write_text(text)
    check_place(out)
    for other in (folder / "spec.yaml", folder):
        with pytest.raises(BadInput, match="is not a report"):
            check_place(other)


def test_the_command(l2o, folder):
    result = l2o("report", folder, "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["meta_steps"] == 300
    assert result.stderr == f"wrote {folder / 'report.html'}\n"
    assert Page((folder / "report.html").read_text()).pictures > 5


def test_tensorboard_gets_numbers_and_histograms(tmp_path):
    directory = RunDirectory.create(tmp_path / "run", MetaTraining.model_validate(SPEC))
    with directory.in_use():
        directory.events.write_values(3, {"meta_loss": -1.5}, {"average/kernel": tf.constant([0.0, 1.0, 1.0, 4.0])})
    events = EventAccumulator(str(tmp_path / "run" / "events"), {"tensors": 0}).Reload()
    (loss,), (kernel,) = events.Scalars("meta_loss"), events.Tensors("average/kernel")
    assert (loss.step, loss.value) == (3, -1.5)
    buckets = tf.make_ndarray(kernel.tensor_proto)  # rows of (left edge, right edge, count)
    assert kernel.step == 3 and buckets[0, 0] == 0 and buckets[-1, 1] == 4 and buckets[:, 2].sum() == 4
