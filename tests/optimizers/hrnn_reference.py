"""A second implementation of the hierarchical RNN: numpy, one instance, one tensor after another, from the papers' text."""

import numpy as np

from l2o_cli.optimizers.packing import Layout

LAYOUT = Layout.of({"kernel": (3, 2), "bias": (4,), "scale": (1,)})
INSTANCES = 2


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_gru(weights, prefix, x, h, extra):
    """x [F], h [K], extra [3K] -> [K]."""
    k = len(h)
    w, v, c = (weights[f"{prefix}/{name}"] for name in ("input", "recurrent_gates", "recurrent_candidate"))
    drive = w @ x + weights[f"{prefix}/bias"][:, 0, 0] + extra
    r = sigmoid(drive[:k] + v[:k] @ h)
    u = sigmoid(drive[k : 2 * k] + v[k:] @ h)
    return u * h + (1 - u) * np.tanh(drive[2 * k :] + c @ (r * h))


class NumpyReference:
    """One instance in float64, parameter by parameter."""

    def __init__(self, optimizer, weights, state, instance):
        self.o = optimizer
        self.w = {name: np.asarray(value, np.float64) for name, value in weights.items()}
        self.s = {name: np.asarray(value, np.float64)[:, instance].T for name, value in state.items()}  # [N, F]
        self.step = 0

    def update(self, theta, gradient, loss):
        o, w, s = self.o, self.w, self.s
        self.theta, self.gradient, self.loss = theta, gradient, loss
        scales, count = o.time_scales, len(theta)
        momenta, squares = s["momenta"].copy(), s["squares"].copy()
        m = np.zeros((count, scales))
        for p in range(count):
            decays = sigmoid(w["readout"][2:4] @ s["parameter"][p] + w["decay_bias"][:, 0, 0])
            d_g = 0.0 if self.step == 0 else decays[0]
            for k in range(scales):
                d = d_g ** (2.0**-k)
                momenta[p, k] = s["momenta"][p, k] * d + gradient[p] * (1 - d)
            averaged = [gradient[p]] if o.scale_by_raw_moment else momenta[p]
            for k, value in enumerate(averaged):
                d = decays[1] ** (2.0**-k) if o.multiple_scale_decays and not o.scale_by_raw_moment else decays[1]
                d = 0.0 if s["squares"][p, k] < 2e-12 else d
                squares[p, k] = s["squares"][p, k] * d + (value**2 + 1e-12) * (1 - d)
            if o.dynamic_scaling:
                m[p] = np.arcsinh(momenta[p] / np.sqrt(squares[p] + 1e-16))
            else:
                m[p] = np.arcsinh(momenta[p])
        x = self.inputs(m, momenta, squares)
        h = self.levels(x)
        outputs = h @ w["readout"].T
        change = w["rate_bias"][0]
        if o.rate_level != "parameter":
            of_tensors = s["tensor"] @ w["tensor/rate"].T
            change = change + (of_tensors if o.rate_level == "tensor" else self.spread(of_tensors))
        if o.rate_level != "tensor":
            change = change + outputs[:, 1:2]
        if o.rate_change_limit is not None:
            change = o.rate_change_limit * np.tanh(change / o.rate_change_limit)
        log_rate = np.clip(s["log_rate"] + change, -33, 33)
        r = sigmoid(w["rate_momentum"]) if o.rate_momentum else 0.0
        carried = r * s["log_rate"] + (1 - r) * log_rate
        rate = np.exp(self.spread(log_rate) if o.rate_level == "tensor" else log_rate)[:, 0]
        move = rate * np.exp(w["step_offset"]) * self.direction(outputs[:, 0], m, momenta, 0)
        if o.attention:
            s["offset"] = (move - rate * self.direction(outputs[:, 4], m, momenta, 1))[:, None]
        if o.tensor_features:
            s["last_move"] = self.log_rms(move)
        s |= {"momenta": momenta, "squares": squares, "log_rate": carried}
        self.step += 1
        return theta - move

    def tensors(self):
        return [slice(start, start + size) for start, size in zip(LAYOUT.offsets, LAYOUT.sizes, strict=True)]

    def spread(self, of_tensors):
        return np.repeat(of_tensors, LAYOUT.sizes, axis=0)

    def log_rms(self, values):
        return np.array([[0.5 * np.log((values[t] ** 2).mean() + 1e-16)] for t in self.tensors()])

    def inputs(self, m, momenta, squares):
        o = self.o
        parts = [m]
        if o.grad_products:
            parts.append(m[:, :-1] * m[:, 1:])
        if o.relative_log_moments:
            logs = np.log((momenta**2 if o.scale_by_raw_moment else squares) + 1e-16)
            parts.append(logs - logs.mean(1, keepdims=True))
        parts += self.rates() if o.rate_level != "tensor" else []
        return np.concatenate(parts, axis=1)

    def rates(self):
        o, rate, parts = self.o, self.s["log_rate"], []
        if o.relative_rate == "problem":
            parts.append(rate - rate.mean())
        elif o.relative_rate == "tensor":
            own = [rate[t] - rate[t].mean() for t in self.tensors()]
            parts.append(np.zeros_like(rate) if o.rate_level == "tensor" else np.concatenate(own))
        if o.extreme_rate:
            parts.append(np.maximum(rate, 0) - np.maximum(np.log(1e-6) - rate, 0))
        if o.absolute_rate:
            parts.append(rate - np.log(1e-3))
        return parts

    def of_tensors(self):
        """[T, F] besides what the parameters say."""
        o, s, parts = self.o, self.s, []
        if o.rate_level == "tensor":
            parts += self.rates()
        if o.tensor_features:
            size, gradient = self.log_rms(self.theta), self.log_rms(self.gradient)
            if self.step == 0:
                s["gradient_start"] = gradient
            fans = [(3, 2), (1, 4), (1, 1)]
            fixed = [[np.log(i) - 3, np.log(o) - 3, np.log(i * o) - 6] for i, o in fans]
            axes = [[2 - 1.5], [1 - 1.5], [1 - 1.5]]
            moved = np.zeros_like(size) if self.step == 0 else s["last_move"] - size
            seen = [size + 0.5 * np.log([[i] for i, _ in fans]), gradient - s["gradient_start"], moved]
            parts += [0.25 * np.array(fixed), 0.5 * np.array(axes), np.zeros((3, 1))]
            parts += [np.clip(0.25 * values, -4, 4) for values in seen]
        return np.concatenate(parts, axis=1) if parts else np.zeros((3, 0))

    def of_run(self):
        """[F] besides what the tensors say."""
        if not self.o.run_features:
            return np.zeros(0)
        s, loss = self.s, self.loss
        old = s["losses"][0]
        fast, slow = (loss if self.step == 0 else loss + d * (old[k] - loss) for k, d in ((1, 0.9), (2, 0.99)))
        initial = loss if self.step == 0 else old[0]
        s["losses"] = np.array([[initial, fast, slow]])

        def relative(a, b):
            return np.arcsinh(10 * (a - b) / (abs(a) + abs(b) + 1e-6 * initial))

        horizon = s["horizon"][0, 0]
        share = min(self.step / horizon, 1.0) if horizon else 0.0
        sizes = [0.25 * (np.log(1.0 + self.step) - 4), 0.25 * (np.log(11) - 7), 0.25 * (np.log(3) - 1.5)]
        ratio = 0.1 * np.log((loss + 1e-6 * initial) / (initial + 1e-6 * initial))
        return np.array([ratio, relative(loss, fast), relative(fast, slow), horizon > 0, share, *sizes])

    def levels(self, x):
        w, s, depth = self.w, self.s, len(self.o.hidden)
        more, of_run = self.of_tensors(), self.of_run()
        new = np.zeros_like(s["parameter"])
        for index, t in enumerate(self.tensors()):
            above = [s["tensor"][index]] if depth > 1 else []
            above += [s["global"][0]] if depth > 2 else []
            extra = w["parameter/from_above"] @ np.concatenate(above) if above else 0.0
            for p in range(t.start, t.stop):
                new[p] = numpy_gru(w, "parameter", x[p], s["parameter"][p], extra)
        s["parameter"] = new
        if depth > 1:
            extra = w["tensor/from_above"] @ s["global"][0] if depth > 2 else 0.0
            s["tensor"] = np.stack(
                [
                    numpy_gru(w, "tensor", np.concatenate([new[t].mean(0), x[t].mean(0), more[index]]), s["tensor"][index], extra)
                    for index, t in enumerate(self.tensors())
                ]
            )
        if depth > 2:
            s["global"] = numpy_gru(w, "global", np.concatenate([s["tensor"].mean(0), of_run]), s["global"][0], 0.0)[None]
        return new

    def direction(self, readout, m, momenta, row):
        d = readout + (m @ self.w["shortcut"][row] if self.o.gradient_shortcut else 0.0)
        if self.o.momentum_shortcut:
            scaled = [momenta[t] / np.sqrt((momenta[t] ** 2).mean(0) + 1e-16) for t in self.tensors()]
            d = d + np.concatenate(scaled) @ self.w["momentum_shortcut"][row]
        if self.o.normalize_direction:
            d = np.concatenate([d[t] / np.sqrt((d[t] ** 2).mean() + 1e-16) for t in self.tensors()])
        return d
