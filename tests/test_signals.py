"""Signals are answered in time, children end with their parent, and nothing of the current folder is imported by either.

Of processes without TensorFlow; `tests/kill_resume.py` does it with whole commands.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.sessions import processes_of

ROOT = Path(__file__).resolve().parent.parent

# SHA-256 in native code for minutes, in which Python runs no handler.
NATIVE = "import hashlib; hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"
BUSY = """
import sys, time
from l2o_cli import signals
signals.PATIENCE = 0.3
with signals.StopOnSignal(lambda: "saved 3", "go on") as stop:
    print("ready", flush=True)
    {body}
sys.exit(stop.code)
"""
UNTIL_STOPPED = "while not stop(): time.sleep(0.01)"


class Started:
    """A Python process in a session of its own that has said "ready"."""

    def __init__(self, code, **options):
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # What runs in the background of a script inherits an ignored SIGINT.
            **{"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **options},
        )
        self.said = self.process.stdout.readline()

    def send(self, number):
        os.killpg(self.process.pid, number)

    def ends(self):
        """Its exit code, stderr, and the seconds until then."""
        began = time.monotonic()
        _, err = self.process.communicate(timeout=30)
        return self.process.returncode, err, time.monotonic() - began


@pytest.fixture(name="start")
def _start():
    started = []

    def start(code, **options):
        started.append(Started(code, **options))
        assert started[-1].said.startswith("ready"), started[-1].process.stderr.read()
        return started[-1]

    yield start
    for one in started:
        try:
            one.send(signal.SIGKILL)
        except ProcessLookupError:
            continue
        one.process.communicate()


def gone(started):
    """Whether none of its processes is left, or will be in a moment."""
    deadline = time.monotonic() + 5
    while (left := processes_of(started.process.pid)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not left


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_run_stops_by_itself_where_it_can(start, name, code):
    run = start(BUSY.format(body=UNTIL_STOPPED))
    run.send(getattr(signal, name))
    assert run.ends()[:2] == (code, "")


def test_native_code_is_not_waited_for(start):
    run = start(BUSY.format(body=NATIVE))
    run.send(signal.SIGTERM)
    code, err, seconds = run.ends()
    assert (code, err) == (143, "saved 3; go on\n") and seconds < 5


def test_a_run_that_ends_by_itself_may_take_its_time(start):
    run = start(BUSY.format(body=f"{UNTIL_STOPPED}\n    time.sleep(0.6); print('report', file=sys.stderr)"))
    run.send(signal.SIGTERM)
    assert run.ends()[:2] == (143, "stopping\nreport\n")


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGUSR2"])
@pytest.mark.parametrize("body", [NATIVE, UNTIL_STOPPED])
def test_what_is_asked_to_save_saves_and_goes_on(start, name, body):
    run = start(BUSY.format(body=body))
    run.send(getattr(signal, name))
    assert run.process.stderr.readline() == "saved 3; going on\n" and run.process.poll() is None
    run.send(signal.SIGTERM)
    assert run.ends()[0] == 143


def test_a_save_that_fails_is_said_and_does_not_keep_it_from_ending(start):
    run = start(BUSY.format(body=f"stop.save = lambda: 1 / 0; {NATIVE}"))
    run.send(signal.SIGTERM)
    assert run.ends()[:2] == (143, "error: division by zero; go on\n")


def test_a_second_signal_interrupts_at_once_unless_it_is_an_echo(start):
    run = start(BUSY.format(body="stop(); signals.ECHO = 0.2; [time.sleep(0.01) or stop() for _ in range(3000)]"))
    run.send(signal.SIGTERM)
    time.sleep(0.05)
    run.send(signal.SIGTERM)
    time.sleep(0.4)
    assert run.process.poll() is None
    run.send(signal.SIGTERM)
    code, err, _ = run.ends()
    assert code != 0 and "KeyboardInterrupt" in err


def test_what_is_ignored_from_the_beginning_stays_so(start):
    run = start(BUSY.format(body=UNTIL_STOPPED), preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))  # nohup
    run.send(signal.SIGHUP)
    time.sleep(0.2)
    assert run.process.poll() is None
    run.send(signal.SIGTERM)
    assert run.ends()[0] == 143


COMMAND = """
import click, sys, time
from l2o_cli import cli, signals
signals.PATIENCE = 0.3
def wait():
    click.echo("ready")
    {body}
cli.LazyGroup.get_command = lambda *_: click.Command("optimizers", callback=wait)
sys.argv = ["l2o", "optimizers"]
cli.main()
"""


@pytest.mark.parametrize("body", ["time.sleep(60)", NATIVE, "exec('try: time.sleep(60)\\nexcept KeyboardInterrupt: 1 / 0')"])
def test_a_command_without_anything_to_save_ends_at_once(start, body):
    run = start(COMMAND.format(body=body))
    run.send(signal.SIGUSR1)
    time.sleep(0.1)
    assert run.process.poll() is None
    run.send(signal.SIGTERM)
    code, err, seconds = run.ends()
    assert (code, err.strip()) == (143, "" if body == NATIVE else "l2o: interrupted") and seconds < 5
    assert gone(run)  # the filter of stderr too


def test_the_filter_of_stderr_outlives_what_is_sent_to_the_group(start):
    body = "import os; time.sleep(0.5); os.write(2, b'through\\n'); time.sleep(60)"
    run = start(COMMAND.format(body=body))
    for name in ("SIGUSR1", "SIGUSR2"):
        run.send(getattr(signal, name))
    assert run.process.stderr.readline() == "through\n"


PARENT = """
import time
from l2o_cli import children
child = children.begin('import sys; {before}; from l2o_cli import children, signals; signals.ignore(); '
    'children.end_with_parent(); print("ready", flush=True); {body}', stdout=None)
time.sleep(60)
"""


@pytest.mark.parametrize("before", ["pass", "sys.platform = 'other'"])
@pytest.mark.parametrize("body", ["import time; time.sleep(60)", NATIVE.replace("'", '\\"')])
def test_a_child_ends_with_its_parent_however_that_ends(start, before, body):
    parent = start(PARENT.format(before=before.replace("'", '\\"'), body=body.replace('b\\"', 'b\\"')))
    os.kill(parent.process.pid, signal.SIGKILL)
    parent.ends()  # when nobody holds its stdout any more
    assert gone(parent)


@pytest.fixture(name="traps")
def _traps(tmp_path):
    """A folder of a user whose files have the names of modules that l2o needs."""
    for name in ("types", "numpy", "problems", "click", "random", "pickle", "l2o_cli"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('the {name} of the user')")
    return tmp_path


def test_children_import_nothing_of_the_current_folder(traps):
    code = (
        "import sys; from l2o_cli import children; import subprocess\n"
        "child = children.begin('import types, pickle, random, click, l2o_problems, l2o_cli.cli; print(l2o_problems.__file__)',\n"
        "    stdout=subprocess.PIPE)\n"
        "print(child.communicate()[0].decode())"
    )
    options = {"cwd": traps, "env": {**os.environ, "PYTHONPATH": str(ROOT)}, "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, "-P", "-c", code], **options)
    assert done.stdout.strip() == str(ROOT / "problems" / "l2o_problems" / "__init__.py"), done.stderr


def test_the_commands_import_nothing_of_the_current_folder(traps):
    l2o = Path(sys.executable).with_name("l2o")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for command in ([str(l2o)], [sys.executable, "-P", "-m", "l2o_cli"], [sys.executable, "-m", "l2o_cli"]):
        if command[1:2] == ["-m"]:
            (traps / "types.py").unlink()  # which Python itself imports before it comes to l2o
            (traps / "l2o_cli.py").unlink()
        done = subprocess.run([*command, "--help"], cwd=traps, env=environment, capture_output=True, text=True)
        assert done.returncode == 0 and "meta-train" in done.stdout, (command, done.stderr)
