"""Meta-training runs that a signal ends, and runs that have nothing to show."""

import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from l2o_cli.errors import Failure
from l2o_cli.export.artifact import load_artifact
from l2o_cli.meta.trainer import Trainer
from tests.meta.test_trainer import LIGHT, TINY, assert_same, light


def start_process(tmp_path, out):
    optimizer = {"name": "hrnn", "options": {"hidden": [2], "initial_rate": [0.01, 0.1]}}
    changes = LIGHT | {"optimizer": optimizer, "meta_steps": 80, "checkpoint_every": 20}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(TINY | changes | {"validation": TINY["validation"] | {"every": 20}}))
    command = [sys.executable, "-m", "l2o_cli", "meta-train", "spec.yaml", "--out", out, "--no-xla"]
    return subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": os.getcwd()}
    )


def wait_for_rows(path, count):
    deadline = time.monotonic() + 120
    while not path.exists() or path.read_text().count("\n") < count:
        assert time.monotonic() < deadline, f"{path} does not grow"
        time.sleep(0.005)


@pytest.mark.slow
def test_an_interrupted_run_resumes_to_the_same_weights(tmp_path, l2o):
    """SIGINT of a process against a run that nobody disturbed."""
    interrupted = start_process(tmp_path, "run")
    wait_for_rows(tmp_path / "run" / "metrics.csv", 4)
    interrupted.send_signal(signal.SIGINT)
    assert "--resume" in interrupted.communicate()[1]
    assert interrupted.returncode == 130
    assert l2o("meta-train", "--resume", "--out", "run", "--no-xla").returncode == 0
    assert l2o("meta-train", "spec.yaml", "--out", "whole", "--no-xla").returncode == 0
    first, second = (load_artifact(tmp_path / run / "artifact").weights for run in ("run", "whole"))
    assert_same(first, second)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"meta_optimizer": {"discard_norm": 1e-30}}, ["all meta-steps are skipped", "quadratic", "discard_norm"]),
        ({"problems": [{"name": "FOLDER/lost.py:Lost"}]}, ["lost.py:Lost", "diverge at once", "other problems"]),
    ],
)
def test_a_run_whose_meta_steps_are_all_skipped_ends_without_an_artifact(tmp_path, changes, words):
    (tmp_path / "lost.py").write_text(LOST)
    made = yaml.safe_load(yaml.safe_dump(changes).replace("FOLDER", str(tmp_path)))
    told = []
    trainer = Trainer.open(light(**{"validation": {}, "meta_steps": 3} | made), tmp_path / "run", xla=False)
    for _ in range(2):  # resumed, it is the same
        with pytest.raises(Failure) as error:
            trainer.run(lambda record: told.extend(record.warnings))
        assert all(word in str(error.value) for word in words) and "no artifact" in str(error.value)
        assert not trainer.directory.artifact.exists()
        trainer = Trainer.open(None, tmp_path / "run", resume=True, xla=False)
    assert [(warning.kind, warning.meta_step) for warning in told if warning.kind == "fruitless"] == [("fruitless", 1)]


LOST = """
from dataclasses import dataclass
from l2o_problems.quadratics import Quadratic

@dataclass(frozen=True)
class Lost(Quadratic):
    def loss(self, params, task, batch):
        return super().loss(params, task, batch) * float("nan")
"""
