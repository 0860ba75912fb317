"""`l2o spec`."""

from __future__ import annotations

import json

import click

from l2o_cli.errors import BadInput
from l2o_cli.spec import ComparisonSpec, EvaluationSpec, MetaTraining

SPECS = {"meta-train": MetaTraining, "compare": ComparisonSpec, "evaluate": EvaluationSpec}


@click.command(
    epilog="""\b
Examples:
  l2o spec meta-train
  l2o spec compare > mine.yaml
  l2o spec meta-train --schema > meta-train.schema.json
"""
)
@click.argument("command", metavar="COMMAND", type=click.Choice(list(SPECS)))
@click.option("--schema", is_flag=True, help="Print a JSON schema, by which editors complete and check specs.")
@click.option("--json", "as_json", is_flag=True, help="Print the fields as JSON.")
def spec(command, schema, as_json):
    """Show every field of the specs that COMMAND takes (meta-train, compare or evaluate): its meaning, its kind and its default.

    What is printed is itself such a spec: all fields are at their defaults, and what has none is an example. Sections and entries
    of lists that are not among the defaults stand in comments. A section that may be in several places is told once.

    \b
    With --schema > meta-train.schema.json, editors that use yaml-language-server complete and check a spec
    beside that file which begins with the line
      # yaml-language-server: $schema=meta-train.schema.json

    --json prints a list of objects: field (as in `problems[].name`), type, required, default, description, and fields_as, the
    field whose fields it has too.
    """
    from l2o_cli.spec.reference import as_rows, as_yaml
    from l2o_cli.spec.schema import schema_of

    if schema and as_json:
        raise BadInput("--schema and --json exclude each other")
    model = SPECS[command]
    if schema:
        click.echo(json.dumps(schema_of(model, f"A spec of l2o {command}"), indent=2))
    elif as_json:
        click.echo(json.dumps(as_rows(model), indent=2))
    else:
        click.echo(as_yaml(model), nl=False)
