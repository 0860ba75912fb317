"""The command line: what it imports, how it fails, what it prints."""

import functools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import click
import click.testing
import pydantic
import pytest

from l2o_cli import cli
from l2o_cli.commands.requests import field_option
from l2o_cli.errors import BadInput, Failure

ROOT = Path(__file__).resolve().parent.parent


def error_line(result):
    """The only line on stderr."""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("l2o: error: ")
    return lines[0].removeprefix("l2o: error: ")


@pytest.fixture
def command(monkeypatch):
    """`command(function)` makes `l2o optimizers` call the function."""

    def install(function):
        stand_in = click.Command("optimizers", callback=function)
        monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: stand_in)
        monkeypatch.setattr(cli.runtime, "prepare", lambda debug, compiling: None)

    return install


def fail_with(error):
    def function():
        raise error

    return function


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom l2o_cli import cli\nassert cli.run(['--help']) == 0\n"
        "heavy = {'tensorflow', 'keras', 'pydantic', 'matplotlib', 'numpy', 'rich', 'distributed', 'l2o_cli.spec'}\n"
        "commands = {name for name in sys.modules if name.startswith('l2o_cli.commands')}\n"
        "print(sorted(heavy & set(sys.modules) | commands), file=sys.stderr)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stderr == "[]\n"
    for name in cli.COMMANDS:
        assert name in result.stdout


def test_commands_import_no_tensorflow_before_they_run():
    """Nor numpy, which begins threads: what is set before they are imported, and the fork, come after the options are read."""
    code = (
        "import sys\nfrom l2o_cli import cli\n"
        "for name in cli.COMMANDS:\n    assert cli.cli.get_command(None, name).params, name\n"
        "print(sorted({'tensorflow', 'keras', 'numpy', 'matplotlib', 'l2o_problems.base'} & set(sys.modules)))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


class Fields(pydantic.BaseModel):
    count: Annotated[pydantic.PositiveInt, pydantic.Field(le=9)] = pydantic.Field(3, description="how many")
    share: Annotated[float, pydantic.Field(ge=0, lt=1)] = pydantic.Field(0.5, description="of all")
    names: tuple[str, ...] = pydantic.Field(("a", "b"), description="which")
    kind: Literal["fast", "slow"] = pydantic.Field("fast", description="how")
    every: pydantic.PositiveInt | None = pydantic.Field(None, description="steps; null: a few")
    quiet_one: bool = pydantic.Field(True, description="say less")
    needed: str = pydantic.Field(description="what", examples=["this"])


def test_an_option_is_what_its_field_is():
    def show(**options):
        click.echo(json.dumps(options))

    names = {"names": ("--name", "-n"), "count": ("--count",)}
    for field in reversed(Fields.model_fields):
        show = field_option(Fields, field, *names.get(field, ()))(show)
    call = functools.partial(click.testing.CliRunner().invoke, click.command(show))
    defaults = {name: field.default for name, field in Fields.model_fields.items() if name != "needed"}
    assert json.loads(call([]).output) == defaults | {"names": ["a", "b"], "needed": None}
    given = json.loads(call("--name x -n y --kind slow --every 4 --no-quiet-one --needed z --share 0").output)
    assert given == {"count": 3, "share": 0, "names": ["x", "y"], "kind": "slow", "every": 4, "quiet_one": False, "needed": "z"}
    for wrong, said in (
        ("--count 10", "1<=x<=9"),
        ("--share 1", "0<=x<1"),
        ("--every 0", "x>=1"),
        ("--kind no", "'fast', 'slow'"),
    ):
        result = call(wrong)
        assert result.exit_code == 2 and said in result.output
    told = " ".join(call(["--help"]).output.split())
    for text in ("How many. [default: 3; 1<=x<=9]", "Steps. [default: (a few); x>=1]", "Which. [default: a, b]", "What. --help"):
        assert text in told


def test_every_command_exists_and_shows_an_example():
    context = click.Context(cli.cli)
    for name in cli.COMMANDS:
        found = cli.cli.get_command(context, name)
        assert isinstance(found, click.Command)
        texts = f"{found.help}\n{found.epilog}"
        assert f"l2o {name}" in texts, f"the help of {name} has no example"


def test_unknown_command_suggests_the_nearest(l2o):
    result = l2o("optimisers")
    assert result.returncode == 2
    assert error_line(result) == "unknown command 'optimisers'; did you mean 'optimizers'? (see l2o --help)"
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bogus"], "No such option '--bogus'"),
        (["optimizers", "--jsno"], "'--jsno'"),
        (["bench", "extra"], "Got unexpected extra argument (extra)"),
        (["xyz"], "unknown command 'xyz'; there are: meta-train"),
    ],
)
def test_usage_errors_are_one_line(arguments, message, capsys):
    assert cli.run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("l2o: error: ")
    assert message in err and "--help)" in err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (Failure("a.npz: damaged"), 1, "a.npz: damaged"),
        (BadInput("x.yaml: steps: must be positive"), 2, "x.yaml: steps: must be positive"),
        (FileNotFoundError(2, "No such file or directory", "/no/x.yaml"), 1, "/no/x.yaml: No such file or directory"),
        (OSError("disk on fire"), 1, "disk on fire"),
        (click.UsageError("Missing option '--problem'.\n  two lines"), 2, "Missing option '--problem'. two lines"),
        (ZeroDivisionError("by\nzero"), 1, "ZeroDivisionError: by zero; run with --debug for the traceback"),
    ],
)
def test_exit_codes_and_one_line_errors(error, code, line, command, capsys):
    command(fail_with(error))
    assert cli.run(["optimizers"]) == code
    err = capsys.readouterr().err
    assert err.startswith(f"l2o: error: {line}") and err.count("\n") == 1


def test_debug_shows_the_traceback_wherever_it_stands(command, capsys):
    command(fail_with(BadInput("no")))
    for arguments in (["--debug", "optimizers"], ["optimizers", "--debug"]):
        assert cli.run(arguments) == 2
        err = capsys.readouterr().err
        assert "Traceback (most recent call last)" in err and err.endswith("l2o: error: no\n")


def test_interruption(command, capsys):
    command(fail_with(KeyboardInterrupt()))
    assert cli.run(["optimizers"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_closed_output_is_quiet():
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run([sys.executable, "-m", "l2o_cli", "--help"], cwd=ROOT, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (result.returncode, result.stderr) == (1, b"")


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)], ids=str)
def test_streams_that_are_closed_from_the_start(closed, tmp_path):
    """What is written to them goes nowhere, and not into the first file that is opened."""
    code = (
        "import click, os, sys\nfrom l2o_cli import cli\n"
        "def write():\n"
        "    file = os.open('file', os.O_CREAT | os.O_WRONLY)\n"
        "    click.echo('said')\n    print('said', file=sys.stderr)\n    os.system('echo said; echo said >&2')\n"
        "    os.write(file, b'written')\n"
        "cli.LazyGroup.get_command = lambda *_: click.Command('optimizers', callback=write)\n"
        "raise SystemExit(cli.run(['optimizers']))\n"
    )
    shell = " ".join(f"{number}>&-" for number in closed)
    run = ["sh", "-c", f'"$0" -c "$1" {shell}', sys.executable, code]
    result = subprocess.run(run, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True)
    assert result.returncode == 0 and (tmp_path / "file").read_bytes() == b"written"


def test_interrupted_process_dies_at_once(tmp_path):
    """Ctrl-C reaches the whole group, the filter of stderr too: it must neither die first nor stay."""
    code = (
        "import click, time\nfrom l2o_cli import cli\n"
        "def wait():\n    click.echo('ready')\n    time.sleep(60)\n"
        "cli.LazyGroup.get_command = lambda *_: click.Command('optimizers', callback=wait)\n"
        "raise SystemExit(cli.run(['optimizers']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # What runs in the background of a script inherits an ignored SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err.strip() == "l2o: interrupted"
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_version(l2o):
    result = l2o("--version")
    assert result.returncode == 0 and result.stdout.startswith("l2o ") and result.stderr == ""


def test_lists_optimizers(l2o):
    result = l2o("optimizers", "--json")
    assert result.returncode == 0 and result.stderr == ""
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert rows["adam"]["learned"] is False and rows["adam"]["summary"] == "Adam (Kingma and Ba 2015)"
    assert rows["hrnn"]["learned"] is True
    published = sorted(path.parent.name for path in (ROOT / "checkpoints").glob("*/card.yaml"))
    assert sorted(name for row in rows.values() for name in row["checkpoints"]) == published


def test_lists_problems(l2o):
    result = l2o("problems", "--json")
    assert result.returncode == 0 and result.stderr == ""
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    quadratic = rows["quadratic"]
    assert (quadratic["parameters"], quadratic["tensors"], quadratic["minimum"]) == (20, 1, 0.0)
    assert quadratic["source"] == "synthetic"


def test_piped_listing_is_plain_columns(l2o):
    lines = l2o("optimizers").stdout.splitlines()
    assert lines[0].split() == ["name", "summary", "learned", "checkpoints"]
    assert [line.split()[0] for line in lines[1:]] == sorted(line.split()[0] for line in lines[1:])
    assert "\x1b" not in "".join(lines)
