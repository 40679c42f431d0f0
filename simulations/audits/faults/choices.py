"""Faults by which private data choose what is released, and nobody pays for the look.

Source: Papernot and Steinke 2022, "Hyperparameter tuning with Renyi differential privacy".
"""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from shared import training
from shared.adapters import Adapter
from shared.objective import losses, windows
from shared.privacy.randomness import RoundSecret
from shared.training import LocalPlan, Steps
from simulations.audits.checks import Cause
from simulations.audits.faults.fault import Fault, Swap

Round = Callable[..., Adapter]


def _rounds(made: Callable[[Round], Round]) -> tuple[Swap, ...]:
    return (Swap(training, "local_round", made),)


def _private_loss(model: Any, ground: Any, sequences: Any, plan: LocalPlan) -> float:
    users = len(sequences)
    batch = windows(sequences, np.arange(users), np.full(users, 0.5), plan.targets_per_user + 1)
    with torch.no_grad():
        every = torch.arange(len(ground.vectors))
        return float(losses(model, ground, batch, every, plan.temperature, plan.gce_q).sum())


def _early_stopping(_original: Round) -> Round:
    """No further step once the loss on the platform's own users has risen."""

    def local_round(
        model: Any, ground: Any, sequences: Any, plan: LocalPlan, secret: Any, progress: Any = None
    ) -> Adapter:
        steps = Steps(model, ground, sequences, plan)
        before, last = steps.weight.numpy().copy(), float("inf")
        for step in range(plan.steps):
            steps.take(step, secret)
            if progress is not None:
                progress(step + 1, plan.steps)
            now = _private_loss(model, ground, sequences, plan)
            if now > last:
                break
            last = now
        return {plan.trained: steps.weight.numpy() - before}

    return local_round


def _best_checkpoint(_original: Round) -> Round:
    """Of all steps' weights those with the lowest loss on the platform's own users are sent."""

    def local_round(
        model: Any, ground: Any, sequences: Any, plan: LocalPlan, secret: Any, progress: Any = None
    ) -> Adapter:
        steps = Steps(model, ground, sequences, plan)
        before = steps.weight.numpy().copy()
        best, lowest = before, _private_loss(model, ground, sequences, plan)
        for step in range(plan.steps):
            steps.take(step, secret)
            if progress is not None:
                progress(step + 1, plan.steps)
            now = _private_loss(model, ground, sequences, plan)
            if now < lowest:
                best, lowest = steps.weight.numpy().copy(), now
        return {plan.trained: best - before}

    return local_round


def _better_of_two(original: Round) -> Round:
    """Trains a second time with other noise, and sends what has the lower private loss."""

    def local_round(
        model: Any, ground: Any, sequences: Any, plan: LocalPlan, secret: RoundSecret, *rest: Any
    ) -> Adapter:
        other = copy.deepcopy(model)
        key = bytes(byte ^ 1 for byte in secret.key)
        again = RoundSecret(key=key, charge_key=secret.charge_key)
        second = original(other, ground, sequences, plan, again)
        first = original(model, ground, sequences, plan, secret, *rest)
        losses_ = [_private_loss(one, ground, sequences, plan) for one in (model, other)]
        return first if losses_[0] <= losses_[1] else second

    return local_round


FAULTS = (
    Fault("early stopping not charged", Cause.CHOICE, _rounds(_early_stopping)),
    Fault("best checkpoint not charged", Cause.CHOICE, _rounds(_best_checkpoint)),
    Fault("better of two trainings", Cause.CHOICE, _rounds(_better_of_two)),
)
