"""The environment that TensorFlow gets, its cache, and the filter of its messages."""

import os
import pty
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from l2o_cli import runtime
from l2o_cli.stderr_filter import NOISE, copy_without_noise

ROOT = Path(__file__).resolve().parent.parent

COMPILE = """
from l2o_cli import runtime
runtime.prepare({debug})
import tensorflow as tf
print(float(tf.function(lambda x: tf.reduce_sum(tf.sin(x) @ x), jit_compile=True)(tf.ones([50, 50]))))
"""

NATIVE = "import os, sys\nfrom l2o_cli import stderr_filter\nstderr_filter.install()\nwrite = lambda text: os.write(2, text)\n"


def python(code, **environment):
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TF_", "L2O_"))}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def filtered(*writes):
    """What gets through of the given writes."""
    source, sink = os.pipe()
    received, destination = os.pipe()
    thread = threading.Thread(target=copy_without_noise, args=(source, destination))
    thread.start()
    for write in writes:
        os.write(sink, write)
    os.close(sink)
    thread.join(10)
    assert not thread.is_alive()
    os.close(destination)
    with os.fdopen(received, "rb") as file:
        content = file.read()
    os.close(source)
    return content


@pytest.mark.parametrize(
    "line",
    [
        b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
        b"I0000 00:00:1795255719.290278    4159 port.cc:153] oneDNN custom operations are on.",
        b"W0000 00:00:1795255719.290278    4159 gpu_device.cc:2342] Cannot dlopen some GPU libraries.",
        b"2026-01-02 10:11:12.123456: I tensorflow/core/platform/cpu_feature_guard.cc:210] This TensorFlow binary",
        b"E0000 00:00:1795255730.456225 4267 cuda_platform.cc:52] failed call to cuInit: INTERNAL: UNKNOWN ERROR (303)",
    ],
)
def test_noise(line):
    assert NOISE.match(line)
    assert filtered(b"before\n" + line + b"\nafter\n") == b"before\nafter\n"
    assert filtered(line) == b""


@pytest.mark.parametrize(
    "line",
    [
        b"E0000 00:00:1795255730.456225 4267 stream.cc:52] out of memory",
        b"F0000 00:00:1795255730.456225 4267 tensor.cc:52] Check failed: 1 == 2",
        b"2026-01-02 10:11:12.123456: E tensorflow/core/x.cc:1] failed",
        b"E0000 00:00:1795255719.29 1 cpu_aot_loader.cc:220] Target machine feature +avx512f is not supported on the host.",
        b"Traceback (most recent call last):",
        b"Fatal Python error: Segmentation fault",
        b"In I0000 00:00:00 the noise is not at the beginning",
        b"",
    ],
)
def test_anything_else_passes(line):
    assert filtered(line + b"\n") == line + b"\n"


def test_unfinished_lines():
    assert filtered(b"no end") == b"no end"
    assert filtered(b"I0000 00:0", b"0:1795255719.29 1 x.cc:1] in two writes\nnext\n") == b"next\n"
    assert filtered(b"a\nb", b"c\n\n") == b"a\nbc\n\n"


def test_unfinished_line_is_shown_soon():
    source, sink = os.pipe()
    received, destination = os.pipe()
    threading.Thread(target=copy_without_noise, args=(source, destination), daemon=True).start()
    os.write(sink, b"50 %\r")
    assert os.read(received, 100) == b"50 %\r"
    # What follows belongs to a line already begun, whatever it looks like.
    os.write(sink, b"I0000 00:00:1795255719.29 1 x.cc:1] y\n")
    assert os.read(received, 100) == b"I0000 00:00:1795255719.29 1 x.cc:1] y\n"
    os.close(sink)


def test_python_writes_past_the_filter_and_native_code_through_it():
    result = python(
        NATIVE + "write(b'I0000 00:00:1795255719.29 1 x.cc:1] noise\\nE0000 00:00:1795255719.29 1 x.cc:1] error\\n')\n"
        "print('I0000 00:00:1795255719.29 1 our own', file=sys.stderr)\nsys.exit(3)\n"
    )
    assert result.returncode == 3
    assert sorted(result.stderr.splitlines()) == [
        "E0000 00:00:1795255719.29 1 x.cc:1] error",
        "I0000 00:00:1795255719.29 1 our own",
    ]


@pytest.mark.parametrize("end", ["os.abort()", "os._exit(1)", "os.kill(os.getpid(), 9)", "1 / 0", "sys.exit(1)"])
def test_last_words_get_through(end):
    result = python(NATIVE + f"write(b'F0000 00:00:1795255719.29 1 x.cc:1] Check failed')\n{end}\n")
    assert result.returncode != 0
    assert "F0000 00:00:1795255719.29 1 x.cc:1] Check failed" in result.stderr
    assert ("ZeroDivisionError" in result.stderr) == (end == "1 / 0")


def test_terminal_stays_a_terminal():
    parent, child = pty.openpty()
    code = NATIVE + "print(sys.stderr.isatty(), os.isatty(2), os.get_terminal_size(sys.__stderr__.fileno()).columns)"
    os.set_blocking(parent, True)
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=child, text=True)
    os.close(child)
    os.close(parent)
    assert result.stdout.split()[:2] == ["True", "False"]


def test_closed_stderr_is_no_error():
    code = NATIVE + "print('fine')"
    result = subprocess.run(
        f'"{sys.executable}" -c "$CODE" 2>&-',
        shell=True,
        cwd=ROOT,
        env={**os.environ, "CODE": code},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert result.stdout == "fine\n" and result.returncode == 0


def test_tensorflow_is_quiet_and_its_cache_serves_the_next_process(tmp_path, monkeypatch):
    tmp_path = tmp_path / "with a space"
    loud = python(COMPILE.format(debug=True), L2O_CACHE=str(tmp_path))
    assert "I0000" in loud.stderr, "TensorFlow is quiet by itself: the filter is not needed any more"
    (entry,) = tmp_path.glob("*/*/*.pb")
    written = entry.stat().st_mtime_ns

    quiet = python(COMPILE.format(debug=False), L2O_CACHE=str(tmp_path))
    assert quiet.stderr == ""
    assert quiet.stdout == loud.stdout != ""
    assert list(tmp_path.glob("*/*/*.pb")) == [entry] and entry.stat().st_mtime_ns == written


FAILING = """
import os, resource, shutil, sys
from pathlib import Path
from l2o_cli import runtime
runtime.prepare()
import tensorflow as tf
from l2o_cli.graph import Graph
print(float(Graph(lambda x: 2 * x, "twice", xla=True)(tf.constant(4.0))))
folder = runtime.compiled.folder
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
{fault}
for number in range(3):
    print(float(Graph(lambda x: x + number, f"plus {{number}}", xla=True)(tf.constant(4.0))))
"""


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("resource.setrlimit(resource.RLIMIT_FSIZE, (1000, unlimited[1]))", id="a full disk"),
        pytest.param("shutil.rmtree(folder)", id="no folder", marks=pytest.mark.slow),
    ],
)
def test_a_cache_that_cannot_be_written_any_more_is_left_alone(fault, tmp_path):
    if "RLIMIT" in fault:  # the folder in its place is not on a disk that is full
        fault += "\nwarned = runtime.without_cache\nruntime.without_cache = lambda error: (resource.setrlimit("
        fault += "resource.RLIMIT_FSIZE, unlimited), warned(error))[1]"
    done = python(FAILING.format(fault=fault), L2O_CACHE=str(tmp_path))
    assert done.stdout.split() == ["8.0", "4.0", "5.0", "6.0"], done.stderr
    assert done.stderr.count("\n") == 1 and "the compilation cache is left alone from here on" in done.stderr


def test_environment(tmp_path, monkeypatch):
    for name in ("TF_XLA_FLAGS", "L2O_CACHE", "TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS", "KERAS_BACKEND", "XLA_FLAGS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("TF_FORCE_GPU_ALLOW_GROWTH", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    runtime.set_environment()
    directory = re.match(r"--tf_xla_persistent_cache_directory='(.*)' ", os.environ["TF_XLA_FLAGS"])[1]
    assert runtime.cache_folder().is_dir() and Path(directory).samefile(runtime.cache_folder())
    assert runtime.cache_folder().parent == tmp_path / "l2o" / "xla"
    assert (os.environ["KERAS_BACKEND"], os.environ["TF_CPP_MIN_LOG_LEVEL"]) == ("tensorflow", "2")
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == "1" and os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    assert os.environ["XLA_FLAGS"] == runtime.XLA_FLAGS


def test_flags_of_xla_are_for_the_releases_that_know_them(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.setattr(runtime, "_release", lambda package: "2.99.0")
    runtime.set_environment()
    assert "XLA_FLAGS" not in os.environ


def test_what_the_user_set_stands(tmp_path, monkeypatch):
    monkeypatch.setenv("TF_XLA_FLAGS", "--mine")
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", "false")
    runtime.set_environment()
    assert [os.environ[name] for name in ("TF_XLA_FLAGS", "TF_CPP_MIN_LOG_LEVEL")] == ["--mine", "0"]
    assert (os.environ["XLA_FLAGS"], os.environ["TF_FORCE_GPU_ALLOW_GROWTH"]) == ("", "false")


@pytest.mark.parametrize("chosen", ["off", "/proc/nowhere"])
def test_without_a_cache(chosen, monkeypatch):
    monkeypatch.delenv("TF_XLA_FLAGS", raising=False)
    monkeypatch.setenv("L2O_CACHE", chosen)
    runtime.set_environment()
    assert "TF_XLA_FLAGS" not in os.environ


def test_other_code_has_another_folder(monkeypatch):
    monkeypatch.setenv("L2O_CACHE", "/somewhere")
    folders = {runtime.cache_folder()}
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_max_isa=AVX2")
    folders.add(runtime.cache_folder())
    monkeypatch.setattr(runtime, "processor", lambda: "another")
    folders.add(runtime.cache_folder())
    monkeypatch.setattr(runtime, "_release", lambda package: "9.9")
    folders.add(runtime.cache_folder())
    monkeypatch.setattr(runtime.devices, "gpus", lambda: [runtime.devices.Gpu("0", "A GPU", 0)])
    folders.add(runtime.cache_folder())
    assert len(folders) == 5 and all(folder.parent == Path("/somewhere/xla") for folder in folders)


@pytest.mark.skipif(sys.platform != "linux", reason="for glibc")
def test_memory_is_given_back():
    code = """
import ctypes, threading
from l2o_cli import runtime
runtime.prepare()
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
def fill():
    held.append([ctypes.create_string_buffer(b"x" * 100_000) for _ in range(2000)])
held = []
for thread in (threads := [threading.Thread(target=fill) for _ in range(4)]):
    thread.start()
for thread in threads:
    thread.join()
full = resident()
held.clear()
runtime.give_memory_back()
print(full - resident())
"""
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 500e6
