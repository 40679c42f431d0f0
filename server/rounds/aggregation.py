"""From the platforms' updates to the next adapter: a public weighted mean, then an optimiser.

Everything is float64 inside and float32 on the wire, and sums run in the order of the platforms'
names, so that the same updates give the same bits whatever order they arrived in.

The optimisers are `init` and `apply` over explicit state, as in Reddi et al. 2021, "Adaptive
Federated Optimization", Algorithm 2 (lines as numbered there), with D the mean update, x the
adapter, eta the server's learning rate:
    fedavg   x <- x + eta D                                   (FedOpt with SGD)
    fedavgm  m <- beta1 m + D;  x <- x + eta m                (Hsu et al. 2019, Section 4.3)
    fedadam  m <- beta1 m + (1 - beta1) D;  v <- beta2 v + (1 - beta2) D^2;
             x <- x + eta m / (sqrt(v) + tau), no bias correction, v starts at tau^2
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.config.training import ServerSettings
from shared.errors import DataError

Adapter = dict[str, NDArray[np.float32]]
Float64s = dict[str, NDArray[np.float64]]
State = dict[str, Float64s]  # slot ("momentum", "second_momentum") -> name -> tensor

TAU = 1e-3  # degree of adaptivity, the middle of the paper's grid


def mean_update(updates: Mapping[str, Adapter], weights: Mapping[str, float]) -> Float64s:
    """Sum over platforms of weight x update, over the sum of the weights.

    Args:
        updates: platform -> update; all of the same names and shapes.
        weights: platform -> positive public constant, never a function of its data.

    Raises:
        DataError: there is no update.
    """
    if not updates:
        raise DataError(expected="at least one update", got="none", where="aggregation")
    platforms = sorted(updates)
    total = sum(weights[platform] for platform in platforms)
    mean: Float64s = {}
    for name in updates[platforms[0]]:
        weighted = np.zeros(updates[platforms[0]][name].shape, dtype=np.float64)
        for platform in platforms:
            weighted += weights[platform] * updates[platform][name].astype(np.float64)
        mean[name] = weighted / total
    return mean


@dataclass(frozen=True, kw_only=True)
class ServerOptimiser:
    """How the mean update changes the adapter; pure functions over explicit state."""

    settings: ServerSettings

    def init(self, adapter: Adapter) -> State:
        """State before the first round."""
        slots = {"fedavg": {}, "fedavgm": {"momentum": 0.0}}.get(
            self.settings.optimiser, {"momentum": 0.0, "second_momentum": TAU**2}
        )
        return {
            slot: {name: np.full(value.shape, start) for name, value in adapter.items()}
            for slot, start in slots.items()
        }

    def apply(self, state: State, adapter: Adapter, mean: Float64s) -> tuple[Adapter, State]:
        """The next adapter and state; the arguments are left as they were.

        Tensors that `mean` does not name stay as they are, and so does their state.
        """
        if self.settings.optimiser == "fedavg":
            return self._stepped(adapter, mean), {}
        beta = self.settings.momentum
        before = state["momentum"]
        if self.settings.optimiser == "fedavgm":
            momentum = {name: beta * before[name] + mean[name] for name in mean}
            return self._stepped(adapter, momentum), {"momentum": before | momentum}
        beta2 = self.settings.second_momentum
        squares = state["second_momentum"]
        momentum = {name: beta * before[name] + (1 - beta) * mean[name] for name in mean}
        second = {
            name: beta2 * squares[name] + (1 - beta2) * np.square(mean[name]) for name in mean
        }
        direction = {name: momentum[name] / (np.sqrt(second[name]) + TAU) for name in mean}
        following = {"momentum": before | momentum, "second_momentum": squares | second}
        return self._stepped(adapter, direction), following

    def _stepped(self, adapter: Adapter, direction: Float64s) -> Adapter:
        eta = self.settings.learning_rate
        moved = {
            name: (adapter[name].astype(np.float64) + eta * step).astype(np.float32)
            for name, step in direction.items()
        }
        return adapter | moved
