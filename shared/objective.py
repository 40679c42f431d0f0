"""What one user's events ask of the model, and the gradient of that: plainly, and fast.

A user's loss is the mean, over the events of a window of their own history, of the generalised
cross-entropy (Zhang and Sabuncu 2018, "Generalized cross entropy loss for training deep neural
networks with noisy labels", eq. 6) of the next item among drawn catalogue items:

    loss = (1 - p ^ q) / q,   or -log p for q = 0,
    p = exp(x . y / t) / (exp(x . y / t) + sum over negatives n of exp(x . n / t))

with x the interest of the events before it in the window, y the next item, both adapted by W
(`shared.model`), t the temperature.  Its gradient is the cross-entropy's times p ^ q: what nothing
in a history told of does not drown the rest, which counts where every user's gradient is clipped.
The lengths that adapted items are brought back to enter as constants of the step.  A loss depends
on the user's own events, on public item vectors, and on the negatives, which are drawn from the
catalogue without looking at anybody's data; a negative that is the next item itself is left out of
its sum.

`losses` is the plain twin: readable, differentiable, slow.  `factors` is what training uses.  With
B the trained block of W and b its columns (scaled), x = m / |m| and m = m0 + B b(m), so

    d loss / d B = p_y ^ q times
        (d -log p_y / d m) b(m)' + x (sum of p_n b(n) - (1 - p_y) b(y))' / t

one outer product for the history and one for the items, per predicted event.

Shapes: `U` users, `S` events of a window, `T` = S - 1 predicted events, `N` negatives, `D` width,
`R` columns of the block, `V` items.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from shared.events import Sequences
from shared.ground import Ground
from shared.model import InterestModel

_LEFT_OUT = -1e9  # a logit that no softmax sees


@dataclass(frozen=True)
class Windows:
    """What a micro-batch of users is asked to predict.

    Args:
        items: (U, S) int64, oldest first; anything where absent.
        real: (U, T) float32: for each event after the first its part in the mean, 0 where absent.
    """

    items: torch.Tensor
    real: torch.Tensor


def windows(
    sequences: Sequences, users: NDArray[np.int64], coins: NDArray[np.float64], longest: int
) -> Windows:
    """Consecutive events of each user: all, or `longest` of them from where their coin says.

    Args:
        users: (U,) rows of `sequences`.
        coins: (U,) uniform numbers in [0, 1), drawn per user.
    """
    starts = sequences.offsets[users]
    sizes = sequences.offsets[users + 1] - starts
    taken = np.minimum(sizes, longest)
    starts = starts + np.floor(coins * (sizes - taken + 1)).astype(np.int64)
    width = max(2, int(taken.max(initial=0)))
    place = np.arange(width)
    items = sequences.items if len(sequences.items) else np.zeros(1, np.int32)
    rows = starts[:, None] + np.minimum(place, np.maximum(taken - 1, 0)[:, None])
    rows = np.where(taken[:, None] > 0, rows, 0)
    real = (place[1:] < taken[:, None]) / np.maximum(taken - 1, 1)[:, None]
    return Windows(
        items=torch.from_numpy(items[rows].astype(np.int64)),
        real=torch.from_numpy(real.astype(np.float32)),
    )


def losses(
    model: InterestModel,
    ground: Ground,
    batch: Windows,
    negatives: torch.Tensor,
    temperature: float,
    gce_q: float,
) -> torch.Tensor:
    """(U,) each user's loss, differentiable in all of the adapter; 0 with nothing to predict."""
    adapted = model.items(ground)
    total = torch.zeros(len(batch.items))
    for event in range(1, batch.items.shape[1]):
        past = batch.items[:, :event].flip(1)
        interest = model.interests(adapted, past, torch.ones_like(past, dtype=torch.bool))
        wanted = batch.items[:, event]
        met = (interest * adapted[wanted]).sum(1, keepdim=True)
        rest = interest @ adapted[negatives].T
        rest = rest.masked_fill(wanted[:, None] == negatives, _LEFT_OUT)
        logits = torch.cat([met, rest], dim=1) / temperature
        found = torch.log_softmax(logits, dim=1)[:, 0]
        loss = -torch.expm1(gce_q * found) / gce_q if gce_q else -found
        total = total + loss * batch.real[:, event - 1]
    return total


@dataclass(frozen=True)
class Table:
    """What a step reads: the catalogue as the adapter stands, and one block's columns of it.

    Args:
        adapted: (V, D) float32.
        columns: (V, R) float32, contiguous, scaled as the adapted items are.
        negatives: (N,) int64 catalogue rows.
        decay, temperature, gce_q: constants.
    """

    adapted: torch.Tensor
    columns: torch.Tensor
    negatives: torch.Tensor
    decay: float
    temperature: float
    gce_q: float


def factors(table: Table, batch: Windows) -> tuple[torch.Tensor, torch.Tensor]:
    """(U, 2T, R) inputs of the block's layer, and (U, 2T, D) the losses' gradients at its outputs.

    The gradient of a user's loss in B is the sum over the 2T rows of output times input'.
    """
    read, columns = table.adapted[batch.items], table.columns[batch.items]
    weights = _recency(batch.items.shape[1] - 1, table.decay)
    mean, mean_columns = weights @ read[:, :-1], weights @ columns[:, :-1]
    length = mean.norm(dim=2, keepdim=True).clamp_min(1e-12)
    interest = mean / length
    wanted, wanted_columns = read[:, 1:], columns[:, 1:]
    # the negatives as this batch's items: one matrix product for all users
    drawn, drawn_columns = table.adapted[table.negatives], table.columns[table.negatives]
    rest = interest.flatten(0, 1) @ drawn.T
    rest.masked_fill_(batch.items[:, 1:].reshape(-1, 1) == table.negatives, _LEFT_OUT)
    rest = rest.view(*interest.shape[:2], -1).div_(table.temperature)
    met = (interest * wanted).sum(2, keepdim=True) / table.temperature
    level = torch.maximum(rest.amax(dim=2, keepdim=True), met)
    rest = rest.sub_(level).exp_()
    met = (met - level).exp()
    whole = rest.sum(dim=2, keepdim=True) + met
    part = batch.real[..., None] / (whole * table.temperature)  # of the mean, of the softmax
    part *= (met / whole) ** table.gce_q
    missing = rest.sum(dim=2, keepdim=True)  # (1 - p_y) times `whole`
    flat = rest.flatten(0, 1)
    pulled = ((flat @ drawn).view_as(mean) - missing * wanted) * part
    outputs = (pulled - interest * (interest * pulled).sum(2, keepdim=True)) / length
    inputs = ((flat @ drawn_columns).view_as(mean_columns) - missing * wanted_columns) * part
    return torch.cat([mean_columns, inputs], dim=1), torch.cat([outputs, interest], dim=1)


@lru_cache(maxsize=256)
def _recency(events: int, decay: float) -> torch.Tensor:
    """(T, T) float32: row t is how much each of the window's first t + 1 events counts."""
    back = torch.arange(events)[:, None] - torch.arange(events)
    weights = torch.tril(decay ** back.clamp_min(0).double())
    return (weights / weights.sum(dim=1, keepdim=True)).float()
