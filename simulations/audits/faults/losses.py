"""Faults by which a user's loss reads other users' data, or a public input is made of private data.

Sources: Kong, Munoz Medina and Ribero 2023, "DP-SGD for non-decomposable objective functions", on
losses that pair users; Opacus' module validator, which knows layers and cannot see a loss.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from clients.platform import Platform
from clients.recommending.head import LocalHead
from shared import training
from shared.ground import Ground
from shared.objective import Table, Windows
from shared.protocol import TrainReply, TrainRequest
from shared.training import Steps
from shared.whitening import CatalogueMoments, Whitening, moments
from simulations.audits.checks import Cause
from simulations.audits.faults.fault import Fault, Swap

Factors = Callable[[Table, Windows], tuple[torch.Tensor, torch.Tensor]]


def _in_batch_negatives(original: Factors) -> Factors:
    def factors(table: Table, batch: Windows) -> tuple[torch.Tensor, torch.Tensor]:
        return original(replace(table, negatives=batch.items[:, 1:].flatten()), batch)

    return factors


def _batch_norm(original: Factors) -> Factors:
    """Items are centred by the mean of those that the batch reads, as BatchNorm would."""

    def factors(table: Table, batch: Windows) -> tuple[torch.Tensor, torch.Tensor]:
        centre = table.adapted[batch.items].mean(dim=(0, 1))
        return original(replace(table, adapted=table.adapted - centre), batch)

    return factors


def _packed(original: Callable[..., Windows]) -> Callable[..., Windows]:
    """Histories are packed into one row without a wall: one user's ends where another's begins."""

    def windows(*args: Any) -> Windows:
        found = original(*args)
        items = found.items.clone()
        items[1:, 0] = found.items[:-1, -1]
        return replace(found, items=items)

    return windows


def _popular_negatives(original: Callable[..., Table]) -> Callable[..., Table]:
    """Negatives are drawn from what this platform's users chose."""

    def table(self: Steps, stream: Any) -> Table:
        found = original(self, stream)
        chosen = np.unique(self.sequences.items).astype(np.int64)
        return replace(found, negatives=torch.from_numpy(chosen)) if len(chosen) else found

    return table


def _counts(platform: Platform) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.bincount(platform.sequences.items, minlength=len(platform.states))


def _vocabulary(_original: Callable[..., CatalogueMoments]) -> Callable[..., CatalogueMoments]:
    """The catalogue is what private events name."""

    def own(self: Platform) -> CatalogueMoments:
        return moments(self.states[_counts(self) > 0][:, -1])

    return own


def _private_whitening(_original: Callable[..., Ground]) -> Callable[..., Ground]:
    """Whitening is fitted on items as often as users met them."""

    def ground(self: Platform, whitening: Whitening) -> Ground:
        public = Ground.of(self.states, whitening)
        last = self.states[:, -1]
        met = np.repeat(last, _counts(self) + 1, axis=0)
        vectors = torch.from_numpy(whitening.local(moments(met)).items(last))
        return replace(public, vectors=vectors)

    return ground


def _head_in_graph(original: Callable[..., Ground]) -> Callable[..., Ground]:
    """The local head's popularity becomes one of the items' features."""

    def ground(self: Platform, whitening: Whitening) -> Ground:
        public = original(self, whitening)
        popularity = LocalHead.fit(self.sequences, len(self.states)).popularity
        features = public.features.clone()
        features[:, 0] += torch.from_numpy(popularity)
        return replace(public, features=features)

    return ground


def _head_in_update(original: Callable[..., TrainReply]) -> Callable[..., TrainReply]:
    """The local head's popularity is added to what is sent."""

    def train(self: Platform, request: TrainRequest) -> TrainReply:
        reply = original(self, request)
        popularity = LocalHead.fit(self.sequences, len(self.states)).popularity
        liked = (1e-3 * popularity @ self.states[:, -1])[:, None]
        update = {name: (own + liked).astype(np.float32) for name, own in reply.update.items()}
        return replace(reply, update=update)

    return train


FAULTS = (
    Fault(
        "negatives from the batch",
        Cause.LOSS_READS_OTHERS,
        (Swap(training, "factors", _in_batch_negatives),),
    ),
    Fault(
        "batch statistics in the graph (BatchNorm)",
        Cause.LOSS_READS_OTHERS,
        (Swap(training, "factors", _batch_norm),),
    ),
    Fault("packed users", Cause.LOSS_READS_OTHERS, (Swap(training, "windows", _packed),)),
    Fault(
        "negatives from private events",
        Cause.LOSS_READS_OTHERS,
        (Swap(Steps, "table", _popular_negatives),),
    ),
    Fault(
        "vocabulary from private events",
        Cause.PRIVATE_STATISTICS,
        (Swap(Platform, "moments", _vocabulary),),
    ),
    Fault(
        "whitening fitted on private events",
        Cause.PRIVATE_STATISTICS,
        (Swap(Platform, "ground", _private_whitening),),
    ),
    Fault(
        "local head in the graph",
        Cause.PRIVATE_STATISTICS,
        (Swap(Platform, "ground", _head_in_graph),),
    ),
    Fault(
        "local head in the update",
        Cause.PRIVATE_STATISTICS,
        (Swap(Platform, "train", _head_in_update),),
    ),
)
