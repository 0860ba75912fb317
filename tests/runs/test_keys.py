"""The keys of finished runs: they hold all that decides a number."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import l2o_problems
import numpy as np
import pytest
from l2o_problems import data as data_module
from l2o_problems.images import ImageMlp
from l2o_problems.keras_model import KerasProblem
from l2o_problems.quadratics import Quadratic
from l2o_problems.transforms import GradientNoise

import l2o_cli
from l2o_cli.export.resolve import resolve
from l2o_cli.runs import keys as keys_module
from l2o_cli.runs.batches import Job
from l2o_cli.runs.keys import base_key, digest, identity
from l2o_cli.runs.own_code import MOST_FILES, Unknowable
from l2o_cli.runs.store import RunStore
from l2o_cli.runs.update_rules import RuleBatches
from l2o_cli.spec.names import make_problem

ROOT = Path(__file__).resolve().parents[2]


def test_a_key_holds_all_that_a_run_depends_on(tmp_path, monkeypatch):
    def key(problem="quadratic", optimizer="adam", setting=None, seed=0, size=2, curve=True, **options):
        one = RuleBatches("name", make_problem(problem), resolve(optimizer), store=RunStore(tmp_path), **{"steps": 8, **options})
        return one._key_of(Job(3, setting or {}, seed), size, curve)

    keys = [
        key(),
        key("booth"),
        key(optimizer="sgd"),
        key(optimizer="adam(learning_rate=0.5)"),
        key(optimizer="adam+clipping(norm=1.0)"),
        key(setting={"learning_rate": 0.5}),
        key(seed=1),
        key(size=3),
        key(curve=False),
        key(steps=9),
        key(every=2),
        key(xla=False),
    ]
    monkeypatch.setattr(keys_module, "code_fingerprint", lambda: "other code")
    keys.append(key())
    monkeypatch.setattr(keys_module.runtime, "environment", lambda: {"tensorflow": "9.9"})
    keys.append(key())
    monkeypatch.setattr(keys_module.runtime, "processor", lambda: "another")
    keys.append(key())
    assert len(set(keys)) == len(keys) and None not in keys
    assert key() == keys[-1]


def test_a_learned_optimizer_is_known_by_its_weights(tmp_path):
    one = resolve("hrnn")
    changed = dataclasses.replace(one, weights={name: value + 1e-7 for name, value in one.weights.items()})
    keys = [base_key(Quadratic(3), other, 5) for other in (one, changed, resolve("hrnn"))]
    assert digest(keys[0]) == digest(keys[2]) != digest(keys[1])


def test_problems_are_told_apart_by_every_option():
    different = [Quadratic(3), Quadratic(4), GradientNoise(Quadratic(3)), GradientNoise(Quadratic(3), deviation=0.5)]
    assert len({digest({"problem": identity(problem)}) for problem in different}) == len(different)


@pytest.mark.parametrize(
    "name, value",
    [
        ("XLA_FLAGS", "--xla_cpu_enable_fast_math=true"),
        ("TF_ENABLE_ONEDNN_OPTS", "0"),
        ("TF_XLA_FLAGS", "--tf_xla_auto_jit=2"),
        ("TF_NUM_INTRAOP_THREADS", "1"),
        ("ONEDNN_MAX_CPU_ISA", "AVX2"),
        ("OMP_NUM_THREADS", "1"),
    ],
)
def test_what_steers_numerics_is_in_the_key(name, value, monkeypatch):
    def key():
        return digest(base_key(Quadratic(3), resolve("adam"), 5))

    before = key()
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "1")
    assert key() == before
    monkeypatch.setenv(name, value)
    assert key() != before


def test_the_number_of_cores_is_in_the_key(monkeypatch):
    before = digest(base_key(Quadratic(3), resolve("adam"), 5))
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3, 4, 5, 6}, raising=False)
    assert digest(base_key(Quadratic(3), resolve("adam"), 5)) != before


def test_a_data_set_is_known_by_its_files(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(data_module, "_loaded", {})
    monkeypatch.setattr(data_module, "_files_read", {})
    problem, key = ImageMlp(data="cifar10"), set()
    folder = tmp_path / "cifar10" / "3.0.2"
    folder.mkdir(parents=True)
    splits = [{"name": "train", "shardLengths": ["50000"]}, {"name": "test", "shardLengths": ["10000"]}]
    (folder / "dataset_info.json").write_text(json.dumps({"splits": splits}))
    shard = folder / "cifar10-train.tfrecord-00000-of-00001"
    for content in (b"one", b"two", b"longer"):
        shard.write_bytes(content)
        os.utime(shard, ns=(1, len(key)))
        key.add(digest({"problem": identity(GradientNoise(problem))}))
    assert len(key) == 3
    # A copy that is there and cannot be read gives the runs of another one.
    monkeypatch.setattr(data_module, "_loaded", {"cifar10": SimpleNamespace(source="CIFAR-10, another copy")})
    assert identity(problem)["data"].startswith("CIFAR-10, another copy")


OWN_CODE = """
import importlib.util, json, os, sys, time
from pathlib import Path
from l2o_problems import opened
from l2o_cli.runs.own_code import Unknowable, own_code

def answer(file):
    opened.watch(file.parent)
    time.sleep(0.02)  # the clock of files is that much behind
    sys.path.insert(0, str(file.parent))
    spec = importlib.util.spec_from_file_location("mine", file)
    module = sys.modules["mine"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    before = own_code(module.Mine)
    module.sample()
    return json.dumps(before, sort_keys=True) if own_code(module.Mine) == before else "opened more"

for line in sys.stdin:
    file, environment = json.loads(line)
    child = os.fork()
    if not child:
        os.chdir(Path(file).parents[1])
        os.environ.update(environment)
        try:
            print(answer(Path(file)), flush=True)
        except Unknowable as error:
            print(error, flush=True)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.fixture(name="own", scope="module")
def _own():
    """own(file, **environment): what tells a file of a user's from what it was before, in a process of its own each time."""
    run = [sys.executable, "-c", OWN_CODE]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # All are children of one process, so that TensorFlow is imported once.
    with subprocess.Popen(run, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:

        def own(file, **environment):
            print(json.dumps([str(file), environment]), file=parent.stdin, flush=True)
            return parent.stdout.readline()

        yield own
        parent.stdin.close()


@pytest.fixture(name="mine")
def _mine(tmp_path):
    folder = tmp_path / "user" / "work"
    (folder / "parts" / "data").mkdir(parents=True)
    (folder / "parts" / "scale.py").write_text("from pathlib import Path\nSCALE = 2\n")
    (folder / "parts" / "data" / "points.bin").write_bytes(b"1234")
    (folder.parent / "helpers").mkdir()
    (folder.parent / "helpers" / "outside.py").write_text("WIDTH = 3\n")
    (folder.parent / "elsewhere.txt").write_text("5")
    (folder.parent / "later.txt").write_text("7")
    file = folder / "mine.py"
    file.write_text(
        "import os, sys\nimport numpy as np\nfrom pathlib import Path\nfrom parts.scale import SCALE\n"
        "sys.path.append(str(Path(__file__).parents[1] / 'helpers'))\nimport outside\n"
        "HERE = Path(__file__).parent\nELSEWHERE = (HERE.parent / 'elsewhere.txt').read_text()\n"
        "WIDTH = int(os.environ.get('WIDTH', '1'))\n"
        "class Mine: pass\n"
        "def sample():\n    return np.fromfile(HERE / 'parts' / 'data' / 'points.bin', np.uint8)\n"
    )
    return file


CHANGES = {
    "a spec beside it": lambda folder: (folder / "spec.yaml").write_text("steps: 3\n"),
    "its code": lambda folder: (folder / "mine.py").open("a").write("X = 1\n"),
    "a module in a folder below": lambda folder: (folder / "parts" / "scale.py").write_text("SCALE = 3\n"),
    "data in a folder below": lambda folder: (folder / "parts" / "data" / "points.bin").write_bytes(b"1235"),
    "a module elsewhere": lambda folder: (folder.parent / "helpers" / "outside.py").write_text("WIDTH = 4\n"),
    "a file elsewhere": lambda folder: (folder.parent / "elsewhere.txt").write_text("6"),
}


def test_a_problem_of_ones_own_is_known_by_all_that_it_imports_and_opens(mine, own):
    known = [own(mine)]
    assert own(mine) == known[0] and json.loads(known[0])
    for change in CHANGES.values():
        change(mine.parent)
        known.append(own(mine))
    known.append(own(mine, WIDTH="2"))
    assert len(set(known)) == len(CHANGES) + 2, list(CHANGES)


def test_a_data_base_elsewhere_is_one_of_its_files(mine, own):
    base = mine.parents[1] / "points.db"
    base.write_bytes(b"")
    with mine.open("a") as file:
        file.write("import sqlite3\nsqlite3.connect(HERE.parent / 'points.db').close()\n")
    assert str(base) in json.loads(own(mine))["files"]


def test_what_is_no_input_of_it_changes_nothing(mine, own):
    before = own(mine)
    for results, record in (("evaluate-1", "evaluation.yaml"), ("compare-1", "spec.yaml")):  # one has just begun
        (mine.parent / "runs" / results).mkdir(parents=True)
        for name in (record, "curves.csv"):
            (mine.parent / "runs" / results / name).touch()
    (mine.parent / "slurm-1.out").write_text("said")
    (mine.parent / ".venv").mkdir()
    (mine.parent / ".venv" / "module.py").touch()
    assert own(mine) == before


@pytest.mark.parametrize(
    "code, why",
    [
        ("import socket\ntry:\n    socket.create_connection(('127.0.0.1', 9), 0.1)\nexcept OSError: pass\n", "uses the network"),
        ("import subprocess\nsubprocess.run(['true'])\n", "runs another program"),
        ("for name in os.environ: pass\n", "mine.py reads the environment"),
        ("def load():\n    import h5py\n", "mine.py reads files by h5py, which is not seen"),
        ("def load(path):\n    return tf.data.TFRecordDataset(path)\n", "reads files by TFRecordDataset"),
        ("(HERE / 'fresh.py').touch()\n", "fresh.py was changed after the command had begun"),
        ("def sample():\n    return (HERE.parent / 'later.txt').read_text()\n", "opened more"),
    ],
)
def test_what_cannot_be_known_is_not_kept(code, why, mine, own):
    with mine.open("a") as file:
        file.write(code)
    assert why in own(mine)


def test_a_folder_of_many_files_is_not_looked_through(mine, own):
    (mine.parent / "many").mkdir()
    for index in range(MOST_FILES):
        (mine.parent / "many" / f"{index}.dat").touch()
    assert "more than 3,000 files lie in the folder of its file" in own(mine)


def test_runs_on_a_problem_of_ones_own_are_kept_if_it_is_known(tmp_path, monkeypatch, capsys):
    file = tmp_path / "mine.py"
    file.write_text(
        "from dataclasses import dataclass\nfrom l2o_problems.quadratics import Quadratic\n\n"
        "@dataclass(frozen=True)\nclass Mine(Quadratic):\n    name = 'mine'\n"
    )
    problem, store = make_problem(f"{file}:Mine"), RunStore(tmp_path / "kept")
    store.folder.mkdir()
    assert identity(problem)["own code"] and identity(Quadratic(3))["own code"] is None
    RuleBatches("mine", problem, resolve("sgd"), steps=2, xla=False, store=store).run([{}], [0])
    assert len(list(store.folder.rglob("*.run"))) == 1
    file.write_text(file.read_text() + "\n")  # and what is in memory is no longer what is in the file
    with pytest.raises(Unknowable):
        identity(problem)
    RuleBatches("mine", problem, resolve("sgd"), steps=3, xla=False, store=store).run([{}], [0])
    assert len(list(store.folder.rglob("*.run"))) == 1
    assert "runs on mine are not kept: " in capsys.readouterr().err


def test_what_has_no_plain_values_is_not_kept(tmp_path):
    keras = pytest.importorskip("keras")
    inputs = np.zeros([8, 2], np.float32), np.zeros([8, 1], np.float32)

    def line():
        return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

    problem = KerasProblem(line, "mse", inputs, batch_size=4)
    store = RunStore(tmp_path)
    RuleBatches("line", problem, resolve("sgd"), steps=2, xla=False, store=store).run([{}], [0])
    assert store.made == 1 and not list(tmp_path.rglob("*.run"))


def test_the_fingerprint_is_of_the_code_and_the_data():
    package, others = Path(l2o_cli.__file__).parent, Path(l2o_problems.__file__).parent
    files = [file for part in keys_module._COMPUTING for file in keys_module._files(package / part)]
    assert {"carry.py", "rollout.py", "update_rules.py", "elementwise.py", "lbfgs.py"} <= {file.name for file in files}
    assert all(map(Path.is_file, files))
    assert {"quadratics.py", "digits.npz"} <= {file.name for file in keys_module._files(others)}
