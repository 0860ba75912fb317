"""`l2o spec`: what it prints is a spec, tells every field, and its schema takes every spec that l2o ships."""

from __future__ import annotations

import json
import re

import pytest

from l2o_cli import yaml12
from l2o_cli.assets import configs
from l2o_cli.cli import COMMANDS
from l2o_cli.commands.spec import SPECS
from l2o_cli.spec import ComparisonSpec, MetaTraining
from l2o_cli.spec.model import Model
from l2o_cli.spec.reading import read_meta_training, read_request
from l2o_cli.spec.reference import as_rows, as_yaml
from l2o_cli.spec.schema import schema_of

LEAST = {
    "meta-train": {"optimizer": {"name": "hrnn"}, "problems": ["quadratic"]},
    "compare": {},
    "evaluate": {"problems": ["digits_mlp"]},
}
SHIPPED = sorted(configs().rglob("*.yaml"))


def read(model, path):
    return read_meta_training(path) if model is MetaTraining else read_request(model, path, {})


def all_shown(text):
    """What is printed, the lines in comments taken too."""
    return re.sub(r"^( *)#(?=\S)", r"\1", text, flags=re.MULTILINE)


def mappings(value):
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return ([value] if isinstance(value, dict) else []) + [inner for part in parts for inner in mappings(part)]


def sections(model=Model):
    return [one for cls in model.__subclasses__() for one in (cls, *sections(cls))]


def words(text):
    return " ".join(re.findall(r"[\w.]+", text))


@pytest.mark.parametrize("command", SPECS)
def test_what_is_printed_is_the_spec_of_all_defaults(command, tmp_path):
    path, least = tmp_path / "spec.yaml", tmp_path / "least.yaml"
    path.write_text(as_yaml(SPECS[command]))
    least.write_text(yaml12.write(LEAST[command]))
    assert read(SPECS[command], path) == read(SPECS[command], least)


def test_every_field_of_every_section_is_printed():
    printed = [set(one) - {"extends"} for model in SPECS.values() for one in mappings(yaml12.parse(all_shown(as_yaml(model))))]
    assert len(sections()) > 15
    for section in sections():
        assert set(section.model_fields) in printed, section


@pytest.mark.parametrize("command", SPECS)
def test_every_field_has_its_meaning_and_kind_above_it(command):
    lines = as_yaml(SPECS[command]).splitlines()
    rows = as_rows(SPECS[command])
    names = [match[1] for line in lines if (match := re.match(r" *#?(\w+):(?: |$)", line))]
    assert names == [row["field"].rpartition(".")[2] for row in rows]
    told, above = iter(rows), []
    for line in lines:
        if line.lstrip().startswith("# "):
            above.append(line.lstrip(" #"))
        elif re.match(r" *#?\w+:(?: |$)", line):
            row, said = next(told), words(" ".join(above))
            assert row["description"] and row["type"]
            # Where choices are explained, what kind the field is stands between them.
            assert words(row["description"]) in said.replace("one of these required ", "").replace("one of these ", ""), row
            assert words(row["type"]) in said or "one of these" in said
            assert ("required" in said.split()) >= row["required"]
            above = []
        elif line.strip() not in ("", "-", "#-"):
            above = []


def fault(value, schema, whole):
    """Where a value is not as a JSON schema says, "" if it is: of what our schemas are made of."""
    known = {"$ref", "anyOf", "type", "enum", "properties", "additionalProperties", "required", "items", "minItems", "if", "then"}
    known |= {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "pattern", "not"}
    assert schema.keys() <= known | {"default", "description", "examples", "$schema", "title", "$defs"}, schema.keys()
    if "$ref" in schema:
        return fault(value, whole["$defs"][schema["$ref"].removeprefix("#/$defs/")], whole)
    if "anyOf" in schema and all(faults := [fault(value, one, whole) for one in schema["anyOf"]]):
        return max(faults, key=len)
    kinds = {
        "integer": int,
        "number": (int, float),
        "string": str,
        "boolean": bool,
        "array": list,
        "object": dict,
        "null": type(None),
    }
    kind = schema.get("type")
    if kind and (not isinstance(value, kinds[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return f": no {kind}"
    if value not in schema.get("enum", [value]):
        return ": none of them"
    if isinstance(value, int | float) and (
        value < schema.get("minimum", value)
        or value > schema.get("maximum", value)
        or value <= schema.get("exclusiveMinimum", value - 1)
        or value >= schema.get("exclusiveMaximum", value + 1)
    ):
        return ": out of bounds"
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        return ": another pattern"
    if isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            return ": too short"
        parts = [(index, part, schema.get("items", {})) for index, part in enumerate(value)]
    elif isinstance(value, dict):
        conditional = "if" in schema and not fault(value, schema["if"]["not"], whole)
        required = schema.get("required", []) + ([] if conditional else schema.get("then", {}).get("required", []))
        if lacking := set(required) - value.keys():
            return f".{lacking.pop()}: missing"
        fields, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        if others is False and (unknown := value.keys() - fields.keys()):
            return f".{unknown.pop()}: unknown"
        parts = [(name, part, fields.get(name, others if isinstance(others, dict) else {})) for name, part in value.items()]
    else:
        parts = []
    found = ((name, fault(part, inner, whole)) for name, part, inner in parts)
    return next((f".{name}{wrong}" for name, wrong in found if wrong), "")


SCHEMAS = {command: schema_of(model, command) for command, model in SPECS.items()}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_schema_takes_what_l2o_ships(path):
    content = yaml12.read(path)
    schema = SCHEMAS["compare" if content.keys() & {"sweeps", "baselines"} else "meta-train"]
    assert fault(content, schema, schema) == ""


@pytest.mark.parametrize("command", SPECS)
def test_the_schema_takes_what_is_printed(command):
    schema = SCHEMAS[command]
    text = as_yaml(SPECS[command])
    assert fault(yaml12.parse(text), schema, schema) == fault(yaml12.parse(all_shown(text)), schema, schema) == ""


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("{}", ".optimizer: missing|.problems: missing"),
        ("{extends: quick, optimizer: {options: {attention: true}}}", ""),
        ("{extends: quick, objective: [{of: final}, {weight: 0.5}], horizon: {growth: {over: 5}}}", ""),
        ("{extends: quick, objective: {of: final, imitation: {teacher: adam}}}", ""),
        ("{extends: quick, objective: {off: final}}", ".objective.off: unknown"),
        ("{extends: quick, meta_steps: 0}", ".meta_steps: out of bounds"),
        ("{extends: quick, ema: '0.9'}", ".ema: no number"),
        ("{extends: quick, estimator: {name: ess}}", ".estimator.name: none of them"),
        ("{extends: quick, problems: [{options: {}}]}", ".problems.0.ensemble: missing|.problems.0.name: missing"),
        ("{extends: quick, problems: [quadratic, {ensemble: real-data, only: [mnist*]}]}", ""),
        ("{extends: quick, problems: [3]}", ".problems.0: no string|.problems.0: no object"),
        ("{extends: quick, meta_optimizer: {schedule: {kind: cosin}}}", ".meta_optimizer.schedule.kind: none of them"),
    ],
)
def test_the_schema_tells_right_from_wrong(text, wrong):
    assert fault(yaml12.parse(text), SCHEMAS["meta-train"], SCHEMAS["meta-train"]) in wrong.split("|")


@pytest.mark.parametrize("command", SPECS)
def test_the_schema_tells_every_field_by_the_names_of_people(command):
    schema = SCHEMAS[command]
    properties = [field for section in (schema, *schema["$defs"].values()) for field in fields_in(section)]
    assert len(properties) >= len(as_rows(SPECS[command])) and all(field["description"] for field in properties)
    assert "Spec" not in json.dumps(schema) and all(re.fullmatch("[a-z_]+", name) for name in schema["$defs"])
    assert json.dumps(schema).count('"title"') == 1


def fields_in(section):
    return [*section.get("properties", {}).values(), *(field for one in section.get("anyOf", ()) for field in fields_in(one))]


def test_the_command(l2o):
    assert l2o("spec", "compare").stdout == as_yaml(ComparisonSpec)
    assert json.loads(l2o("spec", "meta-train", "--json").stdout) == as_rows(MetaTraining)
    assert json.loads(l2o("spec", "evaluate", "--schema").stdout)["title"] == "A spec of l2o evaluate"
    done = l2o("spec", "compare", "--schema", "--json")
    assert done.returncode == 2 and "exclude each other" in done.stderr
    done = l2o("spec", "export")
    assert done.returncode == 2 and "'export' is not one of 'meta-train', 'compare', 'evaluate'" in done.stderr
    assert SPECS.keys() < COMMANDS.keys()
