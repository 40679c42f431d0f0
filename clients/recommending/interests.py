"""A user's interests as words: groups of their events, each named by what sets it apart.

Events are grouped by the similarity of their items; `clients.recommending.catalogue_words` names
the groups.
Everything is computed on the platform, without any randomness.

Shapes: V items, D width, L events of a history.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.recommending.catalogue_words import CatalogueWords
from shared.errors import DataError

# In the whitened space two unrelated items have a cosine of 0.00 +- 0.06, two of the same leaf
# category 0.15 +- 0.12 (shop catalogues of 12,000 items).  Categories, where both items have some,
# add between -0.1 (none shared) and 0.3 (all shared).
_SAME_INTEREST = 0.12  # mean likeness within a group, at least
_CATEGORY_WEIGHT, _CATEGORY_NEUTRAL = 0.4, 0.25
_NEIGHBOURS = 20  # catalogue items near a group's middle that help to name it
_TITLES = 3
_TITLE_LENGTH = 60

Near = Callable[[NDArray[np.integer], NDArray[np.float64], int], NDArray[np.integer]]
"""(R,) rows, their shares and a count -> so many catalogue rows near their middle."""

Vectors = Any
"""(V, D) float32: an array, or what gives rows for an array of rows and has a length."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Interest:
    """One interest of one user.

    Args:
        label: in words: a category, or a phrase of the titles, or a title.
        weight: share of the weights of all interests returned with it, in (0, 1].
        items: up to 3 titles that stand for it, the most central first.
        events: positions in the history that belong to it, rising.
        vector: (D,) float32, the weighted mean of its events' item vectors.
    """

    label: str
    weight: float
    items: tuple[str, ...]
    events: tuple[int, ...]
    vector: NDArray[np.float32]


def top_interests(
    history: NDArray[np.integer],
    weights: NDArray[np.floating],
    vectors: Vectors,
    words: CatalogueWords,
    *,
    most: int = 5,
    are_unit: bool = False,
    near: Near | None = None,
) -> list[Interest]:
    """The interests behind a history, the heaviest first; none for an empty history.

    Groups that get the same label are one interest, and events of weight 0 belong to none.  The
    weights of the returned interests sum to 1, whatever was left out.

    Args:
        history: (L,) catalogue rows, oldest first.
        weights: (L,) how much each event counts, not negative (recency, for example).
        vectors: (V, D) whitened item vectors.
        words: of the same catalogue.
        most: interests returned at most.
        are_unit: every vector is of length 1, or 0: saves a copy of them all.
        near: finds catalogue items near the middle of some; None looks at all vectors.  With it and
            `are_unit` vectors may be anything that gives rows for an array of rows.

    Raises:
        DataError: shapes do not fit, a weight is negative or not finite, all weights are 0, a row
            is not in the catalogue.
    """
    _check(history, weights, vectors, words)
    counted = np.flatnonzero(weights > 0)
    if not len(counted):
        return []
    shares = weights.astype(np.float64) / float(weights.sum(dtype=np.float64))
    unit = vectors if are_unit else _unit(np.asarray(vectors))
    grouped: dict[str, list[int]] = {}
    for group in _groups(history[counted], unit, words):
        events = [int(counted[place]) for place in group]
        label = _label(history[events], shares[events], unit, words, near)
        grouped.setdefault(label, []).extend(events)
    ranked = sorted(grouped.items(), key=lambda entry: (-shares[entry[1]].sum(), min(entry[1])))
    kept = sum(float(shares[events].sum()) for _, events in ranked[:most])
    interests = []
    for label, events in ranked[:most]:
        events = sorted(events)
        share = float(shares[events].sum())
        vector = ((shares[events] / share) @ vectors[history[events]]).astype(np.float32)
        central = np.argsort(-(unit[history[events]] @ vector), kind="stable")
        titles = _distinct(_short(words.titles[int(history[events[place]])]) for place in central)
        interests.append(
            Interest(
                label=label,
                weight=share / kept,
                items=titles[:_TITLES],
                events=tuple(events),
                vector=vector,
            )
        )
    return interests


def _groups(history: NDArray[np.integer], unit: Vectors, words: CatalogueWords) -> list[list[int]]:
    """Positions of the history in groups: average linkage, cut where groups are too unlike."""
    if len(history) == 1:
        return [[0]]
    seen = unit[history].astype(np.float64)
    alike = seen @ seen.T + _category_likeness(history, words)
    return average_linkage((alike + alike.T) / 2, least=_SAME_INTEREST)


def average_linkage(alike: NDArray[np.float64], *, least: float) -> list[list[int]]:
    """Places in groups: the two groups that are most alike become one, while their mean likeness
    is at least `least` (UPGMA, Sokal and Michener 1958).

    SciPy does the same, and takes 23 MiB of a service's memory to import.

    Args:
        alike: (L, L) symmetric.

    Returns:
        each place once; places rise in a group, and groups by their first.
    """
    mean = alike.copy()  # likeness of two groups, in the rows of their first places
    np.fill_diagonal(mean, -np.inf)
    groups = {place: [place] for place in range(len(alike))}
    while len(groups) > 1:
        one, other = sorted(divmod(int(mean.argmax()), len(mean)))
        if mean[one, other] < least:
            break
        sizes = len(groups[one]), len(groups[other])
        mean[one] = mean[:, one] = (sizes[0] * mean[one] + sizes[1] * mean[other]) / sum(sizes)
        mean[other] = mean[:, other] = -np.inf
        groups[one] = sorted(groups[one] + groups.pop(other))
    return list(groups.values())


def _category_likeness(history: NDArray[np.integer], words: CatalogueWords) -> NDArray[np.float64]:
    """(L, L): weighted Jaccard similarity of categories, rare ones counting more; 0 if unknown."""
    names = [words.categories(int(row)) for row in history]
    distinct = list(dict.fromkeys(names))  # a history has few
    rarity = {name: words.category_rarity(name) for path in distinct for name in path}
    sizes = [sum(rarity[name] for name in path) for path in distinct]
    likeness = np.zeros((len(distinct), len(distinct)))
    for i, first in enumerate(distinct):
        for j, second in enumerate(distinct[: i + 1]):
            both = sum(rarity[name] for name in first if name in second)
            whole = sizes[i] + sizes[j] - both
            if first and second and whole > 0:
                value = _CATEGORY_WEIGHT * (both / whole - _CATEGORY_NEUTRAL)
                likeness[i, j] = likeness[j, i] = value
    place = {path: number for number, path in enumerate(distinct)}
    which = [place[path] for path in names]
    found = likeness[np.ix_(which, which)]
    np.fill_diagonal(found, 0.0)
    return found


def _label(
    rows: NDArray[np.integer],
    shares: NDArray[np.float64],
    unit: Vectors,
    words: CatalogueWords,
    near: Near | None,
) -> str:
    """The category that best tells the group from the catalogue, else a phrase, else a title."""
    parts = shares / shares.sum()
    found = words.category_label(rows, parts)
    if found is not None:
        return found
    middle = parts.astype(np.float32) @ unit[rows]

    def around() -> NDArray[np.integer]:
        if near is not None:
            return near(rows, parts, _NEIGHBOURS)
        return np.argsort(-(unit @ middle), kind="stable")[:_NEIGHBOURS]

    found = words.phrase_label(rows, parts, around)
    if found is not None:
        return found
    return _short(words.titles[int(rows[int(np.argmax(unit[rows] @ middle))])])


def _check(
    history: NDArray[np.integer],
    weights: NDArray[np.floating],
    vectors: Vectors,
    words: CatalogueWords,
) -> None:
    if len(vectors) != len(words.titles) or history.ndim != 1 or history.shape != weights.shape:
        raise DataError(
            expected="one vector per item and one weight per event",
            got=f"{len(vectors)} vectors, {len(words.titles)} items, history {history.shape}, "
            f"weights {weights.shape}",
            where="interests",
        )
    if not len(history):
        return
    if not np.isfinite(weights).all() or (weights < 0).any() or not (weights > 0).any():
        raise DataError(
            expected="event weights of 0 or more, not all 0", got="others", where="interests"
        )
    if history.min() < 0 or history.max() >= len(vectors):
        raise DataError(
            expected=f"catalogue rows from 0 to {len(vectors) - 1}", got="others", where="interests"
        )


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _distinct(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _short(title: str) -> str:
    return title if len(title) <= _TITLE_LENGTH else title[: _TITLE_LENGTH - 1].rstrip() + "…"
