"""The files of a run when writing or reading them fails."""

import contextlib
import errno
import os
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from l2o_cli.errors import BadInput, Failure
from l2o_cli.files import locked
from l2o_cli.meta.checkpoints import Checkpoints
from l2o_cli.meta.run_directory import LOCK, RunDirectory
from l2o_cli.meta.writers import Table
from l2o_cli.spec import MetaTraining

SPEC = MetaTraining.model_validate({"optimizer": {"name": "hrnn"}, "problems": ["quadratic"]})


def leaves(meta_step):
    """What a checkpoint of that meta-step holds in these tests."""
    rng = np.random.default_rng(meta_step)
    named = {f"weights/{index}": tf.constant(rng.standard_normal(50), tf.float32) for index in range(5)}
    return named | {"progress": tf.constant([meta_step, np.inf], tf.float64), "count": tf.constant(meta_step)}


def trusting(meta_step, leaves):
    """All that can be read is good."""
    return None


def assert_is(found, meta_step):
    expected = leaves(meta_step)
    assert found.keys() == expected.keys()
    for name, leaf in expected.items():
        assert found[name].dtype == leaf.dtype
        np.testing.assert_array_equal(found[name], leaf)


@pytest.fixture(name="checkpoints")
def _checkpoints(tmp_path):
    """A folder with the checkpoints of meta-steps 6 and 9."""
    kept = Checkpoints(tmp_path / "checkpoints")
    for meta_step in (3, 6, 9):
        kept.save(meta_step, leaves(meta_step))
    return kept


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@contextlib.contextmanager
def file_size_limit(size):
    """Within it no file can grow beyond `size` bytes: writing fails as it does on a full disk, with another reason."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_newest_of_two_checkpoints_is_restored(tmp_path, checkpoints, capsys):
    assert names(tmp_path / "checkpoints") == ["ckpt-6", "ckpt-9"]
    assert_is(Checkpoints(tmp_path / "checkpoints").restore(trusting), 9)
    assert Checkpoints(tmp_path / "nothing").restore(trusting) is None
    assert capsys.readouterr().err == ""


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "garbage": lambda path: path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size)),
    "bit": flip_a_bit,
    "missing": lambda path: path.unlink(),
    "all missing": lambda path: (shutil.rmtree(path.parent), path.parent.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("file", ["leaves.index", "leaves.data-00000-of-00001"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path, checkpoints, capsys, damage, file):
    folder = tmp_path / "checkpoints"
    DAMAGE[damage](folder / "ckpt-9" / file)
    again = Checkpoints(folder)
    assert_is(again.restore(trusting), 6)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "ckpt-9" in said and "going on from ckpt-6" in said
    assert names(folder) == ["ckpt-6", "ckpt-9"]
    # Two good ones are there again as soon as one more is saved, whatever its number is.
    again.save(8, leaves(8))
    assert names(folder) == ["ckpt-6", "ckpt-8"]
    assert_is(Checkpoints(folder).restore(trusting), 8)


def test_a_damaged_checkpoint_does_not_count_among_the_kept(tmp_path, checkpoints):
    DAMAGE["truncated"](tmp_path / "checkpoints" / "ckpt-9" / "leaves.index")
    again = Checkpoints(tmp_path / "checkpoints")
    again.restore(trusting)
    again.save(12, leaves(12))
    assert names(tmp_path / "checkpoints") == ["ckpt-12", "ckpt-6"]


def test_random_damage_is_always_found(tmp_path, checkpoints):
    """Bits flipped anywhere: the leaves are what they were, or the checkpoint is passed over."""
    rng = np.random.default_rng(0)
    found = set()
    for _ in range(60):
        path = tmp_path / "checkpoints" / "ckpt-9" / rng.choice(["leaves.index", "leaves.data-00000-of-00001"])
        whole = path.read_bytes()
        content = bytearray(whole)
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(content)
        restored = Checkpoints(tmp_path / "checkpoints").restore(trusting)
        meta_step = int(restored["count"])
        assert_is(restored, meta_step)
        found.add(meta_step)
        path.write_bytes(whole)
    assert found == {6, 9}  # some bits belong to what is not read


def test_if_all_are_damaged_nothing_is_deleted(tmp_path, checkpoints):
    for path in (tmp_path / "checkpoints").glob("*/*.index"):
        path.write_bytes(b"")
    before = {path: path.read_bytes() for path in (tmp_path / "checkpoints").glob("*/*")}
    with pytest.raises(Failure, match=r"ckpt-9: damaged, .*ckpt-6: damaged; no checkpoint of this run can be read$"):
        Checkpoints(tmp_path / "checkpoints").restore(trusting)
    assert {path: path.read_bytes() for path in (tmp_path / "checkpoints").glob("*/*")} == before


def test_a_checkpoint_that_cannot_be_written_leaves_those_before(tmp_path, checkpoints):
    folder = tmp_path / "checkpoints"
    with file_size_limit(500), pytest.raises(Failure, match=rf"^{folder}/ckpt-12: cannot be written: File too large$"):
        checkpoints.save(12, leaves(12))
    assert names(folder) == ["ckpt-6", "ckpt-9"]
    assert_is(Checkpoints(folder).restore(trusting), 9)
    checkpoints.save(12, leaves(12))
    assert names(folder) == ["ckpt-12", "ckpt-9"]


def test_a_folder_that_cannot_be_made_is_a_failure(tmp_path):
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(Failure, match="ckpt-1: cannot be written: "):
        Checkpoints(tmp_path / "checkpoints").save(1, leaves(1))


def test_what_a_killed_process_left_is_cleared_away(tmp_path, checkpoints):
    folder = tmp_path / "checkpoints"
    (folder / ".ckpt-12.tmp" / "leaves_temp").mkdir(parents=True)
    assert_is(Checkpoints(folder).restore(trusting), 9)
    checkpoints.save(12, leaves(12))
    assert names(folder) == ["ckpt-12", "ckpt-9"]


def test_a_table_is_cut_to_whole_rows(tmp_path):
    path = tmp_path / "table.csv"
    table = Table(path, ("meta_step", "problem", "value"))
    table.cut(0)
    table.append([{"meta_step": step, "problem": "a", "value": 0.1 * step} for step in (1, 2, 3, 11)])
    whole = path.read_text()
    (tmp_path / ".table.csv.abcdefgh.tmp").write_text("left by a killed process")
    for end in ("4,a", "\0\0\0,a,1\n", "3,a,1,2,3\n", '"4,a,1'):
        path.write_text(whole + end)
        table.cut(3)
        assert path.read_text() == "meta_step,problem,value\n1,a,0.1\n2,a,0.2\n3,a,0.30000000000000004\n"
    path.write_bytes(whole.encode() + b"\xff\xfe\x00,\xff,1\n")
    table.cut(2)
    assert path.read_text().count("\n") == 3
    assert names(tmp_path) == ["table.csv"]


def test_a_table_on_a_full_disk_is_a_failure_that_names_it(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full here")
    (tmp_path / "table.csv").symlink_to("/dev/full")
    with pytest.raises(Failure, match=rf"^{tmp_path}/table.csv: cannot be written: {os.strerror(errno.ENOSPC)}$"):
        Table(tmp_path / "table.csv", ("meta_step",)).append([{"meta_step": 1}])


def test_events_that_cannot_be_written_are_one_warning(tmp_path, capsys):
    directory = RunDirectory.create(tmp_path / "run", SPEC)
    (tmp_path / "run" / "events").write_text("a file")
    with directory.in_use():
        directory.events.write_values(1, {"meta_loss": 1.0}, {})
        directory.events.write_values(2, {"meta_loss": 1.0}, {})
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "run/events: no more TensorBoard events: " in said


def test_events_that_fail_later_are_one_warning(tmp_path, capsys):
    directory = RunDirectory.create(tmp_path / "run", SPEC)
    with directory.in_use():
        directory.events.write_values(1, {"meta_loss": 1.0}, {})
        with file_size_limit(100):
            for meta_step in range(2, 100):
                directory.events.write_values(meta_step, {"meta_loss": 1.0}, {})
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "File too large" in said


def test_events_leave_nothing_in_memory(tmp_path):
    """TensorFlow keeps 760 bytes for every Python number that it has ever made a tensor of."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("there is no /proc here")
    directory = RunDirectory.create(tmp_path / "run", SPEC)

    def write(events):
        for meta_step in events:
            directory.events.write_values(meta_step, {f"scalar/{index}": meta_step + index / 20 for index in range(20)}, {})
        return int(statm.read_text().split()[1]) * resource.getpagesize() / 2**20

    with directory.in_use():
        before = write(range(100))
        assert write(range(100, 1100)) - before < 4  # MB; 15 if they were kept


def test_tensorboard_reads_the_scalars(tmp_path):
    directory = RunDirectory.create(tmp_path / "run", SPEC)
    with directory.in_use():
        for meta_step in (1, 7):
            directory.events.write_values(meta_step, {"meta_loss/a (b=1)": -0.5 * meta_step, "rate": 2}, {})
    read = EventAccumulator(str(tmp_path / "run" / "events")).Reload()
    assert [(entry.step, entry.value) for entry in read.Scalars("meta_loss/a (b=1)")] == [(1, -0.5), (7, -3.5)]
    assert [(entry.step, entry.value) for entry in read.Scalars("rate")] == [(1, 2.0), (7, 2.0)]


def test_two_runs_in_one_directory_are_refused(tmp_path):
    first = RunDirectory.create(tmp_path / "run", SPEC)
    second, _ = RunDirectory.reopen(tmp_path / "run", None)
    with first.in_use(), pytest.raises(BadInput, match="run: another process is training here"), second.in_use():
        pass
    with second.in_use():
        pass


def test_a_process_killed_before_it_wrote_its_spec_leaves_the_directory_free(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".spec.yaml.abcdefgh.tmp").write_text("seed")
    RunDirectory.create(tmp_path / "run", SPEC)
    assert names(tmp_path / "run") == [".lock", "spec.yaml"]


def test_of_two_runs_that_begin_at_once_in_one_directory_one_is_refused(tmp_path):
    (tmp_path / "run").mkdir()
    with locked(tmp_path / "run" / LOCK), pytest.raises(BadInput, match="another process begins here"):
        RunDirectory.create(tmp_path / "run", SPEC)
    RunDirectory.create(tmp_path / "run", SPEC)
    with pytest.raises(BadInput, match="already used"):
        RunDirectory.create(tmp_path / "run", SPEC)
