"""A JSON schema of a spec, for editors: what may be written, where that is more than what is read."""

from __future__ import annotations

from typing import Any

from l2o_cli.spec.fields import fields_of, name_of
from l2o_cli.spec.model import Model
from l2o_cli.spec.objectives import Objective, Term
from l2o_cli.spec.reference import homes_in
from l2o_cli.spec.text import EXTENDS

Schema = dict[str, Any]
_DIALECT = "http://json-schema.org/draft-07/schema#"  # which editors know best


def schema_of(model: type[Model], title: str) -> Schema:
    """The schema of a spec, its sections under `$defs` by the names that people give them."""
    made = _plain(model.model_json_schema())
    sections = made.pop("$defs", {})
    for section in _laid_over(model):
        sections[name_of(section)].pop("required", None)
    for section in homes_in(model):
        if section.shorthand:
            sections[name_of(section)] = _with_shorthand(section, sections)
    required = made.pop("required", [])
    made["properties"] = {"extends": {"type": "string", "description": EXTENDS}, **made["properties"]}
    whole = {"if": {"not": {"required": ["extends"]}}, "then": {"required": required}} if required else {}
    return {"$schema": _DIALECT, "title": title, **made, **whole, "$defs": dict(sorted(sections.items()))}


def _plain(schema: Any, names: bool = False) -> Any:
    """Pydantic's schema without its titles, the classes by their names for people.

    Args:
        names: whether the keys are names of fields or sections.
    """
    if isinstance(schema, list):
        return [_plain(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {}
    for key, part in schema.items():
        if key == "$ref":
            plain[key] = f"#/$defs/{name_of(part.rpartition('/')[2])}"
        elif key == "description":
            plain[key] = " ".join(part.split())
        elif key in ("default", "examples", "enum"):
            plain[key] = part
        elif names or key != "title":
            plain[name_of(key) if names and key[0].isupper() else key] = _plain(
                part, not names and key in ("properties", "$defs")
            )
    return plain


def _laid_over(model: type[Model]) -> set[type[Model]]:
    """The sections that may extend those of another spec, and so lack any field: those that are in no list."""
    found: set[type[Model]] = set()
    for field in fields_of(model):
        for section in field.sections if not field.kind.entry else ():
            found |= {section} | _laid_over(section)
    return found


def _with_shorthand(section: type[Model], sections: dict[str, Schema]) -> Schema:
    """The schema of a section that may also be written in short: as a text, or an objective as its terms."""
    own = dict(sections[name_of(section)])
    about = own.pop("description")
    if section is not Objective:
        return {"description": about, "anyOf": [own, {"type": "string"}]}
    fields = sections[name_of(Term)]["properties"].items()
    term = {name: {key: part for key, part in field.items() if key != "default"} for name, field in fields}
    one_or_more = {**own, "properties": {**term, **own["properties"]}}
    return {"description": about, "anyOf": [one_or_more, {"type": "array", "items": {"$ref": f"#/$defs/{name_of(Term)}"}}]}
