"""Checkpoints that are damaged, or not what they say: passed over with a line, never taken for what they are not."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from l2o_cli.errors import Failure
from l2o_cli.meta.checkpoints import Checkpoints, mismatch
from l2o_cli.meta.trainer import Interrupted, Trainer
from tests.export.test_damage import DAMAGES
from tests.meta.test_run_directory import assert_is, leaves, trusting
from tests.meta.test_trainer import light, train


@pytest.mark.parametrize("seeds", [range(40), pytest.param(range(40, 240), marks=pytest.mark.slow)], ids=["some", "many"])
def test_damaged_files(seeds, tmp_path, capsys):
    kept = Checkpoints(tmp_path / "checkpoints")
    for meta_step in (6, 9):
        kept.save(meta_step, leaves(meta_step))
    files = sorted((tmp_path / "checkpoints" / "ckpt-9").iterdir())
    passed_over = 0
    for seed in seeds:
        file = files[seed % 2]
        whole = file.read_bytes()
        damaged = DAMAGES[seed // 2 % len(DAMAGES)](whole, np.random.default_rng(seed))
        file.write_bytes(damaged)
        found = Checkpoints(tmp_path / "checkpoints").restore(trusting)
        said = capsys.readouterr().err
        assert_is(found, 6 if said else 9)
        if said:
            passed_over += 1
            assert said.count("\n") == 1 and str(file.parent) in said and "going on from ckpt-6" in said
        assert file.read_bytes() == damaged
        file.write_bytes(whole)
    assert passed_over > len(seeds) / 2


def test_a_mismatch_is_told():
    like = {"a": tf.zeros([2, 3]), "b/c": tf.zeros([], tf.int32)}
    good = {"a": tf.ones([2, 3]), "b/c": tf.constant(4)}
    assert mismatch(good, like, ("a",)) is None
    for change, told in (
        ({"a": None}, "leaf 'a' is missing"),
        ({"d": tf.zeros([])}, "leaf 'd' is none of this run's"),
        ({"a": tf.ones([3, 2])}, "leaf 'a' has the shape (3, 2), not (2, 3)"),
        ({"b/c": tf.constant(4.0)}, "leaf 'b/c' is float32, not int32"),
        ({"a": tf.fill([2, 3], np.inf)}, "leaf 'a' is not finite"),
    ):
        changed = {name: leaf for name, leaf in {**good, **change}.items() if leaf is not None}
        assert mismatch(changed, like, ("a",)) == told
    assert mismatch(good | {"a": tf.fill([2, 3], np.nan)}, like) is None


@pytest.fixture(scope="module", name="stopped")
def _stopped(tmp_path_factory):
    """A run that was stopped, with checkpoints after the meta-steps 3 and 6."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(Interrupted):
        train(out, 6, spec=light())
    return out


WEIGHT, STATE = "weights/log_rate", "family/0/0/step"
REWRITTEN = {
    "missing": lambda found: found.pop(WEIGHT),
    "more": lambda found: found.update(more=tf.zeros([])),
    "more of a family": lambda found: found.update({"family/7/0/step": tf.zeros([4], tf.int32)}),
    "less of a family": lambda found: found.pop(STATE),
    "shape": lambda found: found.update({WEIGHT: tf.zeros([3])}),
    "type": lambda found: found.update({STATE: tf.cast(found[STATE], tf.float32)}),
    "weight": lambda found: found.update({WEIGHT: found[WEIGHT] * np.nan}),
    "params": lambda found: found.update({"family/0/0/params": found["family/0/0/params"] * np.inf}),
    "drawn later": lambda found: found.update({"family/0/drawn_at": found["family/0/drawn_at"] + 100}),
    "another time": lambda found: found.update(progress=found["progress"] + 1.0),
    "no score": lambda found: found.update(progress=tf.constant([6.0, 1.0, 1.0, np.nan], tf.float64)),
}


@pytest.mark.parametrize("change", REWRITTEN)
def test_a_checkpoint_that_is_not_of_this_run_is_passed_over(change, stopped, tmp_path, capsys):
    run = shutil.copytree(stopped, tmp_path / "run")
    found = Checkpoints(run / "checkpoints").restore(trusting)
    REWRITTEN[change](found)
    Checkpoints(run / "checkpoints").save(6, found)
    trainer = Trainer.open(None, run, resume=True, xla=False)
    said = capsys.readouterr().err
    assert trainer.state.meta_step == 3 and said.count("\n") == 1
    assert f"{run / 'checkpoints' / 'ckpt-6'}: " in said and "leaf '" in said and "going on from ckpt-3" in said


def test_renamed_checkpoints_are_refused(stopped, tmp_path):
    run = shutil.copytree(stopped, tmp_path / "run")
    folder = run / "checkpoints"
    for old, new in (("6", "x"), ("3", "6"), ("x", "3")):
        (folder / f"ckpt-{old}").rename(folder / f"ckpt-{new}")
    with pytest.raises(Failure, match=r"^[^\n]*ckpt-6: leaf 'progress'[^\n]*ckpt-3: leaf 'progress'[^\n]*can be read$"):
        Trainer.open(None, run, resume=True, xla=False)


def test_a_state_on_its_way_to_infinity_is_resumed(stopped, tmp_path):
    """As are losses that are not numbers: such an instance is frozen and replaced."""
    run = shutil.copytree(stopped, tmp_path / "run")
    found = Checkpoints(run / "checkpoints").restore(trusting)
    found["family/0/0/initial_loss"] *= np.nan
    found |= {name: leaf * np.nan for name, leaf in found.items() if name.startswith("family/0/0/state/")}
    Checkpoints(run / "checkpoints").save(6, found)
    assert Trainer.open(None, run, resume=True, xla=False).state.meta_step == 6
