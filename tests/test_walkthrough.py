"""The README and the tutorial as a newcomer reads them: their commands run in order and print what the pages show.

A line that is shown stands for one with other numbers, and `…` for any text; lines between those shown are left out.
"""

import csv
import importlib.util
import math
import re
import shlex
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "docs" / "examples"
PAGES = {"README": (ROOT / "README.md").read_text(), "tutorial": (ROOT / "docs" / "tutorial.md").read_text()}
NUMBER = r"-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?"


def steps(page):
    """The commands of a page with the lines that it shows of their output."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def pattern(line):
    """What matches a line that is shown, its numbers and the width of its columns being others."""
    parts = re.split(rf"({NUMBER}|…|\s+)", line.strip())
    as_they_are = {"…": ".*"}
    return "".join(
        as_they_are.get(part) or (r"\s+" if part.isspace() else NUMBER if re.fullmatch(NUMBER, part) else re.escape(part))
        for part in parts
        if part
    )


def missing(shown, printed):
    """The lines shown that were not printed, or not in this order."""
    left = iter([line.strip() for line in printed.splitlines()])
    return [line for line in shown if not any(re.fullmatch(pattern(line), one) for one in left)]


def medians(folder):
    """{optimizer: its median final training loss}."""
    losses = {}
    with (folder / "scores.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            losses.setdefault(row["optimizer"], []).append(float(row["final_train_loss"]))
    return {name: statistics.median(those) for name, those in losses.items()}


@pytest.fixture(name="walk")
def _walk(tmp_path, l2o_in):
    """`walk("README")` runs the commands of a page in an empty folder, which it returns with {command: what it printed}."""

    def walk(name):
        printed = {}
        for command, shown in steps(PAGES[name]):
            program, *arguments = shlex.split(command)
            if program == "l2o":
                done = l2o_in(tmp_path, *arguments, timeout=1200)
            else:
                assert program == "python" and not arguments[0].startswith("-")
                shutil.copy(EXAMPLES / arguments[0], tmp_path)
                done = subprocess.run(
                    [sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=1200, check=False
                )
            assert done.returncode == 0, f"{command}\n{done.stderr}"
            printed[command] = done.stdout + done.stderr
            assert missing(shown, done.stdout) == [] or missing(shown, done.stderr + done.stdout) == [], printed[command]
            for line in re.findall(r"^wrote (\S+\.\w+)$", printed[command], re.MULTILINE):
                assert (tmp_path / line).stat().st_size > 0
        return tmp_path, printed

    for file in ("phase.py", "phase.yaml"):
        shutil.copy(EXAMPLES / file, tmp_path)
    return walk


def test_the_pages_show_commands_with_what_they_print():
    assert [len(steps(page)) for page in PAGES.values()] == [5, 11]
    assert all(shown for page in PAGES.values() for _, shown in steps(page))
    assert len(re.sub(r"!\[.*?\]\(.*?\)", "", PAGES["README"]).split()) < 700


def test_the_files_of_the_tutorial_are_those_beside_it():
    blocks = re.findall(r"```(?:python|yaml)\n(.*?)```", PAGES["tutorial"], re.DOTALL)
    assert blocks == [(EXAMPLES / name).read_text() for name in ("spirals.py", "phase.py", "phase.yaml")]


def test_links_lead_somewhere():
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize(
    "shown, printed",
    [
        (["loss 0.016"], "loss 1.7e-05"),
        (["a  12 …", "wrote x.html"], "plan\na     7    0/5\nb 3\nwrote x.html\n"),
        (["1.3 times as fast …"], "2.5 times as fast but slower"),
    ],
)
def test_other_numbers_are_no_difference(shown, printed):
    assert missing(shown, printed) == []


@pytest.mark.parametrize("shown, printed", [(["loss 0.016"], "loss nan"), (["a", "b"], "b\na"), (["a lower"], "a higher")])
def test_other_words_are_a_difference(shown, printed):
    assert missing(shown, printed)


@pytest.mark.slow
def test_the_readme_does_what_it_shows(walk):
    folder, printed = walk("README")
    assert len(printed) == 5
    losses = medians(folder / "runs" / "digits")
    assert max(losses["tensor_rnn"], losses["hrnn"]) < losses["adam"] < losses["rmsprop"]
    assert "beats adam" in printed[next(iter(printed))]


@pytest.mark.slow
def test_the_tutorial_does_what_it_shows(walk):
    folder, printed = walk("tutorial")
    losses = medians(folder / "runs" / "before-after")
    assert losses["first"] < 0.1 * losses["first:untrained"]
    losses = medians(folder / "runs" / "against-adam")
    assert losses["tensor_rnn"] < losses["first"] < losses["adam"]
    losses = dict(re.findall(r"^(\w+): loss (\S+)$", printed["python spirals.py"], re.MULTILINE))
    assert float(losses["first"]) < 0.2 * float(losses["adam"]) and float(losses["tensor_rnn"]) < 0.2 * float(losses["adam"])
    losses = medians(folder / "runs" / "both")
    assert losses["second"] < 1e-3 < 1 < losses["first"]


@pytest.mark.slow
def test_meta_training_by_hand(capsys):
    """A quarter of it: the untrained rule does not train, the trained one does."""
    spec = importlib.util.spec_from_file_location("by_hand", EXAMPLES / "meta_train_by_hand.py")
    by_hand = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(by_hand)
    before, after, adam = by_hand.main(restarts=11).values()
    assert after < 0.3 < 1 < before and 0 < adam < 0.3 and math.isfinite(before)
    lines = capsys.readouterr().out.splitlines()
    first, last = (float(line.split()[-1]) for line in lines if line.startswith("restart"))
    assert last < first - 1 and len(lines) == 5
