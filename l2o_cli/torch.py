"""A learned optimizer as one of PyTorch's, on Keras's PyTorch backend.

    from l2o_cli.torch import LearnedOptimizer

    optimizer = LearnedOptimizer(model.parameters(), "tensor_rnn", steps=10_000)
    for inputs, targets in batches:
        optimizer.zero_grad()
        loss = loss_of(model(inputs), targets)
        loss.backward()
        optimizer.show_loss(loss)
        optimizer.step()

Import this before Keras, which then runs on PyTorch; TensorFlow is not imported.

Shape letters: P parameters (of all params of a run packed), F features and N entries of a leaf of the rule's state.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from l2o_cli.keras_settings import require_backend

require_backend("torch", "l2o_cli.torch")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import distributed  # noqa: E402

from l2o_cli.export.artifact import LoadedOptimizer  # noqa: E402
from l2o_cli.export.packed_variables import PackedVariables, float32  # noqa: E402
from l2o_cli.export.resolve import resolve  # noqa: E402
from l2o_cli.export.rules import initial_state, loss_of, reads_loss, rule_of, tensors  # noqa: E402
from l2o_cli.optimizers import fused  # noqa: E402
from l2o_cli.optimizers.packing import spread  # noqa: E402
from l2o_cli.optimizers.transforms import names_of  # noqa: E402

LEARNED = "learned"  # the entry of a state_dict beside PyTorch's own


@dataclass
class _Run:
    """Params that were there from one step on: one problem instance with a state of its own.

    Attributes:
        params: all on one device.
        packing: how they are packed.
        step: updates made.
        state: the rule's, leaves [F, 1, N] in float32 but for those that the rule keeps otherwise.
        true: of a rule with attention the params, [1, P], since the model holds the attended point; else None.
    """

    params: list[torch.Tensor]
    packing: PackedVariables
    step: int
    state: dict[str, torch.Tensor]
    true: torch.Tensor | None


class LearnedOptimizer(torch.optim.Optimizer):
    """A learned (or hand-designed) optimizer for PyTorch.

    All params are one problem instance: the update sees them at once and computes in float32, whatever their type. Those that
    come later, by `add_param_group` or since they were frozen at the first step, are another one, whose first step it is then.
    A param without a gradient counts as one with the gradient zero and stays as it is. If gradients are not finite, the rule
    says what happens, as inside `l2o`: most bound them; with `skip_nonfinite`, and with `torch.amp.GradScaler`, nothing does.

    An optimizer that reads the loss is shown it by `show_loss(loss)` before each `step`, or by a closure.

    With attention the gradients are taken away from the params: while it trains, the model holds the attended point. Call
    `eval()` to have the params in it, and `train()` before you train on.

    Args:
        params: of the model, or groups of them with `lr` and `weight_decay` of their own.
        optimizer: a name, a path (see `l2o_cli.export.resolve.resolve`) or a `LoadedOptimizer`.
        lr: multiplies every update; the optimizer sets its own step lengths, so 1.0, or what a scheduler makes of it.
        weight_decay: at each step, before the update, the params shrink by `weight_decay * lr` of themselves.
        steps: how many updates will be made, for optimizers that go by the length of the run; None: not known.
        seed: of the random part of the initial state.
        skip_nonfinite: where a gradient (or a loss that is read) is not finite, leave params and state as they are; the step is
            then no step of the run, and `skipped` counts it.
        compile: whether `torch.compile` makes kernels of the update of `hrnn`, which takes up to a minute at the first step;
            None: of many params on a CUDA device, if Triton is there and the environment has no `L2O_PLAIN_UPDATES`.

    Raises:
        BadInput: no optimizer of that name, or nothing at that path.
        Failure: what was found there is damaged.
        ValueError: a bad hyperparameter; or the optimizer goes by the length of the run, and `steps` is not given; or (from
            `step`) it reads the loss and has not been shown it, or params lie on several devices.
    """

    def __init__(
        self,
        params: Iterable[Any],
        optimizer: str | os.PathLike | LoadedOptimizer,
        lr: float = 1.0,
        weight_decay: float = 0.0,
        *,
        steps: int | None = None,
        seed: int = 0,
        skip_nonfinite: bool = False,
        compile: bool | None = None,
    ):
        for name, value in (("lr", lr), ("weight_decay", weight_decay)):
            if not value >= 0:
                raise ValueError(f"{name} must be 0 or more, not {value!r}")
        self._loaded = optimizer if isinstance(optimizer, LoadedOptimizer) else resolve(optimizer)
        self._rule, self._seed = rule_of(self._loaded, steps), seed
        with float32(), keras.device("cpu"):
            self.reads_loss = reads_loss(self._rule, self._loaded.weights)
        self._loss: torch.Tensor | None = None
        self._runs: list[_Run] = []
        self._weights: dict[torch.device, dict[str, torch.Tensor]] = {}
        self._evaluating = False
        self._skip_nonfinite, self.skipped, self._compile = skip_nonfinite, 0, compile
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    def show_loss(self, loss: torch.Tensor | float) -> None:
        """The training loss of the minibatch of the gradients, unscaled; the next step takes it.

        Where `torch.distributed` trains in several processes, it is the mean of theirs, as their gradients are with DDP.
        """
        shown = torch.as_tensor(loss).detach().float().mean()
        if self.reads_loss and distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(shown)
            shown = shown / distributed.get_world_size()
        self._loss = shown

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the params by their gradients; `closure` computes these and returns the loss."""
        if self._evaluating:
            raise ValueError("the model holds the params for evaluation; call train() on the optimizer before step()")
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
            self.show_loss(loss)
        if self.reads_loss and self._loss is None:
            raise ValueError(
                f"optimizer {names_of(self._rule)!r} reads the loss: call show_loss(loss) before step(), or give step a closure"
            )
        if self._skip_nonfinite and not self._finite():
            self.skipped += 1
        else:
            with float32():
                self._gather()
                for run in self._runs:
                    with keras.device(_name(run.params[0].device)):
                        self._update(run)
        self._loss = None
        return loss

    def eval(self) -> None:
        """Put the params into the model, where an optimizer with attention has the attended point in it."""
        self._show(evaluating=True)

    def train(self) -> None:
        """The inverse of `eval`."""
        self._show(evaluating=False)

    def state_dict(self) -> dict[str, Any]:
        """PyTorch's, with the state of the rule in float32 under "learned"."""
        index = {id(param): number for number, param in enumerate(self._params())}
        runs = [
            {"params": [index[id(param)] for param in run.params], "step": run.step, "state": dict(run.state), "true": run.true}
            for run in self._runs
        ]
        return {**super().state_dict(), LEARNED: {"runs": runs, "evaluating": self._evaluating, "skipped": self.skipped}}

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse; ValueError if the state is that of another optimizer or of other params."""
        if LEARNED not in state_dict:
            raise ValueError(f"the state has no entry {LEARNED!r}: it is that of another optimizer")
        params, learned, runs = self._params(), state_dict[LEARNED], []
        for saved in learned["runs"]:
            if not all(number < len(params) for number in saved["params"]):
                raise ValueError("the state is that of more params than the optimizer has")
            run = self._begin([params[number] for number in saved["params"]])
            found, own = ({name: tuple(leaf.shape) for name, leaf in state.items()} for state in (saved["state"], run.state))
            if found != own:
                raise ValueError("the state is that of another optimizer, or of params of other shapes")
            run.step = saved["step"]
            run.state = {name: saved["state"][name].detach().clone().to(leaf) for name, leaf in run.state.items()}
            run.true = None if run.true is None else saved["true"].detach().clone().to(run.true)
            runs.append(run)
        super().load_state_dict({name: value for name, value in state_dict.items() if name != LEARNED})
        self._runs, self._evaluating = runs, learned["evaluating"]  # only now: what is refused changes nothing
        self.skipped = learned.get("skipped", 0)

    def __getstate__(self) -> dict[str, Any]:
        own = ["_loaded", "_rule", "_seed", "reads_loss", "_loss", "_runs", "_weights", "_evaluating"]
        own += ["_skip_nonfinite", "skipped", "_compile"]
        return {**super().__getstate__(), **{name: self.__dict__[name] for name in own}}

    def _finite(self) -> bool:
        """Whether all gradients, and the loss if it is read, are finite."""
        gradients = [_dense(param.grad) for param in self._params() if param.grad is not None]
        read = [self._loss] if self.reads_loss and self._loss is not None else []
        return all(bool(torch.isfinite(values).all()) for values in (*gradients, *read))

    def _params(self) -> list[torch.Tensor]:
        return [param for group in self.param_groups for param in group["params"]]

    def _gather(self) -> None:
        """Begin a run of the params that are there for the first time."""
        known = {id(param) for run in self._runs for param in run.params}
        new = [param for param in self._params() if id(param) not in known and param.requires_grad and param.numel()]
        if new:
            self._runs.append(self._begin(new))

    def _begin(self, params: list[torch.Tensor]) -> _Run:
        devices = sorted({_name(param.device) for param in params})
        if len(devices) > 1:
            raise ValueError(f"all params must lie on one device, not on {' and '.join(devices)}; give each device an optimizer")
        if any(param.is_complex() for param in params):
            raise ValueError("params must be real numbers")
        packing = PackedVariables([param.shape for param in params], [self._path(param) for param in params])
        with keras.device(devices[0]):
            state = initial_state(self._rule, self._loaded.weights, packing.layout, self._seed)
            true = packing.pack(dict(enumerate(params))).detach() if self._rule.evaluates_elsewhere else None
        return _Run(params, packing, 0, state, true)

    def _path(self, param: torch.Tensor) -> str:
        """The name of a param where it was given by name, as in `LearnedOptimizer(model.named_parameters(), ...)`."""
        for group in self.param_groups:
            for name, own in zip(group.get("param_names") or (), group["params"], strict=False):
                if own is param:
                    return str(name)
        return ""

    def _update(self, run: _Run) -> None:
        device, packing = run.params[0].device, run.packing
        weights = self._weights_on(device)
        given = {index: _dense(param.grad) for index, param in enumerate(run.params) if param.grad is not None}
        if not given:
            return
        rates, decays = self._per_tensor(run, "lr"), self._per_tensor(run, "weight_decay")
        held = packing.pack(dict(enumerate(run.params)))
        old = held if run.true is None else run.true
        params = old * (1 - rates * decays) if torch.any(decays) else old
        loss = loss_of(self._rule, self._loss.to(device) if self.reads_loss and self._loss is not None else 1.0)
        step = torch.full((1,), run.step, dtype=torch.int32, device=device)
        with fused.compiling(self._compile, device, packing.layout):
            new, state = self._rule.update(weights, run.state, params, packing.pack(given), loss, step, packing.layout)
        new = packing.choose(given.keys(), torch.where(rates == 1, new, params + rates * (new - params)), old)
        run.state, run.step = dict(state), run.step + 1
        if run.true is not None:
            run.true = new
            new = self._rule.evaluation_point(weights, run.state, new, packing.layout)
        self._write(run, new)

    def _weights_on(self, device: torch.device) -> dict[str, torch.Tensor]:
        """Of the rule, on the device that Keras is on."""
        if device not in self._weights:
            self._weights[device] = tensors(self._loaded.weights)
        return self._weights[device]

    def _per_tensor(self, run: _Run, option: str) -> torch.Tensor:
        """A group's option for each of its params, spread over their entries, [1, P]."""
        values = {id(param): float(group[option]) for group in self.param_groups for param in group["params"]}
        row = [values[id(run.params[index])] for index in run.packing.indices]
        return spread(keras.ops.convert_to_tensor(np.array([row], np.float32)), run.packing.layout)

    @torch.no_grad()
    def _show(self, evaluating: bool) -> None:
        if evaluating == self._evaluating:
            return
        for run in self._runs:
            if run.true is not None:
                device = run.params[0].device
                with float32(), keras.device(_name(device)):
                    point = self._rule.evaluation_point(self._weights_on(device), run.state, run.true, run.packing.layout)
                    self._write(run, run.true if evaluating else point)
        self._evaluating = evaluating

    def _write(self, run: _Run, packed: torch.Tensor) -> None:
        for index, value in run.packing.unpack(packed).items():
            run.params[index].copy_(value)


def _dense(gradient: torch.Tensor) -> torch.Tensor:
    return gradient.to_dense() if gradient.is_sparse else gradient


def _name(device: torch.device) -> str:
    """As Keras calls it."""
    return device.type if device.index is None else f"{device.type}:{device.index}"
