"""What is kept to be faster the next time: it is never believed without its checksum, never in the way, never too large."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from l2o_problems.data.prepared import Prepared

from l2o_cli import runtime
from l2o_cli.caches import compiled as compiled_module
from l2o_cli.caches import places, upkeep
from l2o_cli.caches.compiled import INDEX, CompiledCode
from l2o_cli.errors import BadInput, warn_once
from l2o_cli.runs.store import user_store

ROOT = Path(__file__).resolve().parent.parent
NAMES = [f"xla_compile_cache__{number}__7__XLA_CPU_JIT.pb" for number in range(5)]


@pytest.fixture(name="cache")
def _cache(tmp_path):
    """Five entries of 2,000 bytes, with checksums."""
    generator = np.random.default_rng(1)
    cache = CompiledCode(tmp_path)
    cache._ready.set()
    for name in NAMES:
        (tmp_path / name).write_bytes(generator.bytes(2000))
    cache.note()
    return cache


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != INDEX)


def old(path, days=1.0, at=None):
    """Modify and access it some days ago."""
    then = (time.time() if at is None else at) - 86400 * days
    os.utime(path, (then, then))


def test_what_matches_its_checksum_stays(cache, tmp_path):
    CompiledCode(tmp_path).verify()
    assert names(tmp_path) == NAMES


def test_no_flipped_bit_is_left_for_tensorflow_to_read(cache, tmp_path):
    generator = np.random.default_rng(0)
    index = (tmp_path / INDEX).read_bytes()
    for _ in range(200):
        path = tmp_path / generator.choice(NAMES)
        content, bit = path.read_bytes(), generator.integers(8 * 2000)
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        CompiledCode(tmp_path).verify()
        assert names(tmp_path) == [name for name in NAMES if name != path.name]
        path.write_bytes(content)
    for bit in generator.choice(8 * len(index), 100, replace=False):
        damaged = bytearray(index)
        damaged[bit // 8] ^= 1 << bit % 8
        (tmp_path / INDEX).write_bytes(damaged)
        contents = {name: (tmp_path / name).read_bytes() for name in NAMES}
        for name in NAMES:
            old(tmp_path / name)
        CompiledCode(tmp_path).verify()
        assert len(names(tmp_path)) >= 3  # two lines may have become one
        for name, content in contents.items():
            (tmp_path / name).write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda one, other: one.write_bytes(b""),
        lambda one, other: one.write_bytes(one.read_bytes()[:1000]),
        lambda one, other: one.write_bytes(other.read_bytes()),
    ],
    ids=["empty", "cut off", "that of another"],
)
def test_other_damage(damage, cache, tmp_path):
    damage(*(tmp_path / name for name in NAMES[:2]))
    CompiledCode(tmp_path).verify()
    assert names(tmp_path) == NAMES[1:]


def test_an_entry_without_a_checksum_is_removed_unless_another_process_is_about_to_write_it(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(compiled_module, "LOOK", 0.1)
    killed, young = (tmp_path / f"xla_compile_cache__{name}.pb" for name in "ky")
    killed.write_bytes(b"content")
    old(killed)
    young.write_bytes(b"content")
    CompiledCode(tmp_path).verify()  # nobody writes a checksum of the young one
    assert names(tmp_path) == NAMES
    other = CompiledCode(tmp_path)
    other.keep(then=lambda: None)
    other.wait()
    young.write_bytes(b"content")
    CompiledCode(tmp_path).verify()
    assert names(tmp_path) == [*NAMES, young.name]
    other._leave("the test is over")


def test_unfinished_entries_and_a_long_index_are_tidied(cache, tmp_path):
    unfinished = tmp_path / f"{NAMES[0]}host-12-34.tmp"
    unfinished.touch()
    (tmp_path / INDEX).write_text((tmp_path / INDEX).read_text() * 50)
    CompiledCode(tmp_path).verify()
    assert unfinished.exists() and len((tmp_path / INDEX).read_text().splitlines()) == 5
    old(unfinished)
    CompiledCode(tmp_path).verify()
    assert names(tmp_path) == NAMES


@pytest.mark.parametrize("way", ["a file", "others may write", "another user's", "no space", "small files", "read-only"])
def test_a_folder_that_cannot_be_used_is_said_and_left_alone(way, tmp_path, monkeypatch, capsys):
    for name in ("TF_XLA_FLAGS", "L2O_CACHE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "cache"
    monkeypatch.setenv("L2O_CACHE", str(folder))
    monkeypatch.setattr(runtime, "compiled", None)
    warn_once.cache_clear()
    if way == "a file":
        folder.touch()
    elif way == "others may write":
        folder.mkdir()
        folder.chmod(0o777)
    elif way == "another user's":
        folder.mkdir()
        monkeypatch.setattr(os, "geteuid", lambda: 4321)
    elif way == "no space":
        monkeypatch.setattr(compiled_module, "LEAST_FREE", 10**18)
    elif way == "small files":
        monkeypatch.setattr("resource.getrlimit", lambda which: (10_000, 10_000))
    else:
        monkeypatch.setenv("L2O_CACHE", "/proc/self/cache")
    runtime.set_environment()
    assert "TF_XLA_FLAGS" not in os.environ and runtime.compiled is None
    said = capsys.readouterr().err
    assert said.startswith("l2o: warning: a cache is not used: ") and said.count("\n") == 1
    assert way in ("small files", "read-only") or str(folder) in said


def test_folders_are_for_their_owner_alone(tmp_path):
    before = os.umask(0)
    try:
        places.claim(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("a", "a/b")] == [0o700] * 2


def fill(root):
    """Ten of each kind, of 1,000 bytes, the older the higher the number; and what is not l2o's."""
    files = {}
    for number in range(10):
        run, code = f"{number}" * 64, NAMES[0].replace("__0__", f"__{number}__")
        files[f"runs/{run[:2]}/{run}.run"] = files[f"xla/{'a' * 16}/{code}"] = number
    for name, number in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * 1000)
        old(root / name, number)
    others = [
        "runs/thesis.run",
        f"runs/00/{'0' * 63}.run",
        f"runs/mine/{'0' * 64}.run",
        "xla/notes.pb",
        f"xla/{'a' * 16}/mine.pb",
    ]
    for name in others:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * 5000)
    return list(files), others


@pytest.fixture(name="root")
def _root(tmp_path, monkeypatch):
    monkeypatch.setenv("L2O_CACHE", str(tmp_path))
    monkeypatch.delenv("L2O_RUNS", raising=False)
    return tmp_path


def test_what_was_not_used_for_longest_goes_first(root, monkeypatch):
    files, others = fill(root)
    monkeypatch.setenv("L2O_CACHE_SIZE", "0.01MB")
    upkeep.tend()
    assert [index // 2 for index, name in enumerate(files) if (root / name).exists()] == [0, 0, 1, 1, 2, 2, 3, 3, 4]
    assert all((root / name).exists() for name in others)
    (root / files[0]).write_bytes(b"x" * 20_000)
    upkeep.tend()  # not again within the hour
    assert (root / files[0]).exists()


def test_clearing_removes_nothing_else(root):
    files, others = fill(root)
    assert upkeep.clear("runs") == (10, 10_000)
    assert [name for name in files if (root / name).exists()] == [name for name in files if name.startswith("xla")]
    (root / "xla" / ("a" * 16) / INDEX).write_text("lines\n")
    assert upkeep.clear("xla")[0] == 10
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()) == sorted(others)


def test_the_command_shows_and_clears(root, l2o):
    fill(root)
    rows = {row["kind"]: row for row in json.loads(l2o("cache", "--json").stdout)}
    assert rows["runs"] == {
        "kind": "runs",
        "folder": str(root / "runs"),
        "entries": 10,
        "bytes": 10_000,
        "limit": 2_000_000_000,
        "fault": None,
    }
    assert "20 KB of 2 GB" in l2o("cache").stdout
    assert [row["entries"] for row in json.loads(l2o("cache", "--clear", "runs", "--json").stdout)] == [0, 10]
    assert "10 removed" in l2o("cache", "--clear").stderr
    (root / "runs").chmod(0o777)
    assert "can be written by others" in l2o("cache").stdout


def test_to_look_makes_nothing(tmp_path, l2o_in):
    for arguments in ([], ["--clear"], ["--json"]):
        assert l2o_in(tmp_path, "cache", *arguments, L2O_CACHE=str(tmp_path / "none")).returncode == 0
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("text, size", [("", 2e9), ("500MB", 5e8), ("1.5 gb", 1.5e9), ("123", 123)])
def test_the_limit(text, size, monkeypatch):
    monkeypatch.setenv("L2O_CACHE_SIZE", text)
    assert upkeep.limit() == size


@pytest.mark.parametrize("text", ["much", "-1", "1e9", "2 GiB", "inf", "9" * 400])
def test_no_limit(text, monkeypatch):
    monkeypatch.setenv("L2O_CACHE_SIZE", text)
    with pytest.raises(BadInput, match="expected a size") as error:
        upkeep.limit()
    assert len(str(error.value)) < 300


@pytest.fixture(name="nobody")
def _nobody(monkeypatch):
    """A user that the system does not know, without $HOME."""
    for name in ("HOME", "XDG_CACHE_HOME", "L2O_CACHE", "L2O_RUNS", "TF_XLA_FLAGS", "KERAS_HOME", "TFDS_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)

    def unknown(user):
        raise KeyError(user)

    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.setattr("pwd.getpwnam", unknown)
    warn_once.cache_clear()


def test_without_a_home_nothing_is_kept_and_it_is_said_once(nobody, monkeypatch, capsys):
    monkeypatch.setattr(runtime, "compiled", None)
    runtime.set_environment()
    assert "TF_XLA_FLAGS" not in os.environ and os.environ["KERAS_HOME"] == os.devnull
    assert user_store() is None
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "there is no home folder; L2O_CACHE=DIR says where" in said
    assert [upkeep.look(kind).folder for kind in upkeep.KINDS] == [None, None] and "no home" in upkeep.look("xla").fault
    assert Prepared("mnist").find() is None
    monkeypatch.setenv("L2O_CACHE", "~/cache")
    with pytest.raises(places.Unusable, match="there is no home folder"):
        places.root()
    monkeypatch.setenv("L2O_RUNS", "~somebody/runs")
    with pytest.raises(places.Unusable, match="no folder of a known user"):
        places.runs()


NOBODY = """
import os, pwd, sys
def unknown(user):
    raise KeyError(user)
pwd.getpwuid = pwd.getpwnam = unknown
from l2o_cli import cli
sys.exit(cli.run(sys.argv[1:]))
"""
EVALUATE = ("evaluate", "--problem", "quadratic(dimension=2)", "--optimizer", "adam", "--steps", "2", "--seeds", "1", "--quiet")


def command(folder, *arguments, start=("-m", "l2o_cli"), lacking=(), **environment):
    inherited = {name: value for name, value in os.environ.items() if name not in (*lacking, "L2O_RUNS", "TF_XLA_FLAGS")}
    return subprocess.run(
        [sys.executable, *start, *map(str, arguments)],
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_a_user_without_a_home_gets_results(tmp_path):
    """And a report, and no folder that is called ~."""
    done = command(tmp_path, *EVALUATE, "--out", "out", start=("-c", NOBODY), lacking=("HOME", "XDG_CACHE_HOME", "L2O_CACHE"))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1 and "there is no home folder" in done.stderr
    assert (tmp_path / "out" / "report.html").exists() and [path.name for path in tmp_path.iterdir()] == ["out"]


def scores(folder):
    lines = (folder / "scores.csv").read_text().splitlines()
    return [line.split(",")[:6] for line in lines]


def test_a_command_on_damaged_caches_gives_the_same_results(tmp_path):
    """In a folder with signs that a shell and TensorFlow's flags have a meaning for; all entries damaged."""
    cache, out = tmp_path / 'it\'s a $HOME \\ "cache"', tmp_path / "out"
    first = command(tmp_path, *EVALUATE, "--no-report", "--out", out, L2O_CACHE=str(cache))
    assert (first.returncode, first.stderr) == (0, "")
    entries = [path for path in cache.rglob("*") if path.suffix in (".pb", ".run")]
    assert {path.suffix for path in entries} == {".pb", ".run"}
    before = scores(out)
    for path in entries:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
    began = time.time()
    again = command(tmp_path, *EVALUATE, "--no-report", "--out", out, "--overwrite", L2O_CACHE=str(cache))
    assert (again.returncode, again.stderr, scores(out)) == (0, "", before)
    assert "runs were made before" not in again.stdout
    assert all(path.exists() and path.stat().st_mtime > began for path in entries)  # made again


@pytest.mark.slow
def test_workers_need_no_cache(tmp_path):
    for more, environment in ((("--fresh",), {}), ((), {"L2O_CACHE": "off"}), ((), {"L2O_CACHE": "/proc/nowhere"})):
        arguments = ("--problem", "booth", "--workers", "2", "--no-report", "--out", "out", "--overwrite")
        done = command(tmp_path, *EVALUATE, *arguments, *more, **environment)
        assert done.returncode == 0 and done.stderr.count("\n") == (environment.get("L2O_CACHE") == "/proc/nowhere"), done.stderr
        assert len(scores(tmp_path / "out")) == 3
