"""What the documentation shows of specs is read: blocks of YAML, `--set` and `name(option=value)`, in pages and in help texts."""

from __future__ import annotations

import importlib
import re
import shutil
from pathlib import Path

import click
import pytest
from l2o_problems.registry import PROBLEMS
from l2o_problems.transforms import TRANSFORMS

from l2o_cli import cli, yaml12
from l2o_cli.assets import configs
from l2o_cli.errors import BadInput
from l2o_cli.export.resolve import resolve
from l2o_cli.optimizers import OPTIMIZERS
from l2o_cli.optimizers.transforms import TRANSFORMS as OF_OPTIMIZERS
from l2o_cli.runs.batches import check_setting
from l2o_cli.spec import ComparisonSpec, EvaluationSpec, MetaTraining, parse_part
from l2o_cli.spec.lengths import Lengths
from l2o_cli.spec.meta_optimizers import MetaOptimizer
from l2o_cli.spec.meta_training import Estimator
from l2o_cli.spec.names import make_problem
from l2o_cli.spec.reading import read_meta_training, read_request

ROOT = Path(__file__).resolve().parents[2]
PAGES = {str(path.relative_to(ROOT)): path.read_text() for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))}
PLACEHOLDERS = re.compile(r"a\.b=|A\.B=|^[A-Z]|=[A-Z]|\.\.")

BASE = """
optimizer: {name: hrnn}
problems: [quadratic]
validation: {problems: [quadratic]}
"""
OF_STATES = ("nominal", "low_precision")  # which are shown around hrnn

# {section of a spec: the model whose fields a snippet of it has}; "" is a spec of meta-training itself.
SECTIONS = {"": MetaTraining, "meta_optimizer": MetaOptimizer, "truncation": Lengths, "estimator": Estimator}


def help_texts():
    for name in cli.COMMANDS:
        command = getattr(importlib.import_module(f"l2o_cli.commands.{name.replace('-', '_')}"), name.replace("-", "_"))
        options = [option.help or "" for option in command.params if isinstance(option, click.Option)]
        yield f"l2o {name}", "\n".join([command.help or "", command.epilog or "", *options])


TEXTS = PAGES | dict(help_texts())


def snippets(block):
    """A block as the specs that it shows: one, or several alternatives one after the other, which have keys in common."""
    parts, seen = [[]], set()
    for line in block.splitlines():
        key = re.match(r"([\w{][\w.]*)", line)
        if key and (key[1] in seen or key[1].startswith("{")):
            parts.append([])
            seen = set()
        if key:
            seen.add(key[1])
        parts[-1].append(line)
    return ["\n".join(part) for part in parts if any(line.strip() for line in part)]


SHOWN = [
    pytest.param(snippet, id=f"{page}-{number}")
    for page, text in PAGES.items()
    for number, snippet in enumerate(
        snippet for block in re.findall(r"^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE) for snippet in snippets(block)
    )
]


@pytest.mark.parametrize("snippet", SHOWN)
def test_a_spec_is_read(snippet, tmp_path):
    for file in (*(ROOT / "docs" / "examples").iterdir(), configs() / "ablations" / "base.yaml"):
        if file.is_file():
            shutil.copy(file, tmp_path)
    path = tmp_path / "spec.yaml"
    path.write_text(snippet)
    shown = yaml12.read(path)
    fields = shown.keys() - {"extends"}
    if {"optimizers", "baselines", "sweeps"} & fields:
        model = ComparisonSpec if fields <= ComparisonSpec.model_fields.keys() else EvaluationSpec
        assert read_request(model, path, {})
        return
    [section, *_] = [name for name, model in SECTIONS.items() if fields <= model.model_fields.keys()]
    content = {section: shown} if section else shown
    (tmp_path / "beneath.yaml").write_text(BASE)
    path.write_text(yaml12.write({"extends": "beneath.yaml"} | content))
    assert read_meta_training(path)


def settings():
    for place, text in TEXTS.items():
        for number, found in enumerate(re.findall(r"--set ([\w./]+=[^\s`,]+)", text)):
            if not PLACEHOLDERS.search(found):
                yield pytest.param(found, id=f"{place}-{number}")


@pytest.mark.parametrize("setting", list(settings()))
def test_a_setting_is_taken(setting):
    name, _, value = setting.rstrip(".;)").partition("=")
    if name.partition(".")[0] in MetaTraining.model_fields:
        assert read_meta_training(configs() / "quick.yaml", [f"{name}={value}"])
    else:
        check_setting(resolve("adam+clipping(norm=1.0)"), {name: float(value)})


def parts():
    known = PROBLEMS.keys() | TRANSFORMS.keys() | OPTIMIZERS.keys() | OF_OPTIMIZERS.keys()
    for place, text in TEXTS.items():
        found = re.findall(r"\b([a-z][a-z0-9_]*\((?:[a-z_0-9]+ ?= ?[^()`=]+)+\))", text)
        for number, part in enumerate(dict.fromkeys(found)):
            if part.partition("(")[0] in known and not PLACEHOLDERS.search(part):
                yield pytest.param(" ".join(part.split()), id=f"{place}-{number}")


@pytest.mark.parametrize("text", list(parts()))
def test_a_problem_an_optimizer_or_a_transformation_is_made(text):
    part = parse_part(text, "part")
    name = part["name"]
    if name in PROBLEMS:
        assert make_problem(name, part["options"])
    elif name in OPTIMIZERS:
        assert resolve(text + (":untrained" if OPTIMIZERS[name].learned else ""))
    elif name in OF_OPTIMIZERS:
        assert resolve(f"{'hrnn:untrained' if name in OF_STATES else 'adam'}+{text}")
    else:
        assert make_problem("digits_mlp", {}, [part])


def test_the_pages_show_specs():
    assert len(SHOWN) > 25 and len(list(settings())) >= 4 and len(list(parts())) > 15


@pytest.mark.parametrize("text", ["objective: {on: nowhere}", "meta_optimizer: {beta_1: 2}"])
def test_a_wrong_snippet_would_be_found(text, tmp_path):
    with pytest.raises(BadInput):
        test_a_spec_is_read(text, tmp_path)
