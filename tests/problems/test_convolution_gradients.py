"""Convolutions in a process where memory that nothing was written to shows, on this CPU and as on one without AVX-512."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("convolution_gradients.py")


# What goes wrong with AVX-512 is a write beyond the end, which this does not see; with AVX2 it is the numbers.
@pytest.mark.parametrize(
    "most, plain",
    [pytest.param("DEFAULT", "0", marks=pytest.mark.slow), ("AVX2", "0"), pytest.param("AVX2", "1", marks=pytest.mark.slow)],
)
def test_convolutions_and_their_gradients_are_those_of_float64(most, plain):
    inherited = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    environment = {"MALLOC_PERTURB_": "61", "ONEDNN_MAX_CPU_ISA": most, "L2O_PLAIN_TENSORFLOW": plain}
    environment |= {"PYTHONPATH": str(SCRIPT.parents[2])}
    result = subprocess.run([sys.executable, SCRIPT], env=inherited | environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr[-2000:]
    assert int(result.stdout.split()[-3]) > 100
