"""What is printed on terminals: text as it is, and tables that keep whole names."""

import os
import pty
import re
import subprocess
import sys

import pytest
from rich.cells import cell_len

from l2o_cli.terminal import plain_console, print_table

LONG = "conv_net(channels=[16,16,16],strides=[2,2,1])+rescale(per=tensor)"
HEADINGS = ("problem", "optimizer", "final\ntrain loss", "steps to target")
ROWS = [
    (LONG, "adam", "0.25", "10"),
    (LONG, "hrnn(initial_rate=[0.001,0.003])", "0.125", "never"),
    (":zero:", "手書き", "1", "2"),
]


def on_a_terminal(code, columns):
    """What a process prints on a terminal of so many columns."""
    parent, child = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=child, env=environment, stdin=child)
    os.close(child)
    said = b""
    while True:
        try:
            part = os.read(parent, 4096)
        except OSError:
            break
        if not part:
            break
        said += part
    os.close(parent)
    assert process.wait() == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", said.decode()).replace("\r\n", "\n").splitlines()


def table_on_a_terminal(columns):
    return on_a_terminal(f"from l2o_cli.terminal import print_table; print_table({HEADINGS!r}, {ROWS!r}, names=2)", columns)


def test_a_narrow_terminal_has_names_on_lines_of_their_own():
    assert table_on_a_terminal(80) == [
        "       final",
        "  train loss  steps to target",
        LONG,
        "  adam",
        "        0.25               10",
        "  hrnn(initial_rate=[0.001,0.003])",
        "       0.125            never",
        ":zero:",
        "  手書き",
        "           1                2",
    ]


def test_a_very_narrow_terminal_has_a_line_for_each_number():
    assert table_on_a_terminal(24)[:4] == [LONG, "  adam", "    final train loss: 0.25", "    steps to target: 10"]


def test_a_wide_terminal_has_a_line_for_each_row():
    first, second, *rows = table_on_a_terminal(200)
    assert second.split() == ["problem", "optimizer", "train", "loss", "steps", "to", "target"] and first.strip() == "final"
    assert [row.split() for row in rows] == [list(row) for row in ROWS]
    assert len({cell_len(row) for row in rows}) == 1  # numbers end in one column, whatever names are written in


def test_what_is_piped_is_whole_however_narrow_the_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    print_table(HEADINGS, ROWS, names=2)
    heading, *rows = capsys.readouterr().out.splitlines()
    assert "final train loss" in heading and [row.split() for row in rows] == [list(row) for row in ROWS]


def test_tabs_and_ends_of_lines_in_names_keep_the_table(capsys):
    print_table(HEADINGS, [*ROWS, ("a\tb\nc", "sgd", "1", "2")], names=2)
    rows = capsys.readouterr().out.splitlines()[1:]
    assert rows[-1].startswith("a b c ") and len(rows) == 4 and len({cell_len(row) for row in rows}) == 1


@pytest.mark.parametrize("text", [":zero: [bold]x[/bold] [/] 漢字", "a" * 300, "1:2:smile: http://x"])
def test_text_stays_itself(capsys, text):
    plain_console().print(text)
    assert capsys.readouterr().out == text + "\n"


def test_listings_leave_nothing_out():
    rows = [
        {"label": LONG * 2, "summary": "some words " * 20, "weight": 1.0},
        {"label": "[x]:zero:", "summary": "-", "weight": 2.0},
    ]
    lines = on_a_terminal(f"from l2o_cli.commands.listing import print_listing; print_listing({rows!r}, False)", 80)
    assert max(map(cell_len, lines)) <= 80 and "…" not in "".join(lines) and "[x]:zero:" in "".join(lines)
    first = "".join(line[:40].rstrip() for line in lines[1:-1])
    assert first == LONG * 2 and " ".join(lines).count("words") == 20


TEXT = "Wide networks: it takes steps that are far too long for them."


def test_facts_and_lists_are_broken_between_words_on_a_narrow_terminal():
    facts, texts = {"a name": TEXT, "b": "2"}, [TEXT]
    code = f"from l2o_cli.terminal import *; print_facts('one two', {facts!r}); print_list('three', {texts!r})"
    broken = ["Wide networks: it takes steps that", "are far too long for them."]
    lines = ["one two", "  a name", *(f"    {line}" for line in broken), "  b       2", ""]
    assert on_a_terminal(code, 38) == [*lines, "three", f"  - {broken[0]}", f"    {broken[1]}", ""]
    whole = ["one two", f"  a name  {TEXT}", "  b       2", "", "three", f"  - {TEXT}", ""]
    assert on_a_terminal(code, 100) == whole
    piped = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "38"}
    )
    assert piped.stdout.splitlines() == whole
