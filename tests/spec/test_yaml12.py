"""YAML as people write it: what scalars mean, what is refused and where, and that what is written reads back."""

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l2o_cli import yaml12
from l2o_cli.errors import LONGEST_LINE, BadInput
from l2o_cli.spec import parse_part, part_text, split_outside

TEXTS = (
    "on",
    "off",
    "yes",
    "No",
    "y",
    "1:30",
    "190:20:30",
    "1_000",
    "2001-01-01",
    "tRUE",
    "=",
    "0b101",
    "0o8",
    "1e",
    "+.nan",
    ".",
)
VALUES = [
    *[(text, text) for text in TEXTS],
    *[(text, True) for text in ("true", "True", "TRUE")],
    *[(text, False) for text in ("false", "False", "FALSE")],
    *[(text, None) for text in ("~", "null", "Null", "NULL", "")],
    *[("010", 10), ("08", 8), ("+5", 5), ("-3", -3), ("0o17", 15), ("0x1F", 31), ("1" * 300, int("1" * 300))],
    *[("1e-3", 1e-3), ("1e5", 1e5), ("1E+20", 1e20), ("5.", 5.0), (".5e3", 500.0), ("-.inf", -math.inf), (".INF", math.inf)],
    *[("!!str 5", "5"), ("! 5", "5"), ("!!int '5'", 5), ("!!float 3", 3.0), ("'on'", "on"), ('"5"', "5"), ("!!null ''", None)],
    *[("[a, b: c]", ["a", {"b": "c"}]), ("{a, b: }", {"a": None, "b": None}), ("- &x [1]\n- *x", [[1], [1]])],
    *[("%YAML 1.2\n---\na: 1\n...\n", {"a": 1}), ("\ufeffa: 1", {"a": 1}), ("'<<': 1\non: 2", {"<<": 1, "on": 2})],
]


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_what_is_meant(text, value):
    meant = yaml12.parse(text)
    assert meant == value and type(meant) is type(value)


def test_nan_is_meant():
    assert math.isnan(yaml12.parse(".nan"))


@pytest.mark.parametrize(
    ("text", "line", "fault"),
    [
        ("a: 1\nb: 2\na: 3", 3, "'a' is there twice, in lines 1 and 3"),
        ("a:\n  b: 1\n  'b': 2", 3, "'b' is there twice, in lines 2 and 3"),
        ("a: 1\n1: x", 2, "a field's name must be a text, but is 1"),
        ("true: x", 1, "a field's name must be a text, but is True"),
        ("? [a, b]\n: 3", 1, "a field's name must be a text"),
        ("a: &a {x: 1}\nb:\n  <<: *a", 3, "merge keys"),
        ("a: 1\nb: [", 2, "not YAML"),
        ("a: 1\n---\nb: 2", 2, "a second document"),
        ("a: !mine 3", 1, "unknown tag '!mine'"),
        ("a: !!python/object:os.system x", 1, "unknown tag"),
        ("a: !!set {b}", 1, "unknown tag"),
        ("a: !!int x", 1, "'x' is no !!int"),
        ("a: *b", 1, "there is no &b before it"),
        ("a: &a [*a]", 1, "stands for what it is in itself"),
        ("a: 1\nb: " + "9" * 5000, 2, "a number of 5,000 digits"),
        ("a: 1e999", 1, "beyond the numbers"),
        ("a: 1e-999", 1, "beyond the numbers"),
        ("a: 1\nb: \x00", 2, "U\\+0000"),
        ("a: \x07", 1, "U\\+0007"),
        ("a: \ud800", 1, "U\\+D800"),
        ('a: "\\0"', 1, "U\\+0000"),
        ("[" * 100_000, 1, "50 levels"),
        ("- " * 100_000, 1, "50 levels"),
        ("{a: " * 100_000, 1, "50 levels"),
    ],
)
@pytest.mark.parametrize("parser", ["fast", "plain"])
def test_what_is_refused_and_where(monkeypatch, parser, text, line, fault):
    if parser == "plain":
        monkeypatch.setattr(yaml12, "_Parser", yaml12.yaml.SafeLoader)
    with pytest.raises(yaml12.YamlFault, match=fault) as error:
        yaml12.parse(text)
    assert error.value.line == line and "\n" not in str(error.value)


def bomb(levels=20):
    """A kilobyte that stands for 9^levels texts."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, levels)]
    return "\n".join(lines)


def test_an_alias_bomb_is_refused_at_once():
    began = time.process_time()
    with pytest.raises(yaml12.YamlFault, match="aliases counted each time"):
        yaml12.parse(bomb())
    assert time.process_time() - began < 1


def test_an_alias_is_a_value_of_its_own():
    content = yaml12.parse("a: &a {x: 1}\nb: *a")
    content["b"]["x"] = 2
    assert content["a"] == {"x": 1}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"a: 1\nb: \xff", "line 2: not a text file in UTF-8"),
        (b"\xff\xfea\x00", "not a text file in UTF-8"),
        (b"a: \x00", "line 1: not YAML: the character U\\+0000"),
        (b"a: [" + b"1, " * 3_000_000, "too large for a YAML file"),
        (None, "no such file"),
        ("folder", "cannot be read: Is a directory"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, content, fault):
    path = tmp_path / "spec.yaml"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput, match=fault) as error:
        yaml12.read(path)
    assert str(error.value).startswith(str(path)) and len(str(error.value)) <= LONGEST_LINE


STRINGS = [text for text, _ in VALUES] + [
    "a b",
    "#x",
    "<<",
    "x: y",
    "-",
    "é\u2028",
    "a\nb",
    "'",
    '"',
    "a,b",
    "(",
    "a+b",
    "\\",
    " a ",
]
WRITTEN = [
    1e-05,
    1e20,
    1.0,
    -0.0,
    1e-300,
    math.inf,
    10**30,
    0,
    True,
    False,
    None,
    [],
    {},
    ["a", ["b", {"c": None}]],
    {"on": 1, "5": 2},
]


@pytest.mark.parametrize("value", [*STRINGS, *WRITTEN, {"key": STRINGS, "<<": WRITTEN}])
def test_what_is_written_reads_back_the_same(value):
    content = {"key": value, "other": 3}
    assert yaml12.parse(yaml12.write(content)) == yaml12.parse(yaml12.write(content, unicode=True)) == content
    assert parse_part(part_text("name", content), "problem") == {"name": "name", "options": content}


SIGNS = st.sampled_from("*&!%@`?:-,[]{}()#|>\"'.~=<\\ \n\u2028\x85\ufeff01ex") | st.characters(codec="utf-8")
ODD = st.text(SIGNS, max_size=6).filter(lambda text: not yaml12._FORBIDDEN.search(text))


@settings(max_examples=300, deadline=None)
@given(ODD)
def test_whatever_text_is_written_on_a_line_reads_back_the_same(text):
    for value in (text, [text, text], {text: {"key": text}}):
        assert yaml12.parse(yaml12.flow(value)) == value
        assert parse_part(part_text("name", {"key": value}), "problem") == {"name": "name", "options": {"key": value}}


@pytest.mark.parametrize("text", ["...", "*", "*a", "&a", "!a", "%a", "@a", "`a", "\U0001f600\n"])
def test_no_text_is_taken_for_a_sign_of_yaml(text):
    assert yaml12.parse(yaml12.flow(text)) == text and yaml12.parse(yaml12.flow([text])) == [text]


def test_texts_of_options_stay_as_people_write_them():
    options = {"hidden": (16, 16), "activation": "relu", "low": 1e-05, "per": "tensor", "separable": True, "data": "a/b.c"}
    assert part_text("mlp", options) == "mlp(hidden=[16,16],activation=relu,low=1e-05,per=tensor,separable=True,data=a/b.c)"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a(b=1, b=2)", "option 'b' is given twice"),
        ("a(=1)", "'=1' is not option=value"),
        ("a(b=[)", "is not option=value: not YAML"),
        ("a(b=!x 1)", "is not option=value: unknown tag"),
        ("a(b=" + "9" * 5000 + ")", "a number of 5,000 digits"),
    ],
)
def test_what_is_wrong_in_a_text_of_options(text, fault):
    with pytest.raises(BadInput, match=fault) as error:
        parse_part(text, "problem")
    assert len(str(error.value)) <= LONGEST_LINE


def test_quotes_hide_separators_where_a_value_begins_alone():
    assert split_outside("a(b='x,y') , c", ",") == ["a(b='x,y')", "c"]
    assert split_outside("it's/a.py:B,it's/c.py:D", ",") == ["it's/a.py:B", "it's/c.py:D"]
