"""Faults in what is charged, when, and how it is counted.

Sources: Gopi et al. 2021, who show that central-limit epsilons understate; dp-accounting's types of
adjacency.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution

from clients import platform, platform_record
from clients.platform import Platform
from clients.platform_record import PlatformRecord
from clients.policy import Policy
from clients.train_plan import interpolation, plan_of
from shared.errors import PolicyRefusal
from shared.privacy import accountant, ledger
from shared.privacy.accountant import Charge
from shared.privacy.ledger import Ledger
from shared.privacy.randomness import RoundSecret, StoredSecrets
from shared.protocol import TrainReply, TrainRequest
from shared.training import LocalPlan
from shared.whitening import Whitening
from simulations.audits.checks import Cause, independent
from simulations.audits.faults.fault import Fault, Swap


def _charge_after(original: Callable[..., TrainReply]) -> Callable[..., TrainReply]:
    """The update is computed first, and paid for when it is there."""

    def train(self: Platform, request: TrainRequest) -> TrainReply:
        plan = plan_of(request, self.record)
        model = platform.InterestModel(self.record.model, self.states.shape[2])
        parts = interpolation(request, self.name)
        start = self.own_adapter(request.adapter, request.round - 1, parts)
        model.load(start)
        ground = self.ground(Whitening.from_arrays(request.base))
        secret = self._randomness.open(
            platform=self.name,
            round=request.round,
            request=request.digest,
            data=self._data_digest(start),
        )
        installed = platform.local_round
        update = installed(model, ground, self.sequences, plan, secret)
        platform.local_round = lambda *args: update
        try:
            return original(self, request)
        finally:
            platform.local_round = installed

    return train


def _one_step_charged(original: Callable[..., Any]) -> Callable[..., Any]:
    def charge(self: Ledger, round: int, steps: Iterable[int], *terms: Any) -> Any:
        return original(self, round, list(steps)[:1], *terms)

    return charge


def _at_half_rate(original: Callable[..., Any]) -> Callable[..., Any]:
    def charge(
        self: Ledger, round: int, steps: Any, request: str, rate: float, noise: float
    ) -> Any:
        return original(self, round, steps, request, rate / 2, noise)

    return charge


def _at_more_noise(original: Callable[..., Any]) -> Callable[..., Any]:
    def charge(
        self: Ledger, round: int, steps: Any, request: str, rate: float, noise: float
    ) -> Any:
        return original(self, round, steps, request, rate, noise * 1.5)

    return charge


def _reset_on_restart(original: Callable[..., None]) -> Callable[..., None]:
    """The budget lives as long as the process: a ledger that is opened begins anew."""

    def init(self: Ledger, path: Any, **promise: Any) -> None:
        for name in (path, path.with_name(path.name + ".head")):
            name.unlink(missing_ok=True)
        original(self, path, **promise)

    return init


def _free_for_changed_data(original: Callable[..., RoundSecret]) -> Callable[..., RoundSecret]:
    """A request that was paid for once is free for ever, whatever the data."""

    def open_(self: StoredSecrets, **labels: Any) -> RoundSecret:
        found = original(self, **labels)
        return RoundSecret(key=found.key, charge_key=labels["request"])

    return open_


def _answered_anew(original: Callable[..., RoundSecret]) -> Callable[..., RoundSecret]:
    """A request that is asked again gets fresh noise, under the charge of the first answer."""

    def open_(self: StoredSecrets, **labels: Any) -> RoundSecret:
        return RoundSecret(key=os.urandom(32), charge_key=original(self, **labels).charge_key)

    return open_


def _central_limit(_original: Callable[..., float]) -> Callable[..., float]:
    def epsilon(charges: Sequence[Charge], delta: float, *_rest: Any) -> float:
        worst = [
            independent.central_limit(c.sample_rate, c.noise_multiplier, c.steps, delta)
            for c in accountant.merged(charges)
        ]
        return sum(worst)

    return epsilon


def _added_only(original: Callable[..., Any]) -> Callable[..., Any]:
    """Users can be added but not removed: one of the two directions, the cheaper one."""

    def one_step(*args: Any, **kwargs: Any) -> Any:
        found = original(*args, **kwargs)
        return PrivacyLossDistribution(found._pmf_add)

    return one_step


def _steps_forgotten(original: Callable[..., float]) -> Callable[..., float]:
    """Composition is counted over a tenth fewer steps than are taken."""

    def epsilon(charges: Sequence[Charge], delta: float, *rest: Any) -> float:
        fewer = [
            Charge(c.sample_rate, c.noise_multiplier, max(1, int(c.steps * 0.9)))
            for c in accountant.merged(charges)
        ]
        return original(fewer, delta, *rest)

    return epsilon


def _larger_delta(original: Callable[..., float]) -> Callable[..., float]:
    return lambda charges, delta, *rest: original(charges, 10 * delta, *rest)


def _one_round_calibrated(original: Callable[..., Any]) -> Callable[..., Any]:
    return lambda privacy, population, rounds: original(privacy, population, 1)


def _request_decides(original: Callable[..., LocalPlan]) -> Callable[..., LocalPlan]:
    """The coordinator's constants are taken as they come."""

    def plan(request: TrainRequest, record: PlatformRecord) -> LocalPlan:
        try:
            return original(request, record)
        except PolicyRefusal:
            own = {"sample_rate": record.sample_rate, "clip_norm": record.clip_norm}
            settings = {**request.settings, **own, "private": record.private}
            return original(replace(request, settings=settings), record)

    return plan


FAULTS = (
    Fault("ledger after the fact", Cause.CHARGED_LATE, (Swap(Platform, "train", _charge_after),)),
    Fault(
        "one charge for all steps",
        Cause.NOT_CHARGED,
        (Swap(Ledger, "charge_many", _one_step_charged),),
    ),
    Fault(
        "changed data answered for free",
        Cause.NOT_CHARGED,
        (Swap(StoredSecrets, "open", _free_for_changed_data),),
    ),
    Fault(
        "fresh noise for a request asked again",
        Cause.NOT_CHARGED,
        (Swap(StoredSecrets, "open", _answered_anew),),
    ),
    Fault(
        "charged at half the sample rate",
        Cause.OTHER_TERMS,
        (Swap(Ledger, "charge_many", _at_half_rate),),
    ),
    Fault(
        "charged for more noise than is added",
        Cause.OTHER_TERMS,
        (Swap(Ledger, "charge_many", _at_more_noise),),
    ),
    Fault(
        "budget reset on restart", Cause.FORGOTTEN, (Swap(Ledger, "__init__", _reset_on_restart),)
    ),
    Fault(
        "budget not enforced",
        Cause.NOT_ENFORCED,
        (Swap(Ledger, "can_afford", lambda _original: lambda self, charge: True),),
    ),
    Fault("GDP used as a bound", Cause.GDP, (Swap(accountant, "epsilon", _central_limit),)),
    Fault(
        "only added users accounted for",
        Cause.ADJACENCY,
        (Swap(accountant, "_one_step", _added_only),),
    ),
    Fault(
        "another adjacency on the ledger",
        Cause.ADJACENCY,
        (Swap(ledger, "ADJACENCY", lambda _original: "replace one event of a user"),),
    ),
    Fault(
        "composition over fewer steps",
        Cause.UNDERSTATED,
        (Swap(accountant, "epsilon", _steps_forgotten),),
    ),
    Fault(
        "epsilon at ten times the delta",
        Cause.UNDERSTATED,
        (Swap(accountant, "epsilon", _larger_delta),),
    ),
    Fault(
        "noise calibrated for one round",
        Cause.CALIBRATION,
        (Swap(platform_record, "promise", _one_round_calibrated),),
    ),
    Fault(
        "the request's constants replace the promise",
        Cause.OVERRIDDEN,
        (Swap(platform, "plan_of", _request_decides),),
    ),
    Fault(
        "the partner's policy ignored",
        Cause.OVERRIDDEN,
        (Swap(Policy, "check", lambda _original: lambda self, request, **own: None),),
    ),
)
