"""What the card of a learned optimizer says: how it was meta-trained, what that has seen, how it does, what it is bad at.

The sections of a card that this is made of are free: what is missing or of another kind is not known, and None.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pydantic
from l2o_problems.base import Problem
from l2o_problems.file_names import is_file_name
from l2o_problems.transforms import Rescale, SumOfProblems, layers

from l2o_cli.catalog.text import Row, plain
from l2o_cli.comparison.sweeps.meta_trained import span
from l2o_cli.errors import BadInput
from l2o_cli.export.artifact import LoadedOptimizer
from l2o_cli.scoring.record import part
from l2o_cli.spec import ProblemSpec
from l2o_cli.terminal import print_facts, print_list, print_table, print_text

# {split: the column of a score that is compared with Adam's}
_LOSSES = {"training": "final_train_loss", "test": "final_test_loss"}
# {split: the loss on a large network that is compared with Adam's}
_LARGE_LOSSES = {"training": "final_train_loss", "held_out": "held_out_loss"}


def describe_card(loaded: LoadedOptimizer) -> Row | None:
    """All of it, for JSON; `print_card` says the same to people. None where there is no card, or nothing is on it."""
    if not loaded.card:
        return None
    trained, scores = part(loaded.card, "meta_training"), part(loaded.card, "scores")
    rows = _against_adam(scores, (loaded.label, part(loaded.card, "optimizer").get("name")))
    large = _large_networks(part(loaded.card, "large_networks"))
    description: Row = {
        "meta_training": _meta_training(trained) if trained else None,
        "seen": _seen(part(trained, "spec")),
        "scores": {"steps": _number(scores.get("steps")), "rows": rows} if rows else None,
        "large_networks": large,
        "worse_than_adam": {split: [row["problem"] for row in rows if (row[split] or 0) > 1] for split in _LOSSES},
        "weaknesses": list(loaded.card.get("weaknesses") or []),
    }
    return description if trained or rows or large or description["weaknesses"] else None


def _list(content: Mapping[str, Any], key: str) -> list[Any]:
    section = content.get(key)
    return section if isinstance(section, list) else []


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None


def _meta_training(trained: Mapping[str, Any]) -> Row:
    record, spec, titles = part(trained, "record"), part(trained, "spec"), _list(trained, "problems")
    sources = part(record, "data")
    seconds, config = _number(trained.get("seconds")), record.get("config")
    return {
        "config": config if isinstance(config, str) else None,
        "hours": None if seconds is None else seconds / 3600,
        "inner_steps": _number(trained.get("inner_steps")),
        "meta_steps": _number(trained.get("meta_steps")),
        "meta_steps_planned": _number(spec.get("meta_steps")),
        "families": len(titles) or None,
        "data": sorted({str(sources[title]) for title in titles if title in sources}),
    }


def _seen(spec: Mapping[str, Any]) -> Row | None:
    """The least and the greatest of what the families of meta-training have, None where none has it."""
    entries = _list(spec, "problems")
    families = [family for family in map(_family, entries) if family is not None]
    if not families:
        return None
    problems = [problem for _, problem in families]
    networks = [network for problem in problems for network in _networks(problem)]
    rescales = [layer for problem in problems for layer in layers(problem) if isinstance(layer, Rescale)]
    batches = [size for problem in problems for size in _batch_sizes(problem)]
    return {
        "families": len(families),
        "unread_families": len(entries) - len(families),
        "hidden_units": _range([width for widths, _ in networks for width in widths]),
        "hidden_layers": _range([depth for _, depth in networks]),
        "batch_size": _range(batches),
        "parameters": _range([sum(map(math.prod, problem.param_shapes.values())) for problem in problems]),
        "horizon": _range([end for family, _ in families for end in span(family.horizon or spec.get("horizon"))]),
        "truncation": _range([end for family, _ in families for end in span(family.truncation or spec.get("truncation"))]),
        "rescaling": _range([end for layer in rescales for end in (layer.low, layer.high)]),
        "rescaled_families": sum(any(isinstance(layer, Rescale) for layer in layers(problem)) for problem in problems),
    }


def _family(entry: Any) -> tuple[ProblemSpec, Problem] | None:
    """A family of meta-training; None where this version does not know it, and for code of a user's, which is not run."""
    try:
        family = ProblemSpec.model_validate(entry)
        return None if is_file_name(family.name) else (family, family.make())
    except (pydantic.ValidationError, BadInput):
        return None


def _networks(problem: Problem) -> Iterator[tuple[tuple[int, ...], int]]:
    """(widths of the hidden layers, their number) of each network in a problem."""
    core = layers(problem)[0]
    if isinstance(core, SumOfProblems):
        for one in core.problems:
            yield from _networks(one)
    for option in ("hidden", "channels", "widths", "width"):
        value = getattr(core, option, None)
        widths = value if isinstance(value, tuple) else (value,) if isinstance(value, int) else ()
        if widths or value == ():
            kernels = sum(len(shape) == 4 and shape[0] > 1 for shape in core.param_shapes.values())
            yield widths, getattr(core, "layers", None) or kernels or len(widths)


def _batch_sizes(problem: Problem) -> Iterator[int]:
    """Those of the minibatches that reach the optimizer: the outermost layer that has any decides."""
    core, *_ = found = layers(problem)
    if isinstance(core, SumOfProblems):
        for one in core.problems:
            yield from _batch_sizes(one)
    yield from [layer.batch_size for layer in found if hasattr(layer, "batch_size")][-1:]


def _range(values: Sequence[float]) -> list[float] | None:
    return [min(values), max(values)] if values else None


def _against_adam(scores: Mapping[str, Any], names: Sequence[Any]) -> list[Row]:
    """A row for each problem: its final losses as multiples of tuned Adam's, None where one of them is not known or positive."""
    rows = [row for row in _list(scores, "rows") if isinstance(row, Mapping)]
    found = []
    for problem in dict.fromkeys(row.get("problem") for row in rows):
        of = {row.get("optimizer"): row for row in reversed(rows) if row.get("problem") == problem}
        own, adam = next((of[name] for name in names if name in of), None), of.get("adam")
        if own and adam and adam.get("trials"):
            found.append(
                {"problem": str(problem), **{split: _ratio(own.get(key), adam.get(key)) for split, key in _LOSSES.items()}}
            )
    return found


def _ratio(own: Any, other: Any) -> float | None:
    above, below = _number(own), _number(other)
    return above / below if above is not None and below is not None and above > 0 and below > 0 else None


def _large_networks(section: Mapping[str, Any]) -> Row | None:
    """The losses on each large network beside Adam's least of all its rates (`docs/tools/large_nets.py` measures them)."""
    rows = []
    for row in _list(section, "rows"):
        if isinstance(row, Mapping) and row.get("network"):
            found: Row = {"network": str(row["network"]), "parameters": _number(row.get("parameters"))}
            for split, key in _LARGE_LOSSES.items():
                own, adam = row.get(key), part(row, "adam").get(key)
                found[split] = {"loss": _number(own), "adam": _number(adam), "ratio": _ratio(own, adam)}
            rows.append(found)
    device, rates = section.get("device"), len(_list(section, "adam_learning_rates"))
    known = {"device": device if isinstance(device, str) else None, "steps": _number(section.get("steps"))}
    return known | {"adam_rates": rates or None, "rows": rows} if rows else None


def print_card(description: Row) -> None:
    """On stdout, readable on narrow terminals."""
    if description["meta_training"]:
        print_facts("how it was meta-trained", _trained_facts(description["meta_training"]))
    if description["seen"]:
        print_facts("what it has seen in meta-training", _seen_facts(description["seen"]))
    scores = description["scores"]
    if scores:
        steps = "" if scores["steps"] is None else f", after {scores['steps']:,} steps"
        print_text(f"final loss as a multiple of tuned Adam's{steps}")
        cells = [[row["problem"], *(_cell(row[split]) for split in _LOSSES)] for row in scores["rows"]]
        print_table(["problem", *_LOSSES], cells)
        print_text("")
    if description["large_networks"]:
        _print_large(description["large_networks"])
    worse = [
        f"worse than tuned Adam in {split} loss: {', '.join(names)}"
        for split, names in description["worse_than_adam"].items()
        if names
    ]
    if worse or description["weaknesses"]:
        print_list("what it is bad at", [*worse, *description["weaknesses"]])


def _print_large(large: Row) -> None:
    device = f" on {large['device']}" if large["device"] else ""
    steps = f", after {large['steps']:,} steps" if large["steps"] else ""
    print_text(
        f"losses on large networks{device}{steps}, and Adam's at the best of {large['adam_rates'] or 'its'} learning rates"
    )
    headings = [f"{split}\n{what}" for split in ("training", "held-out") for what in ("loss", "Adam's", "ratio")]
    rows = [
        [
            row["network"],
            _count(row["parameters"]) or "-",
            *(_cell(value) for split in _LARGE_LOSSES for value in row[split].values()),
        ]
        for row in large["rows"]
    ]
    print_table(["network", "parameters", *headings], rows)
    print_text("")


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _trained_facts(trained: Mapping[str, Any]) -> dict[str, str]:
    planned = trained["meta_steps_planned"]
    done = _count(trained["meta_steps"])
    data = trained["data"]
    facts = {
        "spec": trained["config"],
        "hours": None if trained["hours"] is None else f"{trained['hours']:.3g}",
        "inner steps": _count(trained["inner_steps"]),
        "meta-steps": f"{done} of {planned:,}" if done and planned and planned != trained["meta_steps"] else done,
        "problem families": _count(trained["families"]),
        "data": "synthetic alone" if data == ["synthetic"] else "; ".join(data),
    }
    return {name: value or "not known" for name, value in facts.items()}


def _seen_facts(seen: Mapping[str, Any]) -> dict[str, str]:
    rescaled = f", in {seen['rescaled_families']:,} of {seen['families']:,} families"
    facts = {
        "hidden units of a layer": _ends(seen["hidden_units"]),
        "hidden layers": _ends(seen["hidden_layers"]),
        "batch size": _ends(seen["batch_size"]),
        "parameters": _ends(seen["parameters"]),
        "horizon, steps": _ends(seen["horizon"]),
        "truncation, steps": _ends(seen["truncation"]),
        "params rescaled by": _ends(seen["rescaling"]) + (rescaled if seen["rescaling"] else ""),
    }
    unread = seen["unread_families"]
    return facts | ({"families not counted": f"{unread:,}, which are not known here"} if unread else {})


def _count(value: float | None) -> str | None:
    return None if value is None else f"{value:,}"


def _ends(ends: Sequence[float] | None) -> str:
    if ends is None:
        return "none"
    low, high = (f"{end:,}" if isinstance(end, int) else plain(float(end)) for end in ends)
    return low if low == high else f"{low} to {high}"
