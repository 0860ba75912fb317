"""How learned optimizers do on two networks much larger than those of meta-training, beside Adam at five learning rates.

    python -m docs.tools.large_nets --out results.json --optimizer tensor_rnn --optimizer hrnn
    python -m docs.tools.large_nets --into-card checkpoints/tensor_rnn results.json

The first needs JAX, optax and an accelerator (`--small` shrinks all of it for a CPU), and no TensorFlow. It writes the file
after every run, and goes on with one that is there. The networks are in `docs/tools/large_networks.py`. The second puts the
section `large_networks` into the card of a published optimizer, which `l2o optimizers NAME` shows.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from l2o_cli.errors import BadInput, Failure
from l2o_cli.files import write_atomically

say = functools.partial(print, flush=True)

NETWORKS = ("gpt", "resnet")
ADAM_RATES = (3e-4, 1e-4, 1e-3, 3e-5, 3e-3)  # the likeliest first, should the time run out
MARKS, SPAN = (20, 100, 300, 600, 1000, 1500), 20  # the loss of a run is said at these steps, the mean of so many
FINAL = 100  # steps that the final training loss is the mean of
SECTION, LOSSES = "large_networks", ("final_train_loss", "held_out_loss")  # on a card; of which a card has Adam's least
CHUNK = {False: 50, True: 10}  # steps of one compiled call; with --small


class Contender(NamedTuple):
    """An optimizer that is run.

    Attributes:
        rates: learning rates that it is run at; None alone for a learned optimizer, which has none.
        make: from a learning rate to a transformation.
        params_of: from a state and the params that it moves to the params that are evaluated.
        weights: the SHA-256 on its card, if it has one.
    """

    label: str
    rates: tuple[float | None, ...]
    make: Callable[[Any], Any]
    params_of: Callable[[Any, Any], Any]
    weights: str | None


def contenders(names: Sequence[str], steps: int) -> list[Contender]:
    """The learned optimizers of these names for runs of so many steps, and Adam."""
    from l2o_cli.optax import learned_optimizer, optax, params_of, resolve

    made = []
    for name in dict.fromkeys(names):
        loaded = resolve(name)
        learned = learned_optimizer(loaded, steps=steps)
        weights = loaded.card["weights"]["sha256"] if loaded.card else None
        made.append(Contender(loaded.label, (None,), lambda rate, learned=learned: learned, params_of, weights))
    adam = Contender(
        "adam", ADAM_RATES, lambda rate: optax.with_extra_args_support(optax.adam(rate)), lambda state, params: params, None
    )
    return [*made, adam]


class Training:
    """A network and an optimizer, compiled once for all learning rates.

    Attributes:
        parameters: of the network.
        compile_seconds: what it took to compile.
    """

    def __init__(self, network: Any, contender: Contender, chunk: int, seed: int):
        import jax
        import optax
        from jax import numpy as jnp

        def steps(carry: Any, rate: Any, train: Any) -> tuple[Any, Any]:
            optimizer, key = contender.make(rate), jax.random.key(seed + 1)

            def step(carry: Any, _: None) -> tuple[Any, Any]:
                params, state, count = carry
                batch = network.minibatch(train, jax.random.fold_in(key, count))
                loss, gradients = jax.value_and_grad(network.loss)(params, batch)
                updates, state = optimizer.update(gradients, state, params, value=loss)
                return (optax.apply_updates(params, updates), state, count + 1), loss

            return jax.lax.scan(step, carry, length=chunk)

        def held_out(carry: Any, batches: Any) -> Any:
            params = contender.params_of(carry[1], carry[0])
            return jnp.mean(jax.lax.map(lambda batch: network.loss(params, batch), batches))

        self._jax, self._network, self._contender, self._chunk, self._seed = jax, network, contender, chunk, seed
        began = time.perf_counter()
        carry = self._start()
        self.parameters = sum(leaf.size for leaf in jax.tree.leaves(carry[0]))
        self._steps = jax.jit(steps, donate_argnums=0).lower(carry, jnp.float32(0), network.train).compile()
        self._held_out = jax.jit(held_out).lower(carry, network.held_out).compile()
        self.compile_seconds = time.perf_counter() - began

    def _start(self) -> Any:
        """(params, state, steps done), each array in memory of its own, which donation needs."""
        jax = self._jax
        params = jax.jit(self._network.init)(jax.random.key(self._seed))
        return jax.tree.map(jax.numpy.copy, (params, self._contender.make(0.0).init(params), jax.numpy.int32(0)))

    def run(self, rate: float | None, steps: int) -> dict[str, Any]:
        """What is recorded of a run; None where a loss, or one of those that a mean is of, is not finite."""
        carry, parts, seconds = self._start(), [], []
        number = self._jax.numpy.float32(rate or 0)
        for _ in range(steps // self._chunk):
            began = time.perf_counter()
            carry, new = self._steps(carry, number, self._network.train)
            parts.append(np.asarray(new))
            seconds.append(time.perf_counter() - began)
        losses = np.concatenate(parts)
        return {
            "loss_at_step": {str(mark): _mean(losses[mark - SPAN : mark]) for mark in MARKS if mark <= steps},
            "final_train_loss": _mean(losses[-FINAL:]),
            "held_out_loss": _mean(self._held_out(carry, self._network.held_out)),
            "non_finite_losses": int(np.count_nonzero(~np.isfinite(losses))),
            "step_milliseconds": 1000 * float(np.median(seconds)) / self._chunk,
        }


def _mean(values: Any) -> float | None:
    mean = float(np.mean(np.asarray(values), dtype=np.float64))
    return mean if math.isfinite(mean) else None


class Results:
    """The file of results, replaced after every run. One that is there is gone on with; BadInput if its settings differ."""

    def __init__(self, path: Path, settings: Mapping[str, Any]):
        self._path, self.content = path, {"settings": dict(settings), "data": {}, "runs": [], "failed": [], "left_out": []}
        if path.exists():
            self.content |= {name: read_results(path, settings)[name] for name in ("runs", "data")}

    def on(self, network: str, source: Mapping[str, Any]) -> None:
        if self.content["data"].setdefault(network, dict(source)) != source:
            raise BadInput(f"{self._path}: {network} has other data there, {self.content['data'][network]}; give another --out")

    def has(self, run: Mapping[str, Any]) -> bool:
        """Whether there is a run of which all this is said."""
        return any(run.items() <= other.items() for other in self.content["runs"])

    def add(self, section: str, entry: Any) -> None:
        self.content[section].append(entry)
        write_atomically(self._path, json.dumps(self.content, indent=1, allow_nan=False) + "\n")


def read_results(path: Path, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The content of a file of results; BadInput if it is none, or has other settings than these."""
    try:
        content = json.loads(path.read_text())
        found, _, _ = content["settings"], content["runs"], content["data"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path}: no results of large networks ({type(error).__name__}: {error})") from None
    for name, value in (settings or {}).items():
        if found.get(name) != value:
            raise BadInput(f"{path}: {name} is {found.get(name)!r} there and {value!r} here; give another --out")
    return content


def measure(asked: argparse.Namespace) -> None:
    """Make all runs, the most telling ones first, and write what comes of them."""
    began = time.perf_counter()
    chosen = contenders(asked.optimizer or ("tensor_rnn", "hrnn"), asked.steps)
    import jax

    from docs.tools import large_networks

    if jax.default_backend() == "cpu" and not asked.small:
        raise BadInput("JAX sees no accelerator, and a CPU would take hours; --small is for a CPU")
    settings = {"steps": asked.steps, "seed": asked.seed, "small": asked.small, "device": jax.devices()[0].device_kind}
    results = Results(asked.out, settings)
    say(f"{settings['device']}, JAX {jax.__version__}, {asked.steps} steps, seed {asked.seed}")
    networks = {}
    for name in asked.only or NETWORKS:
        networks[name] = large_networks.NETWORKS[name][asked.small]()
        results.on(name, networks[name].source)
        say(f"{name}: {networks[name].source['title']}, {networks[name].source['bytes']:,} bytes")
    trainings: dict[tuple[str, str], Training] = {}
    spent: dict[tuple[str, str], float] = {}  # seconds of the last run, without compiling
    for contender, rate, name in [(one, rate, name) for one in chosen for rate in one.rates for name in networks]:
        title, pair = f"{name}, {contender.label}" + ("" if rate is None else f" at {rate:g}"), (name, contender.label)
        known = {"network": name, "optimizer": contender.label, "learning_rate": rate, "weights_sha256": contender.weights}
        if results.has(known):
            say(f"{title}: was run before")
            continue
        if time.perf_counter() - began + expected(pair, spent, trainings) > 60 * asked.minutes:
            say(f"{title}: left out, it would probably not end in time")
            results.add("left_out", title)
            continue
        try:
            if pair not in trainings:
                trainings[pair] = Training(networks[name], contender, CHUNK[asked.small], asked.seed)
                say(f"{title}: compiled in {trainings[pair].compile_seconds:.1f} s")
            start = time.perf_counter()
            run = trainings[pair].run(rate, asked.steps)
            spent[pair] = time.perf_counter() - start
        except Exception as error:  # whatever it is, such as too little memory: the other runs go on
            say(f"{title}: failed, {type(error).__name__}: {str(error)[:300]}")
            results.add("failed", {"run": title, "error": f"{type(error).__name__}: {str(error)[:2000]}"})
            continue
        costs = {"seconds": spent[pair], "compile_seconds": trainings[pair].compile_seconds}
        results.add("runs", known | {"parameters": trainings[pair].parameters} | run | costs | settings)
        losses = f"training loss {run['final_train_loss']}, held-out loss {run['held_out_loss']}"
        say(f"{title}: {losses}, {run['step_milliseconds']:.3g} ms a step, {spent[pair]:.1f} s")
    say(f"{time.perf_counter() - began:.0f} s in all")


def expected(
    pair: tuple[str, str], spent: Mapping[tuple[str, str], float], trainings: Mapping[tuple[str, str], Training]
) -> float:
    """Seconds that the next run of a network and an optimizer will probably take, with compiling if it is the first."""
    if pair in spent:
        return spent[pair]
    whole = {other: seconds + trainings[other].compile_seconds for other, seconds in spent.items()}
    alike = [seconds for (network, _), seconds in whole.items() if network == pair[0]]
    return max(alike or whole.values(), default=0.0)


def section_of(results: Mapping[str, Any], label: str, weights: str) -> dict[str, Any]:
    """What a card says of the runs with these weights: their losses, and beside each the least of Adam's at all its rates.

    Raises:
        BadInput: there are no such runs, or Adam lacks some beside them, or the networks are small ones.
    """
    if results["settings"]["small"]:
        raise BadInput("--small made these results; a card is for those of the large networks")
    rows = []
    for own in results["runs"]:
        if (own["optimizer"], own["weights_sha256"]) != (label, weights):
            continue
        adam = [run for run in results["runs"] if (run["network"], run["optimizer"]) == (own["network"], "adam")]
        if missing := set(ADAM_RATES) - {run["learning_rate"] for run in adam}:
            raise BadInput(f"{own['network']}: no run of adam at {', '.join(f'{rate:g}' for rate in sorted(missing))}")
        best = {loss: min(adam, key=lambda run: math.inf if run[loss] is None else run[loss]) for loss in LOSSES}
        trained, held_out = (best[loss] for loss in LOSSES)
        kept = (*LOSSES, "loss_at_step", "step_milliseconds", "non_finite_losses")
        beside = {name: trained[name] for name in ("learning_rate", *kept)}
        beside |= {"held_out_loss": held_out["held_out_loss"], "held_out_learning_rate": held_out["learning_rate"]}
        known = {name: own[name] for name in ("network", "parameters", *kept)}
        rows.append(known | {"adam": beside, "data": results["data"][own["network"]]})
    if not rows:
        raise BadInput(f"no run of {label} with the weights of this checkpoint")
    settings = {name: results["settings"][name] for name in ("device", "steps", "seed")}
    return settings | {"adam_learning_rates": sorted(ADAM_RATES), "rows": rows}


def into_card(folder: Path, path: Path) -> None:
    """Put the results in a file into the card of the optimizer that they are of."""
    os.environ.setdefault("KERAS_BACKEND", "jax")  # the card needs none, what reads it imports Keras
    from l2o_cli.export.artifact import add_to_card, load_artifact

    loaded, results = load_artifact(folder), read_results(path)
    try:
        section = section_of(results, loaded.label, loaded.card["weights"]["sha256"])
    except (BadInput, KeyError, TypeError) as error:
        raise BadInput(f"{path}: {error if isinstance(error, BadInput) else f'lacks {error}'}") from None
    add_to_card(folder, SECTION, section)
    say(f"{folder}: {SECTION} of {', '.join(row['network'] for row in section['rows'])}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m docs.tools.large_nets", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the results go, JSON")
    parser.add_argument("--optimizer", action="append", metavar="NAME|DIR", help="learned; repeatable (tensor_rnn and hrnn)")
    parser.add_argument("--steps", type=int, default=1500, help="of every run (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of params and minibatches, the same for all (%(default)s)")
    parser.add_argument("--only", action="append", choices=NETWORKS, help="this network alone")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no run that would probably end later")
    parser.add_argument("--small", action="store_true", help="small networks, for a CPU")
    help_of_card = "put the results in FILE into the card of the published optimizer in DIR; with no other option"
    parser.add_argument("--into-card", nargs=2, type=Path, metavar=("DIR", "FILE"), help=help_of_card)
    asked = parser.parse_args(arguments)
    if (asked.out is None) == (asked.into_card is None):
        parser.error("give --out or --into-card, one of the two")
    if asked.steps < 1 or asked.steps % CHUNK[asked.small]:
        parser.error(f"--steps {asked.steps}: must be a multiple of {CHUNK[asked.small]}")
    try:
        into_card(*asked.into_card) if asked.into_card else measure(asked)
    except (BadInput, Failure) as error:
        sys.exit(f"large_nets: {error}")


if __name__ == "__main__":
    main()
