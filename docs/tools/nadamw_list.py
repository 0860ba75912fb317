"""Making the list of NAdamW settings to try in order (an idea of Metz et al. 2020, section 4.3, whose lists are public).

    nice python -m docs.tools.nadamw_list

measures in some minutes and replaces `l2o_cli/optimizers/nadamw_list.csv`.

Shape letters: S settings, K tasks (a problem with a seed).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np

from l2o_cli import runtime
from l2o_cli.export.artifact import LoadedOptimizer
from l2o_cli.files import write_atomically
from l2o_cli.optimizers.search_spaces import MEAN_LOSS, NADAMW_LIST, SPACES, Setting, sample
from l2o_cli.runs.update_rules import RuleBatches
from l2o_cli.scoring.run_scores import score
from l2o_cli.spec import parse_problems
from l2o_cli.stages import Stages

# Quick and diverse ones of those that are meta-trained on and, the last three, chosen by; none is a meta-test problem.
PROBLEMS = (
    "quadratic(dimension=50)+gradient_noise(deviation=1.0)",
    "quadratic(dimension=25)+rescale(low=10.0,high=10.0)",
    "quadratic(dimension=20)+loss_transform(function=log)",
    "bowl(condition=5.0)+gradient_noise(deviation=0.1)",
    "rosenbrock",
    "beale+gradient_noise(deviation=1.0)",
    "logistic_regression(features=100,batch_size=50,separation=1.0)",
    "sparse_softmax",
    "norm(dimension=22,power=3.0)",
    "matrix_multiplication(size=2,products=7)",
    "outward_snake(dimension=12,samples=200,batch_size=10)",
    "dependency_chain(dimension=20)",
    "min_max_well(dimension=20)",
    "random_mlp(inputs=8,hidden=[32,64],batch_size=10)",
    "random_mlp(inputs=16,hidden=[24,12],classes=4,batch_size=32,activation=tanh)",
    "random_mlp(inputs=24,hidden=[40],classes=5,batch_size=64,activation=relu)",
    "cluster_mlp(inputs=40,hidden=[32],classes=10,batch_size=64,spread=1.5,activation=relu)",
)
SEEDS = (0, 1)
STEPS, CANDIDATES, LENGTH = 1000, 300, 10
WORST = 2.0  # the normalized loss of a diverged run, and of all worse than that

# The first of the public list, which is said to be good on many neural networks.
PUBLIC: Setting = {
    "learning_rate": 0.00119483,
    "beta_1": 0.936004,
    "beta_2": 0.998950,
    "epsilon": 5.876e-6,
    "nesterov": 0.0,
    "weight_decay": 0.010142,
    "regularization/l2": 0.0,
    "schedule/warmup": 0.0,
    "schedule/constant": 0.747304,
    "schedule/final": 0.0,
}
HEADER = f"""\
Settings of NAdamW to try in this order, made by python -m docs.tools.nadamw_list
Candidates: {CANDIDATES} of the search space "nadamw" (seed 0) and the first of the public list of Metz et al. 2020.
Each ran {STEPS} steps with {len(SEEDS)} seeds on {len(PROBLEMS)} problems.
The mean loss of the last 5 % of the steps was scaled so that the initial loss is 1 and the best of all candidates 0, and
clipped to {-WORST:g} and {WORST:g}; a diverged run has {WORST:g}.
Each setting is the one that lowers the mean over problems and seeds of the best so far most; {MEAN_LOSS} is that mean.
"""


def normalized(initial: np.ndarray, final: np.ndarray) -> np.ndarray:
    """Final losses in units of what is to be won on each task (Metz et al. 2020): the initial loss is 1, the best final one 0.

    Args:
        initial: [K].
        final: [S, K]; infinite for a diverged run.

    Returns:
        [S, K], clipped to -2 and 2. Where no setting is better than the initial loss, all are 1.
    """
    best = final.min(axis=0)
    room = initial - best
    scaled = np.where(np.isfinite(final), (final - best) / np.where(room > 0, room, 1), WORST)
    return np.clip(np.where(room > 0, scaled, 1.0), -WORST, WORST)


def greedy(losses: np.ndarray, length: int) -> list[tuple[int, float]]:
    """Settings in the order in which they are to be tried: each lowers the mean over tasks of the best so far most.

    Args:
        losses: [S, K].

    Returns:
        The index of each setting, and that mean with it.
    """
    so_far = np.full(losses.shape[1], np.inf)
    chosen = []
    for _ in range(length):
        means = np.minimum(losses, so_far).mean(axis=1)
        index = int(means.argmin())
        so_far = np.minimum(so_far, losses[index])
        chosen.append((index, float(means[index])))
    return chosen


def measure(texts: Sequence[str], settings: Sequence[Setting], stages: Stages, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Initial losses [K] and final ones [S, K] of NAdamW with each setting on each problem and seed."""
    space = SPACES["nadamw"]
    contender = LoadedOptimizer(space.text, space.optimizer, space.optimizer.init_weights(0), None, "built in")
    initial, final = [], []
    for text in texts:
        [family] = parse_problems(text)
        batches = RuleBatches(text, family.make(), contender, steps=steps, every=max(1, steps // 20))
        with stages.stage(f"{text}: {len(settings)} settings x {len(SEEDS)} seeds of {steps} steps") as advance:
            runs = batches.run(settings, SEEDS, curve=False, advance=advance)
        of_seeds = [runs[index :: len(SEEDS)] for index in range(len(SEEDS))]
        initial += [of_seed[0].losses[0] for of_seed in of_seeds]
        final += [[score(run).known("final_train_loss") for run in of_seed] for of_seed in of_seeds]
    return np.array(initial, np.float64), np.array(final, np.float64).T


def table(settings: Sequence[Setting], chosen: Sequence[tuple[int, float]]) -> str:
    """The chosen settings as CSV with the header."""
    text = io.StringIO()
    text.writelines(f"# {line}\n" for line in HEADER.splitlines())
    writer = csv.DictWriter(text, [*PUBLIC, MEAN_LOSS], lineterminator="\n")
    writer.writeheader()
    for index, mean in chosen:
        cells = {**settings[index], MEAN_LOSS: mean}
        writer.writerow({name: f"{value:.6g}" for name, value in cells.items()})
    return text.getvalue()


def main() -> None:
    runtime.prepare(False)
    settings = [PUBLIC, *sample("nadamw", 0, CANDIDATES)]
    losses = normalized(*measure(PROBLEMS, settings, Stages(quiet=False), STEPS))
    write_atomically(NADAMW_LIST, table(settings, greedy(losses, LENGTH)))


if __name__ == "__main__":
    main()
