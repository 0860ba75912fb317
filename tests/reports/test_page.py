"""The report on a comparison: its numbers are those of `l2o score`, it needs nothing else, and nothing in it overlaps."""

import csv
import dataclasses
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml

from l2o_cli.errors import BadInput
from l2o_cli.files import file_name
from l2o_cli.reports.comparison.page import in_plain_words, write_comparison_report
from l2o_cli.reports.comparison.pictures import PICTURED, overall, pictured_problems, write_pictures
from l2o_cli.reports.comparison.printed import scores_as_json
from l2o_cli.reports.comparison.reported import reported_of
from l2o_cli.scoring.results_folder import read_results
from l2o_cli.scoring.statistics import Estimate
from l2o_cli.scoring.verdict import judge, ranking, verdict, verdicts
from tests.scoring.made_curves import made, write

NAMES = {"hrnn<&'\"": True, "adam": False, "adam (random:adam8p:20)": False}
PROBLEMS = ("digits_mlp", 'named "a<b>&c"', "negative", "alone")
VOID = ("meta", "path", "use", "br", "rect", "line", "circle")


def curves():
    """Several kinds of problems: with held-out data, with strange names, with negative losses, without one optimizer."""
    rng = np.random.default_rng(0)
    for place, problem in enumerate(PROBLEMS):
        for order, optimizer in enumerate(NAMES):
            for seed in range(5):
                losses = 2 * np.exp(-np.linspace(0, 2 + order, 13)) * np.exp(0.1 * rng.standard_normal(13))
                if problem == "negative":
                    losses -= 1.5
                if problem == 'named "a<b>&c"' and order == 2 and seed > 1:
                    losses[7:] = np.nan
                if problem == "alone" and order == 2:
                    continue
                held_out = losses + 0.1 if place == 0 else None
                yield made(losses, optimizer=optimizer, problem=problem, seed=seed, validation=held_out)


def write_table(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def make_results(folder):
    """As `l2o compare` leaves them."""
    folder.mkdir(parents=True)
    write(folder, list(curves()))
    pairs = [(problem, name) for problem in PROBLEMS for name in NAMES]
    trials = {"adam": 15, "adam (random:adam8p:20)": 20}
    rows = [{"problem": one, "optimizer": name, "trials": trials.get(name, 0)} for one, name in pairs]
    write_table(folder / "scores.csv", [{**row, "hyperparameters": "learning_rate=0.03 beta_1=0.9"} for row in rows])
    tried = [(one, name, seed) for one, name in pairs if name in trials for seed in range(2 * trials[name])]
    write_table(
        folder / "tuning.csv", [{"problem": one, "optimizer": name, "tier": "sweep", "seed": seed} for one, name, seed in tried]
    )
    record = {
        "command": "compare",
        "request": {"problems": [*PROBLEMS, "never run"], "select": "final_train_loss", "seeds": [0, 1, 2, 3, 4]},
        "problems": {one: {"source": f"data of {one}"} for one in PROBLEMS},
        "optimizers": {name: {"source": "published", "learned": learned} for name, learned in NAMES.items()},
        "environment": {"l2o": "9.8.7", "cpu_cores": 2},
        "tuning": [{"problem": "digits_mlp", "optimizer": "adam", "problems": 1, "edge": "high"}],
    }
    (folder / "compare.yaml").write_text(yaml.safe_dump(record, sort_keys=False))
    (folder / "spec.yaml").write_text("command: compare\n")
    return folder


class Page(HTMLParser):
    """Tags that are balanced, tables as text, and what the page asks for."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.words, self.tables = [], [], [], [], []
        self.feed(text)
        assert self.open == []
        self.text = " ".join("".join(self.words).split())

    def handle_starttag(self, name, attributes):
        self.tags.append(name)
        self.attributes += attributes
        if name not in VOID:
            self.open.append(name)
        if name == "table":
            self.tables.append([])
        elif name == "tr":
            self.tables[-1].append([])
        elif name in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, name, attributes):
        self.tags.append(name)
        self.attributes += attributes

    def handle_endtag(self, name):
        if name not in VOID:
            assert self.open.pop() == name

    def handle_data(self, data):
        self.words.append(data)
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += data if self.open[-1] != "small" else f" {data}"

    def table(self, *heading):
        """The rows of the first table with these headings in front."""
        return next(table[1:] for table in self.tables if tuple(table[0][: len(heading)]) == heading)


@pytest.fixture(scope="module", name="results")
def _results(tmp_path_factory):
    """A folder with its report, which takes some seconds."""
    folder = make_results(tmp_path_factory.mktemp("page") / "a comparison")
    return folder, write_comparison_report(read_results(folder))


@pytest.fixture(scope="module", name="page")
def _page(results):
    return Page((results[0] / "report.html").read_text())


def test_it_needs_nothing_else(results, page):
    text = (results[0] / "report.html").read_text()
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    asked = [value for name, value in page.attributes if name in ("src", "href", "xlink:href", "data", "action")]
    ids = [value for name, value in page.attributes if name == "id"]
    assert asked and len(ids) == len(set(ids)) and set(asked) <= {f"#{one}" for one in ids}
    assert not re.search(r"(https?:)?//|@import|url\((?!#)", text)
    assert "default-src 'none'" in dict(page.attributes)["content"] or "default-src 'none'" in text
    for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        xml.etree.ElementTree.fromstring(svg.replace("xlink:", ""))


def test_the_answer_is_that_of_the_scores(results, page):
    scoring = read_results(results[0]).scoring
    for said in (verdict(scoring), *verdicts(scoring)):
        assert said.plain in page.text and said.statistics in page.text
    # By another loss another one may be ahead, which must be said.
    by_validation = judge(dataclasses.replace(scoring, measure="final_validation_loss"), *ranking(scoring)[:2]).text
    assert "final validation loss" in by_validation and by_validation.split("]. ")[0] in page.text
    assert in_plain_words(scoring, "adam (random:adam8p:20)", "adam") in page.text


def test_the_tables_have_the_numbers_of_the_json(results, page):
    content = json.loads(scores_as_json(read_results(results[0])))
    medians = {(row["problem"], row["optimizer"]): row for row in content["problems"]}
    rows = page.table("problem", *NAMES)
    assert [row[0] for row in rows] == list(PROBLEMS)
    for problem, *cells in rows:
        least = min(row["final_train_loss"] for key, row in medians.items() if key[0] == problem and row["final_train_loss"])
        for name, cell in zip(NAMES, cells, strict=True):
            row = medians.get((problem, name))
            if row is None:
                assert cell == "-"
                continue
            value = row["final_train_loss"]
            shown = "diverged" if value is None else f"{value:.4g}"
            star = "★ " if value == least else ""
            assert cell == star + shown + (f" {row['diverged']} of {row['runs']} diverged" if row["diverged"] else "")
            assert row["best"] == bool(star)
    overall = {row["optimizer"]: row for row in content["optimizers"]}
    shown = {row[0].removesuffix(" (best of 15 rates)"): row for row in page.table("optimizer", "best on")}
    for name, row in overall.items():
        speedup = f"{row['speedup_steps']:.2f} [{row['speedup_steps_low']:.2f}, {row['speedup_steps_high']:.2f}]"
        assert shown[name][1] == str(row["best_on"]) and shown[name][4].removeprefix("at least ") == speedup
        assert shown[name][6] == f"{row['profile_steps']:.2f}" and shown[name][8] == f"{row['diverged']}/{row['runs']}"
    pairs = {(row["optimizer"], row["other"]): row for row in content["pairs"] if row["measure"] == "final_train_loss"}
    (matrix,) = [table for table in page.tables if table[0][0] == "" and len(table[0]) == 4 and set(table[0][1:]) == set(NAMES)]
    for one, *cells in matrix[1:]:
        for other, cell in zip(matrix[0][1:], cells, strict=True):
            row = pairs.get((one, other))
            interval = row and Estimate(row["improvement"], row["improvement_low"], row["improvement_high"])
            assert cell == ("-" if one == other else f"{interval} {row['wins']:g} of {row['problems']} problems")


def test_what_it_cost_and_what_to_be_careful_about(page):
    assert page.table("optimizer", "tier") == [["adam", "sweep", "15", "120"], ["adam (random:adam8p:20)", "sweep", "20", "160"]]
    for said in (
        "runs spent on tuning280",
        "diverged runs3",
        "adam on digits_mlp: the chosen learning rate is at the high edge of those tried",
        'adam (random:adam8p:20) on named "a<b>&c", seed 2, after step 60',
        "speedup_steps leaves out: alone",
        "1 of 5 problems were not run: never run",
    ):
        assert said in page.text, said


def test_how_to_do_it_again(page):
    assert "l2o compare 'a comparison/spec.yaml' --out NEW" in page.text
    assert "l2o 9.8.7" in page.text and "cpu cores 2" in page.text
    assert ["problems", "digits_mlp", "data of digits_mlp"] in page.table("", "name", "source")


def test_each_picture_is_a_file_and_its_axes_say_what_they_show(results):
    _, (page, *files) = results
    assert page.name == "report.html"
    assert {file.suffix for file in files} == {".png", ".svg"} and len(set(files)) == len(files) == 2 * 11
    for file in files:
        content = file.read_bytes()
        assert content.startswith(b"\x89PNG") if file.suffix == ".png" else b"<svg" in content
    text = page.read_text()
    captions = re.findall(r"<figcaption[^>]*>(.*?)</figcaption>(<svg.*?</svg>)", text, re.DOTALL)
    labels = {
        "training loss": ("steps", "training loss"),
        "validation loss": ("steps", "validation loss"),
        "Probability of improvement": ("probability of improvement (0.5: a coin flip)",),
        "Improvement of": ("runs",),
        "Performance profile in seconds": ("seconds to the target / those of the fastest", "share of problems"),
        "Speed-up over adam in steps": ("share of the run's steps", "speed-up in steps"),
    }
    for name, expected in labels.items():
        svgs = [svg for caption, svg in captions if name in caption]
        assert svgs, name
        assert all(f">{label}<" in svg for svg in svgs for label in expected), name


def test_the_same_files_give_the_same_bytes(results, tmp_path):
    folder, page = results[0], results[1][0]
    again = make_results(tmp_path / folder.name)
    (other,) = write_comparison_report(read_results(again), out=again / "report.html")
    assert other.read_bytes() == page.read_bytes()
    reported = reported_of(read_results(again))
    files = write_pictures(reported, list(overall(reported))[:1], PROBLEMS[3:])
    assert len(files) == 4
    for file in files:
        assert file.read_bytes() == (folder / "pictures" / file.name).read_bytes()
    assert len(list((again / "pictures").iterdir())) == 4


def test_only_curves_are_needed(tmp_path):
    losses = {"ours": [2.0, 1.0, 0.5], "adam": [2.0, 1.5, 1.0]}
    write(tmp_path, [made(values, optimizer=name, seed=seed) for name, values in losses.items() for seed in (0, 1)])
    page, *files = write_comparison_report(read_results(tmp_path))
    assert len(files) == 14
    page = Page(page.read_text())
    assert "There is no record of what was asked" in page.text and "It is ahead of adam: " in page.text
    assert "Only 2 runs of an optimizer on a problem" in page.text and "spec.yaml" not in page.text


def test_sweeps_without_a_comparison(l2o, tmp_path):
    facts = {"name": "width", "over": "width", "problem": "digits_mlp", "seeds": [0], "values": [8, 32], "steps": [10, 10]}
    facts["optimizers"] = {"ours": {"learned": True, "meta_trained": None}, "adam": {"learned": False, "meta_trained": None}}
    (tmp_path / "sweeps.yaml").write_text(yaml.safe_dump({"sweeps": [facts]}))
    columns = ("sweep", "optimizer", "value", "seed", "final_train_loss", "final_validation_loss", "step_milliseconds")
    rows = [("width", name, value, 0, 0.5, "", "") for name in facts["optimizers"] for value in facts["values"]]
    write_table(tmp_path / "sweeps.csv", [dict(zip(columns, row, strict=True)) for row in rows])
    result = l2o("report", tmp_path, "--out", tmp_path / "page.html", "--json")
    assert result.returncode == 0, result.stderr
    assert [one["reference"] for one in json.loads(result.stdout)["loss_ratios"]] == ["adam"]
    page = Page((tmp_path / "page.html").read_text())
    assert "digits_mlp: loss against width" in page.text and page.tags.count("figure") == 1


def test_one_optimizer_alone(tmp_path):
    write(tmp_path, [made([2.0, 1.0], optimizer="ours")])
    page = Page(write_comparison_report(read_results(tmp_path), out=tmp_path / "page.html")[0].read_text())
    assert page.tags.count("figure") == 1 and "verdict" not in dict(page.attributes).values()
    assert page.table("problem", "ours") == [["p", "★ 1"]]


@pytest.mark.filterwarnings("ignore:Glyph")
def test_names_stay_themselves_on_the_page_and_on_files(tmp_path):
    """Neither markup nor formulas nor characters that no font here has."""
    problem, optimizers = "損失 [b]x :zero: $\\frac$", ("$a$ [i]", "学習 <b> & :smile:")
    write(
        tmp_path, [made([2.0, 1.0 + seed], optimizer=name, problem=problem, seed=seed) for name in optimizers for seed in (0, 1)]
    )
    write_comparison_report(read_results(tmp_path))
    page = Page((tmp_path / "report.html").read_text())
    assert all(name in page.text for name in (problem, *optimizers))
    assert {path.name for path in (tmp_path / "pictures").iterdir()} >= {f"{problem}.png", f"{problem}.svg"}


def test_the_measure_is_the_one_that_was_selected(tmp_path):
    folder = make_results(tmp_path / "results")
    record = yaml.safe_load((folder / "compare.yaml").read_text())
    for select, measure in (
        ("final_validation_loss", "final_validation_loss"),
        ("mean_log_train_loss", "mean_log_train_loss"),
        ("final_test_loss", "final_train_loss"),  # which nothing has
    ):
        record["request"]["select"] = select
        (folder / "compare.yaml").write_text(yaml.safe_dump(record))
        assert reported_of(read_results(folder)).scoring.measure == measure
    assert reported_of(read_results(folder, measure="final_train_loss")).scoring.measure == "final_train_loss"
    (folder / "compare.yaml").write_text("- 1\n")
    with pytest.raises(BadInput, match=r"compare\.yaml: expected a record"):
        reported_of(read_results(folder))
    (folder / "compare.yaml").write_text("a: [\n")
    with pytest.raises(BadInput, match=r"compare\.yaml, line 2: not YAML"):
        reported_of(read_results(folder))


def test_of_many_problems_the_most_telling_are_pictured(tmp_path):
    runs = [
        made([1.0, 0.1 if name == "b" else 0.1 * 2.0 ** (place - 15)], optimizer=name, problem=f"p{place}", seed=seed)
        for place in range(30)
        for name in ("a", "b")
        for seed in (0, 1)
    ]
    problems, why = pictured_problems(reported_of(read_results(write(tmp_path, runs))))
    assert problems == [f"p{place}" for place in (*range(6), *range(24, 30))] and len(problems) == PICTURED
    assert "furthest ahead" in why


def test_files_of_pictures_have_names_of_their_own(tmp_path):
    taken = {"probability"}
    kept = ["a(b)", "a[b]", "é", "手書き数字", "损失", ":zero:", "quadratic(dimension=2)+rescale(low=0.3,per=tensor)"]
    assert [file_name(title, taken) for title in kept] == kept
    others = [
        "probability",
        "A(b)",
        "a/b",
        "a\nb",
        "x" * 300,
        "x" * 301,
        "字" * 100,
        "字" * 101,
        "..",
        "/",
        "e\u0301",
        "\ud800",
    ]
    names = [*kept, *(file_name(title, taken) for title in others)]
    assert len({name.casefold() for name in names}) == len(names)
    for name in names:
        assert len(f".{name}.12345678.tmp.png".encode()) <= 143 + 14 and not name.startswith((".", "-"))
        (tmp_path / f"{name}.svg").touch()
    assert len(list(tmp_path.iterdir())) == len(names)


def test_only_reports_are_replaced(tmp_path):
    write(tmp_path, [made([2.0, 1.0])])
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(BadInput, match="is not a report"):
        write_comparison_report(read_results(tmp_path))


def test_the_command(l2o, tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    write(folder, [made([2.0, 1.0], optimizer=name, seed=seed) for name in ("a", "b") for seed in (0, 1)])
    result = l2o("report", folder, "--json", "--out", tmp_path / "page.html")
    assert result.returncode == 0, result.stderr
    assert result.stderr == f"wrote {tmp_path / 'page.html'}\n"
    assert json.loads(result.stdout) == json.loads(l2o("score", folder, "--json").stdout)
    assert [path.name for path in folder.iterdir()] == ["curves.csv"]
    result = l2o("report", folder)
    count = len(list((folder / "pictures").glob("*.png")))
    assert f"wrote {folder / 'pictures'}/ ({count} pictures, as PNG and SVG)\nwrote {folder / 'report.html'}\n" == result.stdout
    for wrong, message in ((tmp_path / "gone", "no such directory"), (tmp_path, "neither spec.yaml")):
        result = l2o("report", wrong)
        assert result.returncode == 2 and message in result.stderr


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium")
def test_a_browser_has_nothing_to_complain_of(results, tmp_path):
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--window-size=390,2000"]
    result = subprocess.run(
        [*command, f"--user-data-dir={tmp_path}", "--dump-dom", (results[0] / "report.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "</html>" in result.stdout
    assert "CONSOLE" not in result.stderr
