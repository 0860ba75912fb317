"""What is in the wheel works without the checkout."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The content of the wheel, unpacked alone."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder), str(ROOT)]
    subprocess.run(build, check=True, cwd=folder, timeout=300)
    (wheel,) = folder.glob("l2o-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def run(installed, *arguments):
    """Python with the unpacked wheel in front of everything, anywhere but in the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=installed.parent, env=environment, capture_output=True, text=True, timeout=300)


def test_nothing_but_the_packages(installed):
    names = {path.name for path in installed.iterdir()}
    assert names == {"l2o_cli", "problems", next(name for name in names if name.endswith(".dist-info"))}
    assert not list(installed.rglob("*.pyc"))


def test_license_and_entry_point(installed):
    (info,) = installed.glob("*.dist-info")
    assert "Apache License" in (info / "licenses" / "LICENSE").read_text()
    assert "l2o = l2o_cli.cli:main" in (info / "entry_points.txt").read_text()


@pytest.mark.parametrize("folder", ["configs", "checkpoints"])
def test_assets_are_found_inside(installed, folder):
    code = f"from l2o_cli import assets; print(assets.{folder}())"
    result = run(installed, "-c", code)
    assert result.stdout.strip() == str(installed / "l2o_cli" / "_assets" / folder), result.stderr
    files = {path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file()}
    assert files
    for file in files:
        assert (installed / "l2o_cli" / "_assets" / file).read_bytes() == (ROOT / file).read_bytes()


def test_data_are_found_inside(installed):
    shipped = {path.name for path in (installed / "l2o_problems" / "data").iterdir()}
    assert {path.name for path in (ROOT / "problems" / "l2o_problems" / "data").glob("*.npz")} | {"NOTICE.md"} <= shipped
    result = run(installed, "-c", "import l2o_problems.data as d; print(d.__file__); d.load('mnist'); d.load('digits')")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(str(installed))


def test_the_template_of_reports_is_found_inside(installed):
    assert (installed / "l2o_cli" / "reporting" / "template.html").is_file()


def test_command_runs(installed):
    result = run(installed, "-m", "l2o_cli", "problems", "--json")
    assert result.returncode == 0, result.stderr
    assert "mnist_conv" in {row["name"] for row in json.loads(result.stdout)}
