"""Faults by which a denominator or a weight counts private data.

Sources: Flower's FedAvg, which weighs by `num-examples`; Opacus issue 420, which asks for the size
of the batch in the denominator.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from clients.platform import Platform
from server.rounds import strategy
from shared.config.federation import Member, PlatformSettings
from shared.privacy.clipping import PrivateOptimizer
from shared.protocol import TrainReply, TrainRequest
from shared.training import Steps
from simulations import prepare
from simulations.audits.checks import Cause
from simulations.audits.faults.fault import Fault, Swap


def _len_data(original: Callable[..., None]) -> Callable[..., None]:
    def init(self: Steps, model: Any, ground: Any, sequences: Any, plan: Any) -> None:
        counted = replace(plan, population=max(1, len(sequences)))
        original(self, model, ground, sequences, counted)
        self.plan = plan

    return init


def _batch_size(original: Callable[..., None]) -> Callable[..., None]:
    """Divides by the users who are in the batch."""

    def accumulate(self: PrivateOptimizer, factors: Any) -> None:
        seen = getattr(self, "_seen_users", 0) + len(factors[0][0])
        self._seen_users = seen
        original(self, factors)

    return accumulate


def _scaled_by_batch(original: Callable[..., None]) -> Callable[..., None]:
    def scale(self: PrivateOptimizer) -> None:
        seen = getattr(self, "_seen_users", 0)
        if not seen:
            original(self)
        for p in self.params:
            p.grad /= max(1, seen)
        self._seen_users = 0

    return scale


def _weighted_update(original: Callable[..., TrainReply]) -> Callable[..., TrainReply]:
    """The client weighs its update by how many users it counted."""

    def train(self: Platform, request: TrainRequest) -> TrainReply:
        reply = original(self, request)
        weight = len(self.sequences) / self.record.population
        update = {name: (value * weight).astype(np.float32) for name, value in reply.update.items()}
        return replace(reply, update=update)

    return train


def _counted_weight(_original: Any) -> Any:
    """The weight is the number of lines of the platform's log."""

    def weight(self: Member) -> float:
        path = self.events.path if isinstance(self, PlatformSettings) else None
        return float(len(path.read_text().splitlines())) if path and path.exists() else 1.0

    return property(weight)


def _weighted_by_norm(original: Callable[..., Any]) -> Callable[..., Any]:
    """An update counts as much as it is long."""

    def mean(updates: Mapping[str, Any], weights: Mapping[str, float]) -> Any:
        lengths = {
            name: weights[name] * float(np.sqrt(sum(np.square(v).sum() for v in update.values())))
            for name, update in updates.items()
        }
        return original(updates, lengths)

    return mean


FAULTS = (
    Fault("len(data) in the denominator", Cause.DENOMINATOR, (Swap(Steps, "__init__", _len_data),)),
    Fault(
        "the batch's size in the denominator",
        Cause.DENOMINATOR,
        (
            Swap(PrivateOptimizer, "accumulate_factors", _batch_size),
            Swap(PrivateOptimizer, "scale_grad", _scaled_by_batch),
        ),
    ),
    Fault(
        "population counted, not declared",
        Cause.DENOMINATOR,
        (Swap(prepare, "rounded_up", lambda _original: lambda users: users),),
    ),
    Fault(
        "update weighted by the number of users",
        Cause.DENOMINATOR,
        (Swap(Platform, "train", _weighted_update),),
    ),
    Fault(
        "aggregation weights from private counts",
        Cause.WEIGHTS,
        (Swap(Member, "public_weight", _counted_weight),),
    ),
    Fault(
        "aggregation weights from the updates",
        Cause.WEIGHTS,
        (Swap(strategy, "mean_update", _weighted_by_norm),),
    ),
)
