"""How the list of NAdamW settings is chosen."""

import itertools

import numpy as np

from docs.tools import nadamw_list
from l2o_cli.optimizers.search_spaces import SPACES, sample
from l2o_cli.spec import parse_problems
from l2o_cli.stages import Stages


def test_losses_in_units_of_what_is_to_be_won():
    initial = np.array([10.0, 1.0, 5.0])
    final = np.array([[2.0, -1.0, 5.0], [6.0, 0.0, 9.0], [100.0, np.inf, np.inf]])
    expected = [[0, 0, 1], [0.5, 0.5, 1], [2, 2, 1]]  # nothing is won on the third
    np.testing.assert_allclose(nadamw_list.normalized(initial, final), expected)


def test_greedy_choice_is_that_of_an_exhaustive_search():
    losses = np.random.default_rng(0).uniform(size=(12, 7))
    chosen = nadamw_list.greedy(losses, 4)
    taken = []
    for index, mean in chosen:
        means = [losses[[*taken, other]].min(axis=0).mean() for other in range(12)]
        assert index == int(np.argmin(means)) and np.isclose(mean, min(means))
        taken.append(index)
    assert all(later < earlier for (_, earlier), (_, later) in itertools.pairwise(chosen))


def test_measured_and_written():
    settings = [nadamw_list.PUBLIC, {**nadamw_list.PUBLIC, "learning_rate": 0.05}, *sample("nadamw", 0, 2)]
    initial, final = nadamw_list.measure(["bowl(condition=5.0)"], settings, Stages(quiet=True), steps=40)
    assert initial.shape == (2,) and final.shape == (4, 2)
    assert (final[1] < final[0]).all() and (final[0] < initial).all()  # each seed beside its own initial loss
    lines = nadamw_list.table(settings, [(1, 0.5), (0, 0.25)]).splitlines()
    head = [line for line in lines if line.startswith("# ")]
    assert len(lines) == len(head) + 3 and lines[len(head) + 1].startswith("0.05,") and lines[-1].endswith(",0.25")


def test_no_problem_is_a_meta_test_problem():
    def families(*ensembles):
        return {family.title: family.make() for name in ensembles for family in parse_problems(name)}

    seen = families("wichrowska2017", "wichrowska2017-released", "wichrowska2017-validation")
    held_out = families("wichrowska2017-test", "real-data").values()
    for text in nadamw_list.PROBLEMS:
        [family] = parse_problems(text)
        assert family.make() in seen.values() and family.make() not in held_out, text
    assert set(nadamw_list.PUBLIC) <= set(SPACES["nadamw"].optimizer.init_weights(0))
