"""Faults in what leaves a platform.

Sources: Flower's metrics records and its `Error` messages, which carry an exception's text;
optimiser states in checkpoints (Adam's moments of un-noised gradients); ids in logs.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from clients import platform
from clients.platform import Platform
from clients.released import Released
from shared.adapters import Adapter
from shared.files import sha256
from shared.privacy.clipping import PrivateOptimizer
from shared.protocol import Refusal, TrainReply, TrainRequest
from shared.transparency.envelope import Envelope
from shared.transparency.statement import PlatformRound
from simulations.audits.checks import Cause
from simulations.audits.faults.fault import Fault, Swap

log = logging.getLogger("fedinterest.client")

Train = Callable[[Platform, TrainRequest], TrainReply]


def _train(made: Callable[[Train], Train]) -> tuple[Swap, ...]:
    return (Swap(Platform, "train", made),)


def _with_constant(name: str, of: Callable[[Platform], float | int]) -> Callable[[Train], Train]:
    def made(original: Train) -> Train:
        def train(self: Platform, request: TrainRequest) -> TrainReply:
            reply = original(self, request)
            return replace(reply, constants={**reply.constants, name: of(self)})

        return train

    return made


def _metric(self: Platform) -> float:
    """As exact as a loss or a hit rate on the platform's own users."""
    return float(np.mean(self.sequences.lengths > 3))


@contextmanager
def _exact_sums() -> Iterator[list[Any]]:
    """Each step's sum of clipped gradients, before the noise."""
    sums: list[Any] = []
    installed = PrivateOptimizer.add_noise

    def add_noise(optimiser: PrivateOptimizer) -> None:
        for p in optimiser.params:
            total = p.summed_grad
            sums.append(np.zeros(tuple(p.shape)) if total is None else total.numpy().copy())
        installed(optimiser)

    setattr(PrivateOptimizer, "add_noise", add_noise)  # noqa: B010 - a patch
    try:
        yield sums
    finally:
        setattr(PrivateOptimizer, "add_noise", installed)  # noqa: B010


def _optimiser_state(original: Train) -> Train:
    """What the optimiser summed, before the noise, goes along."""

    def train(self: Platform, request: TrainRequest) -> TrainReply:
        with _exact_sums() as sums:
            reply = original(self, request)
        (name,) = reply.update
        state = {f"{name}.momentum": np.sum(sums, axis=0).astype(np.float32)}
        return replace(reply, update={**reply.update, **state})

    return train


def _exact_kept(original: Train) -> Train:
    """What a platform keeps of a round for itself is as it was before the noise."""

    def train(self: Platform, request: TrainRequest) -> TrainReply:
        installed = Released.keep

        def keep(released: Released, round_: int, update: Adapter) -> None:
            scale = -float(request.settings["learning_rate"])
            scale /= self.record.sample_rate * self.record.population
            exact = (np.sum(sums, axis=0) * scale).astype(np.float32)
            installed(released, round_, dict.fromkeys(update, exact))

        setattr(Released, "keep", keep)  # noqa: B010 - a patch
        try:
            with _exact_sums() as sums:
                return original(self, request)
        finally:
            setattr(Released, "keep", installed)  # noqa: B010

    return train


def _whole_adapter(original: Train) -> Train:
    """All tensors are sent, trained or not."""

    def train(self: Platform, request: TrainRequest) -> TrainReply:
        reply = original(self, request)
        rest = {name: np.zeros_like(value) for name, value in request.adapter.items()}
        return replace(reply, update={**rest, **reply.update})

    return train


def _count_in_name(original: Train) -> Train:
    """The platform calls itself by how many users it has."""

    def train(self: Platform, request: TrainRequest) -> TrainReply:
        reply = original(self, request)
        return replace(reply, platform=f"{reply.platform} ({len(self.sequences)} users)")

    return train


def _data_hashed(original: Train) -> Train:
    """The signed statement holds a hash of the events, which whoever guesses them can verify."""

    def train(self: Platform, request: TrainRequest) -> TrainReply:
        installed, digest = platform.stated, sha256(self.sequences.items.tobytes())

        def stated(path: Any, key: Any, release: PlatformRound) -> Envelope:
            return installed(path, key, replace(release, policy=digest))

        setattr(platform, "stated", stated)  # noqa: B010 - a patch
        try:
            return original(self, request)
        finally:
            setattr(platform, "stated", installed)  # noqa: B010

    return train


def _ids_logged(original: Train) -> Train:
    def train(self: Platform, request: TrainRequest) -> TrainReply:
        log.info("round %d: training on %s", request.round, ", ".join(self.sequences.users[:5]))
        return original(self, request)

    return train


def _ids_printed(original: Callable[..., Any]) -> Callable[..., Any]:
    """A line for debugging was left in."""

    def local_round(model: Any, ground: Any, sequences: Any, *rest: Any) -> Any:
        print("first user:", sequences.users[0] if sequences.users else None)
        return original(model, ground, sequences, *rest)

    return local_round


def _secret_logged(original: Callable[..., Any]) -> Callable[..., Any]:
    def local_round(model: Any, ground: Any, sequences: Any, plan: Any, secret: Any) -> Any:
        log.debug("secret %s", secret.key.hex())
        return original(model, ground, sequences, plan, secret)

    return local_round


def _always_told(original: Any) -> Any:
    """The text of every error is sent."""

    def of(cls: type[Refusal], error: Any, **named: Any) -> Refusal:
        return original.__func__(cls, error, **{**named, "public": True})

    return classmethod(of)


FAULTS = (
    Fault("exact metrics sent", Cause.MORE_SENT, _train(_with_constant("hit_rate", _metric))),
    Fault(
        "number of users sent",
        Cause.MORE_SENT,
        _train(_with_constant("num_examples", lambda self: len(self.sequences))),
    ),
    Fault("optimiser state sent", Cause.MORE_SENT, _train(_optimiser_state)),
    Fault("sums before the noise kept", Cause.STARTS_ELSEWHERE, _train(_exact_kept)),
    Fault("tensors sent that were not trained", Cause.MORE_SENT, _train(_whole_adapter)),
    Fault("a count hidden in a name", Cause.MORE_SENT, _train(_count_in_name)),
    Fault("a hash of the events stated", Cause.MORE_SENT, _train(_data_hashed)),
    Fault("user ids in logs", Cause.IDS_TOLD, _train(_ids_logged)),
    Fault("user ids printed", Cause.IDS_TOLD, (Swap(platform, "local_round", _ids_printed),)),
    Fault("round secret in logs", Cause.IDS_TOLD, (Swap(platform, "local_round", _secret_logged),)),
    Fault("texts of private errors sent", Cause.REASON_TOLD, (Swap(Refusal, "of", _always_told),)),
)
