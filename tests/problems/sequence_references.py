"""The losses of the sequence models in numpy and float64, for the tests of texts and of Markov chains."""

import math

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def mean_nats(logits, labels):
    """logits [B, T, V], labels [B, T]."""
    likelihood = np.exp(logits - logits.max(-1, keepdims=True))
    likelihood /= likelihood.sum(-1, keepdims=True)
    return -np.mean(np.log(np.take_along_axis(likelihood, labels[..., None], axis=-1)))


def rnn(problem, params, task, batch):
    """Gate by gate, character by character."""
    parts = {"gru": "ruc", "lstm": "ifgo", "vanilla": "c"}[problem.cell]
    w, u, b = (
        dict(zip(parts, np.split(params[name], len(parts), axis=-1), strict=True)) for name in ("kernel", "recurrent", "bias")
    )
    windows, length = batch["inputs"].shape
    hidden = memory = np.zeros((windows, problem.hidden))
    logits = []
    for time in range(length):
        x = params["embedding"][batch["inputs"][:, time]]

        def gate(name, state, x=x):
            return x @ w[name] + state @ u[name] + b[name]

        if problem.cell == "gru":
            keep = sigmoid(gate("u", hidden))
            hidden = keep * hidden + (1 - keep) * np.tanh(gate("c", sigmoid(gate("r", hidden)) * hidden))
        elif problem.cell == "lstm":
            memory = sigmoid(gate("f", hidden)) * memory + sigmoid(gate("i", hidden)) * np.tanh(gate("g", hidden))
            hidden = sigmoid(gate("o", hidden)) * np.tanh(memory)
        else:
            hidden = np.tanh(gate("c", hidden))
        logits.append(hidden @ params["kernel_out"] + params["bias_out"])
    return mean_nats(np.stack(logits, axis=1), batch["labels"])


def layer_norm(x, scale, offset):
    return scale * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) + offset


def transformer(problem, params, task, batch):
    """One position at a time looks back at those it may see."""
    size = problem.width // problem.heads
    gelu = np.vectorize(lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))))

    def part(name, layer):
        return params[f"{name}{layer}"]

    x = params["embedding"][batch["inputs"]] + params["positions"]
    for layer in range(problem.layers):
        normed = layer_norm(x, part("scale_attention", layer), part("offset_attention", layer))
        qkv = normed @ part("kernel_attention", layer) + part("bias_attention", layer)
        queries, keys, values = np.split(qkv, 3, axis=-1)
        mixed = np.zeros_like(x)
        for time in range(problem.length):
            for head in range(problem.heads):
                own = slice(head * size, (head + 1) * size)
                scores = np.einsum("bd,bsd->bs", queries[:, time, own], keys[:, : time + 1, own]) / math.sqrt(size)
                shares = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
                mixed[:, time, own] = np.einsum("bs,bsd->bd", shares, values[:, : time + 1, own])
        x = x + mixed @ part("kernel_mix", layer) + part("bias_mix", layer)
        normed = layer_norm(x, part("scale_mlp", layer), part("offset_mlp", layer))
        inner = gelu(normed @ part("kernel_mlp", layer) + part("bias_mlp", layer))
        x = x + inner @ part("kernel_out", layer) + part("bias_out", layer)
    return mean_nats(layer_norm(x, params["scale"], params["offset"]) @ params["embedding"].T, batch["labels"])
