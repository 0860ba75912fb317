import numpy as np
import pytest

from l2o_cli.meta.horizons import draw
from l2o_cli.spec import Lengths


def test_exponential_has_its_mean_and_its_bounds():
    lengths = Lengths(distribution="exponential", scale=200, minimum=50, maximum=100_000)
    values = draw(lengths, np.random.default_rng(0), 20_000)
    assert values.min() == 50
    assert values.mean() == pytest.approx(250, rel=0.03)
    assert np.median(values) == pytest.approx(50 + 200 * np.log(2), rel=0.03)
    assert draw(lengths.model_copy(update={"maximum": 60}), np.random.default_rng(0), 100).max() == 60


def test_log_uniform_has_as_much_in_each_octave():
    lengths = Lengths(distribution="log_uniform", minimum=16, maximum=256)
    values = draw(lengths, np.random.default_rng(0), 20_000)
    assert values.min() >= 16 and values.max() <= 256
    assert np.median(values) == pytest.approx(64, rel=0.05)


def test_constant_is_the_maximum():
    assert draw(Lengths(distribution="constant", maximum=7), np.random.default_rng(0), 3).tolist() == [7, 7, 7]
