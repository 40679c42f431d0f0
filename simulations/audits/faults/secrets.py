"""Faults in where random numbers come from, and in how often they are used.

Source: docs/decisions/0002 on the secret of a round, and on what may be answered with it again.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from clients.platform import Platform
from shared.files import sha256
from shared.privacy.randomness import RoundSecret, StoredSecrets, Stream, UnsafeSeed
from shared.training import Steps
from simulations.audits.checks import Cause
from simulations.audits.faults.fault import Fault, Swap


def _same_every_step(original: Callable[..., Stream]) -> Callable[..., Stream]:
    return lambda self, purpose, step: original(self, purpose, 0 if purpose == "noise" else step)


def _one_stream(original: Callable[..., Stream]) -> Callable[..., Stream]:
    return lambda self, purpose, step: original(self, "all", step)


def _named(labels: dict[str, Any]) -> str:
    """A charge key that tells requests and data apart, as the real one does."""
    return sha256(repr(sorted(labels.items())).encode())


def _drawn_once(_original: Callable[..., RoundSecret]) -> Callable[..., RoundSecret]:
    """One secret for all platforms and rounds of a process."""
    key = os.urandom(32)

    def open_(self: StoredSecrets, **labels: Any) -> RoundSecret:
        return RoundSecret(key=key, charge_key=_named(labels))

    return open_


def _data_forgotten(original: Callable[..., RoundSecret]) -> Callable[..., RoundSecret]:
    """A request asked again meets the same secret, though the data have changed."""

    def open_(self: StoredSecrets, **labels: Any) -> RoundSecret:
        return original(self, **{**labels, "data": ""})

    return open_


def _seed_left_in(_original: Any) -> Any:
    """A seed for debugging was left in."""
    return property(lambda self: UnsafeSeed(0))


def _from_seeded_numpy(_original: Callable[..., RoundSecret]) -> Callable[..., RoundSecret]:
    """Secrets from `numpy.random`: whoever seeds numpy knows them."""

    def open_(self: StoredSecrets, **labels: Any) -> RoundSecret:
        return RoundSecret(key=np.random.bytes(32), charge_key=_named(labels))

    return open_


def _noise_from(_original: Any) -> Any:
    """Every step's noise comes from a generator of its own that starts at the step's number."""

    def take(self: Steps, step: int, secret: RoundSecret) -> None:
        class Seeded(RoundSecret):
            def stream(self, purpose: str, number: int) -> Stream:
                if purpose == "noise":
                    return Stream(number.to_bytes(32, "big"))
                return secret.stream(purpose, number)

        _original(self, step, Seeded(key=secret.key, charge_key=secret.charge_key))

    return take


def _noise_of_sampling(original: Any) -> Any:
    """The stream that drew the users is opened once more, and gives the noise."""

    def take(self: Steps, step: int, secret: RoundSecret) -> None:
        class Shared(RoundSecret):
            def stream(self, purpose: str, number: int) -> Stream:
                return secret.stream("sampling" if purpose == "noise" else purpose, number)

        original(self, step, Shared(key=secret.key, charge_key=secret.charge_key))

    return take


FAULTS = (
    Fault(
        "one seed for every step",
        Cause.NOISE_REPEATED,
        (Swap(RoundSecret, "stream", _same_every_step),),
    ),
    Fault(
        "one secret for all platforms and rounds",
        Cause.NOISE_REPEATED,
        (Swap(StoredSecrets, "open", _drawn_once),),
    ),
    Fault(
        "old noise over changed data",
        Cause.NOISE_REPEATED,
        (Swap(StoredSecrets, "open", _data_forgotten),),
    ),
    Fault(
        "a fixed seed left in",
        Cause.NOISE_REPEATED,
        (Swap(Platform, "_randomness", _seed_left_in),),
    ),
    Fault("noise seeded by the step", Cause.NOISE_REPEATED, (Swap(Steps, "take", _noise_from),)),
    Fault(
        "secrets from numpy's generator",
        Cause.PREDICTABLE,
        (Swap(StoredSecrets, "open", _from_seeded_numpy),),
    ),
    Fault(
        "one stream for all purposes",
        Cause.STREAMS_SHARED,
        (Swap(RoundSecret, "stream", _one_stream),),
    ),
    Fault(
        "noise from the stream that drew the users",
        Cause.STREAMS_SHARED,
        (Swap(Steps, "take", _noise_of_sampling),),
    ),
)
