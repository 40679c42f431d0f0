"""Why an item was recommended: which events of the history, and which interests, carried it.

Model-agnostic, by occlusion: an event's contribution is what the item's score loses when the event
is left out.  For a score that is a sum over events this is exactly the event's own term; for any
other model it is the difference the event makes, given all the others.

Shapes: L events of a history, V items.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clients.recommending.interests import Interest
from shared.errors import DataError

ScoreFunction = Callable[[list[NDArray[np.int64]]], NDArray[np.floating]]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What carried a recommendation.

    Contributions are shares of all change that leaving out single events makes: their absolute
    values sum to 1 over all events; a negative one spoke against the item.

    Args:
        events: (position in the history, contribution), the strongest first; L of them.
        interests: (label, sum of its events' contributions), the strongest first.
    """

    events: tuple[tuple[int, float], ...]
    interests: tuple[tuple[str, float], ...]


def explain(
    history: NDArray[np.integer],
    item: int,
    score_fn: ScoreFunction,
    interests: Sequence[Interest],
) -> Explanation:
    """Explain the score of catalogue row `item` after `history`.

    Args:
        history: (L,) catalogue rows, oldest first; the part that the model reads, or leaving one
            event out would let an older one in.
        item: catalogue row that was recommended.
        score_fn: n histories -> (n, V) scores of all items, or (n,) scores of this one.  It is
            called once, with the history and its L versions that lack one event; never with an
            empty history.
        interests: of the same history (`top_interests`).

    Raises:
        DataError: scores of a wrong shape, or not finite; an interest of another history.
    """
    length = len(history)
    if any(not 0 <= event < length for interest in interests for event in interest.events):
        raise DataError(
            expected=f"interests of a history of {length} events", got="others", where="explain"
        )
    share = _shares(history, item, score_fn)
    events = sorted(enumerate(share.tolist()), key=lambda entry: (-entry[1], entry[0]))
    carried = [(each.label, float(share[list(each.events)].sum())) for each in interests]
    carried.sort(key=lambda entry: -entry[1])  # stable: the heavier interest first among equals
    return Explanation(events=tuple(events), interests=tuple(carried))


def _shares(
    history: NDArray[np.integer], item: int, score_fn: ScoreFunction
) -> NDArray[np.float64]:
    """(L,) signed contributions whose absolute values sum to 1 (or are all 0)."""
    whole = np.asarray(history, dtype=np.int64)
    if len(whole) <= 1:
        return np.ones(len(whole))  # nothing to compare with: the only event carried it
    scores = np.asarray(score_fn([whole, *(np.delete(whole, i) for i in range(len(whole)))]))
    if scores.ndim == 2 and 0 <= item < scores.shape[1]:
        scores = scores[:, item]
    if scores.shape != (len(whole) + 1,) or not np.isfinite(scores).all():
        raise DataError(
            expected=f"{len(whole) + 1} finite scores of item {item}",
            got=f"shape {scores.shape}" if np.isfinite(scores).all() else "NaN or infinity",
            where="explain",
        )
    lost = scores[0].astype(np.float64) - scores[1:].astype(np.float64)
    total = np.abs(lost).sum()
    return lost / total if total > 0 else np.zeros(len(whole))
