"""What `l2o optimizers` says."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from l2o_cli.catalog import optimizers as catalog
from l2o_cli.cli import cli
from l2o_cli.errors import BadInput
from l2o_cli.optimizers import OPTIMIZERS


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_rule_is_described(name):
    description = catalog.describe(catalog.find(name), cost=False)
    assert description["rule"] == name and description["learned"] == OPTIMIZERS[name].learned
    sizes = [int(np.prod(shape)) for shape in description["weights"].values()]
    assert description["weight_count"] == sum(sizes) > 0
    # The docstring of a dataclass that has none is its signature.
    assert not description["description"].startswith(OPTIMIZERS[name].__name__ + "(")
    text = catalog.text_of(json.loads(json.dumps(description)))
    assert OPTIMIZERS[name].summary in text and "bytes per parameter" in text


def test_state_per_parameter():
    bytes_of = {name: catalog.describe(catalog.find(name), cost=False)["state_bytes_per_parameter"] for name in ("sgd", "adam")}
    assert bytes_of == {"sgd": 0, "adam": 8}
    lean = catalog.describe(catalog.find("adam+low_precision"), cost=False)
    assert lean["state_bytes_per_parameter"] == 4
    # Rows and columns of the two kernels, 9 n x n and n x (n - 2), and the biases, of 10 n^2 parameters.
    units, factored = 316, catalog.describe(catalog.find("adafactor"), cost=False)
    numbers = (9 * units + units) + (units + units - 2) + 2 * units
    assert factored["state_bytes_per_parameter"] == pytest.approx(4 * numbers / (10 * units**2))


def test_options_and_transformations_are_named():
    result = CliRunner().invoke(cli, ["optimizers", "adamw(weight_decay=0.1)+schedule(kind=linear)", "--no-cost"])
    assert result.exit_code == 0
    assert "weight_decay   0.1 (default 0.004)" in result.stdout
    assert "schedule: Each step" in result.stdout and "kind      linear" in result.stdout
    assert "schedule/warmup    scalar" in result.stdout


def test_what_is_said_of_an_update_needs_an_optimizer():
    for option in ("--no-cost", "--cost", "--quiet"):
        with pytest.raises(BadInput, match=f"^{option} goes with NAME$"):
            CliRunner().invoke(cli, ["optimizers", option], catch_exceptions=False, standalone_mode=False)


def test_options_are_written_as_a_spec_and_a_command_line_take_them():
    description = catalog.describe(catalog.find("hrnn"), cost=False)
    text = catalog.text_of(description)
    assert "attention              false" in text and "rate_change_limit      1 (default null)" in text
    assert list(description["weights"]) == sorted(description["weights"])
    for option, value in (("attention", "false"), ("rate_change_limit", "null")):
        catalog.find(f"hrnn({option}={value}):untrained")


def test_an_update_is_timed_beside_adams(monkeypatch):
    monkeypatch.setattr(catalog, "UPDATE_SIZES", (40, 160))
    result = CliRunner().invoke(cli, ["optimizers", "sgd", "--json"])
    costs = json.loads(result.stdout)["update"]
    assert [cost["parameters"] for cost in costs] == [40, 160]
    assert all(cost["milliseconds"] > 0 and cost["adams"] > 0 for cost in costs)
    assert "timing one update of 40 parameters" in result.stderr
