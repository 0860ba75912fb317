"""Specs with faults in them, as typing, copying and malice make them: each is one short line, or means what it says.

`L2O_MUTANTS=1000` tries as many.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import time
from pathlib import Path

import pytest

from l2o_cli import yaml12
from l2o_cli.assets import configs
from l2o_cli.cli import describe
from l2o_cli.errors import BadInput
from l2o_cli.spec import ComparisonSpec, to_yaml
from l2o_cli.spec.reading import read_meta_training, read_request
from l2o_cli.spec.text import read_yaml

MUTANTS = int(os.environ.get("L2O_MUTANTS", "150"))
PARTS = 10  # tests that they are divided among
ESCAPED = "surrogateescape"  # bytes that are no text
SECONDS = 5.0  # for each, of the processor
LINE = 300  # characters of what a user is shown, "l2o: error: " in front

# More often those that are read fast.
SPECS = (
    ["quick"] * 8
    + ["hrnn"] * 6
    + ["robustness"] * 3
    + ["scale"] * 2
    + ["transfer"]
    + ["ablations/base", "ablations/attention", "wichrowska2017"]
)
HUGE = ["1e9", "1e12", "1000000000", "1e300", "1e999", "-1", "-1e-3", "0", "1e-320", "9" * 400, "-" + "9" * 5000, "0x" + "f" * 40]
ODD = [
    ".inf",
    "-.inf",
    ".nan",
    "true",
    "on",
    "~",
    "''",
    "'3'",
    "1:30",
    "010",
    "0o17",
    "2020-01-01",
    "!!str 1",
    "!!set {a}",
    "!x y",
]
KINDS = [
    "[]",
    "{}",
    "[1, 2]",
    "{a: 1}",
    "[[[1]]]",
    "{uniform: [0, .inf]}",
    "{log_uniform: [0, 1]}",
    "{integer: [5, 1]}",
    "'\\u0007'",
]
LONG = ["x" * 5000, '"' + "é" * 400 + '"', "[" + "1, " * 5000 + "1]", '"\\e[31mred"', "'" + "a b " * 500 + "'"]


def bomb(width=9, levels=12):
    lines = ["k0: &k0 [x]"] + [f"k{n}: &k{n} [{', '.join([f'*k{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines)


def in_value(rng, text, replacement):
    """Another value in the place of one of those after a colon, or within a list."""
    places = list(re.finditer(r"(?<=: )[^\s,{}\[\]#]+|(?<=[\[ ])[\d.e-]+(?=[,\]])", text))
    if not places:
        return text
    place = rng.choice(places)
    return text[: place.start()] + replacement(place[0]) + text[place.end() :]


def of_bytes(rng, text):
    content = bytearray(text.encode(errors=ESCAPED))
    for _ in range(rng.randint(1, 5)):
        place = rng.randrange(len(content))
        kind = rng.randrange(3)
        if kind == 0:
            content[place] = rng.randrange(256)
        elif kind == 1:
            content.insert(place, rng.randrange(256))
        else:
            del content[place]
    return content.decode(errors=ESCAPED)


def of_lines(rng, text):
    lines = text.splitlines()
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(5)
    if kind == 0:
        del lines[one]
    elif kind == 1:
        lines.insert(other, lines[one])
    elif kind == 2:
        lines[one], lines[other] = lines[other], lines[one]
    elif kind == 3:
        lines[one] = " " * rng.randint(1, 3) + lines[one]
    else:
        lines = lines[:one]
    return "\n".join(lines)


def of_values(rng, text):
    return in_value(rng, text, lambda old: rng.choice([*ODD, *KINDS, *LONG]))


def of_numbers(rng, text):
    def larger(old):
        number = re.fullmatch(r"[\d.]+(e-?\d+)?", old)
        return f"{float(old) * 10 ** rng.randint(2, 14):.0f}" if number and rng.random() < 0.6 else rng.choice(HUGE)

    return in_value(rng, text, larger)


def of_settings(rng, text):
    """What people change, and may well be right."""
    return in_value(rng, text, lambda old: f"{2 * float(old):g}" if re.fullmatch(r"[\d.]+(e-?\d+)?", old) else old)


def of_keys(rng, text):
    places = list(re.finditer(r"\b\w+(?=:)", text))
    if not places:
        return text
    place = rng.choice(places)
    key = place[0]
    wrong = [
        key[:-1],
        key + "s",
        key.upper(),
        "",
        "1",
        "true",
        "~",
        "<<",
        f"{key}: 1, {key}",
        "? [a]",
        "x" * 3000,
        '"\\e[0m"',
        "extends",
    ]
    return text[: place.start()] + rng.choice(wrong) + text[place.end() :]


def of_nesting(rng, text):
    depth = rng.choice([2, 10, 49, 60, 1000, 20_000])
    begin, end = rng.choice([("[", "]"), ("{a: ", "}"), ("- ", ""), ("{problems: [", "]}")])
    return in_value(rng, text, lambda old: begin * depth + old + end * depth)


def of_aliases(rng, text):
    name = rng.choice(["optimizer", "problems", "objective", "truncation", "label", "anything"])
    kind = rng.randrange(5)
    if kind == 0:
        return f"{bomb(rng.randint(2, 9), rng.randint(3, 20))}\n{text}"
    if kind == 1:
        return in_value(rng, text, lambda old: "&a [*a]")
    if kind == 2:
        return in_value(rng, text, lambda old: "*nowhere")
    if kind == 3:
        return text + f"\n{name}: &{name} {{<<: *{name}}}\n"
    anchored = in_value(rng, text, lambda old: f"&one {old}")
    return in_value(rng, anchored, lambda old: "*one")


MUTATIONS = [
    of_settings,
    of_settings,
    of_settings,
    of_bytes,
    of_lines,
    of_values,
    of_values,
    of_numbers,
    of_numbers,
    of_keys,
    of_nesting,
    of_aliases,
]


def mutant(seed):
    """(name of the spec, its content with one to three faults)."""
    rng = random.Random(seed)
    name = rng.choice(SPECS)
    text = (configs() / f"{name}.yaml").read_text()
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        text = rng.choice(MUTATIONS)(rng, text)
    return name, text.encode(errors=ESCAPED)


def read(path, name):
    return read_request(ComparisonSpec, path, {}) if name in ("robustness", "scale", "transfer") else read_meta_training(path)


def assert_stated(shown, meant, place=""):
    """Every value that a spec states is that of the field of the same name; short forms have no such field."""
    if isinstance(shown, dict) and isinstance(meant, dict):
        for key in shown.keys() & meant.keys():
            assert_stated(shown[key], meant[key], f"{place}.{key}")
    elif isinstance(shown, list) and isinstance(meant, list):
        for index, (one, other) in enumerate(zip(shown, meant, strict=False)):
            if len(shown) == len(meant):
                assert_stated(one, other, f"{place}.{index}")
    elif not isinstance(shown, dict | list) and not isinstance(meant, dict | list):
        assert shown == meant and isinstance(shown, bool) == isinstance(meant, bool), place


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("mutants")
    shutil.copy(configs() / "ablations" / "base.yaml", made / "base.yaml")
    return made


@pytest.mark.parametrize("part", range(PARTS))
def test_each_is_one_short_line_or_means_what_it_says(folder: Path, part):
    accepted = refused = 0
    for seed in range(part, MUTANTS, PARTS):
        name, content = mutant(seed)
        path = folder / "mutant.yaml"
        path.write_bytes(content)
        began = time.process_time()
        try:
            spec = read(path, name)
        except BadInput as error:
            line, code = describe(error)
            assert code == 2 and len(f"l2o: error: {line}") < LINE and line.isprintable() and str(path.parent) in line, (
                seed,
                line,
            )
            refused += 1
        else:
            if "extends" not in read_yaml(path):
                assert_stated(yaml12.read(path), spec.model_dump(mode="json"), str(seed))
            (folder / "again.yaml").write_text(to_yaml(spec))
            assert read(folder / "again.yaml", name) == spec, seed
            accepted += 1
        assert time.process_time() - began < SECONDS, (seed, name)
    assert refused and accepted
