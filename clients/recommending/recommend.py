"""Recommendations for one history: what to show, and why.

Everything here happens on the platform; nothing of it is ever sent.  A score is the sum of three
parts: the cosine of the shared model's interest with the item, the local head's co-occurrence and
its popularity.  It is the score that the system `federated+knn` is evaluated by.

Shapes: L events of a history, V items.
"""

import difflib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from clients.platform import Platform
from clients.recommending.catalogue_words import CatalogueWords
from clients.recommending.explain import Explanation, ScoreFunction, explain
from clients.recommending.head import LocalHead
from clients.recommending.interests import Interest, top_interests
from clients.recommending.scorer import InterestScorer
from clients.sources.pseudonyms import pseudonym
from shared.adapters import Adapter
from shared.catalogue import Catalogue
from shared.errors import ConfigError, DataError
from shared.events import Sequences
from shared.model import recency_weights
from shared.whitening import Whitening

_NAMED = 5  # unknown items that an error spells out
_NEAR = 3  # suggestions for each of them
_ALIKE = 0.6  # of difflib: "Royal Shuter" is near "Royal Shutter", "Mars" near nothing


@dataclass(frozen=True, kw_only=True)
class Item:
    """One item of the catalogue, for people.

    Args:
        row: in the catalogue.
        item_id, title: as the platform writes them.
        category: path, outermost first; empty where unknown.
    """

    row: int
    item_id: str
    title: str
    category: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Where a score comes from; the parts add up to it, up to float32 rounding."""

    shared_model: float
    co_occurrence: float
    popularity: float


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """One recommended item.

    Args:
        score: higher is better; compares items for one history, not histories with each other.
        explanation: positions are those of `Recommendations.read`; None unless asked for.
    """

    item: Item
    score: float
    parts: Parts
    explanation: Explanation | None


@dataclass(frozen=True, kw_only=True)
class Recommendations:
    """What one history leads to.

    Args:
        read: the events the model read, oldest first: the most recent ones.
        interests: the heaviest first; their `events` are positions in `read`.
        items: the best first.
    """

    read: tuple[Item, ...]
    interests: tuple[Interest, ...]
    items: tuple[Recommendation, ...]


@dataclass(frozen=True)
class Recommender:
    """The shared model and the local head over one platform's catalogue.

    Args:
        catalogue: V items.
        scorer: the interest model with the trained adapter.
        head: fitted on the platform's training events.
    """

    catalogue: Catalogue
    scorer: InterestScorer
    head: LocalHead

    @classmethod
    def of(cls, platform: Platform, adapter: Adapter, whitening: Whitening) -> "Recommender":
        """Make a platform ready to recommend with a trained adapter.

        Raises:
            AdapterError: the adapter does not fit the platform's base model.
            ProtocolError: the whitening map belongs to another encoder.
        """
        model = platform.record.model
        return cls(
            platform.catalogue,
            InterestScorer.of(model, adapter, platform.ground(whitening)),
            LocalHead.fit(platform.sequences, len(platform.catalogue), decay=model.decay),
        )

    def recommend(
        self, history: NDArray[np.integer], *, k: int = 10, explained: bool = False
    ) -> Recommendations:
        """The best `k` items that are not in `history`; fewer where the catalogue has no more.

        An empty history is allowed: what is popular is recommended.

        Args:
            history: (L,) catalogue rows, oldest first; an item met again counts by its first time,
                as in training.
            explained: also say which events and interests carried each item.

        Raises:
            ConfigError: k is less than 1.
            DataError: a row is not in the catalogue.
        """
        size = len(self.catalogue)
        if k < 1:
            raise ConfigError(expected="k of at least 1", got=str(k), where="-k")
        if len(history) and not 0 <= history.min() <= history.max() < size:
            raise DataError(
                expected=f"catalogue rows from 0 to {size - 1}", got="others", where="history"
            )
        known = np.array(list(dict.fromkeys(history.tolist())), dtype=np.int32)
        read = known[-self.scorer.model.history_length :]
        shared = self.scorer.scores([read])[0]
        knn, mixing = self.head.knn([read])[0], self.head.mixing
        scores = (shared + self.head.scores([read])[0]).numpy()
        order = np.argsort(-scores, kind="stable")
        best = order[~np.isin(order, known)][:k].tolist()
        interests = top_interests(read, self._attention(len(read)), self._vectors, self._words)
        score_fn = self._remembering()
        items = [
            Recommendation(
                item=self._item(row),
                score=float(scores[row]),
                parts=Parts(
                    shared_model=float(shared[row]),
                    co_occurrence=mixing.knn * float(knn[row]),
                    popularity=mixing.popularity * float(self.head.popularity[row]),
                ),
                explanation=explain(read, row, score_fn, interests) if explained else None,
            )
            for row in best
        ]
        return Recommendations(
            read=tuple(self._item(row) for row in read.tolist()),
            interests=tuple(interests),
            items=tuple(items),
        )

    def scores(self, histories: Sequence[NDArray[np.integer]]) -> NDArray[np.float32]:
        """(B, V) of histories that the model reads whole."""
        rows = [history.astype(np.int32) for history in histories]
        added: NDArray[np.float32] = (self.scorer.scores(rows) + self.head.scores(rows)).numpy()
        return added

    def _remembering(self) -> ScoreFunction:
        """`scores`, computed once: every item of one history is explained by the same histories."""
        found: list[NDArray[np.float32]] = []

        def score(histories: list[NDArray[np.int64]]) -> NDArray[np.float32]:
            if not found:
                found.append(self.scores(histories))
            return found[0]

        return score

    def _attention(self, events: int) -> NDArray[np.float32]:
        """(L,) how much each event counts, oldest first."""
        present = torch.ones(events, dtype=torch.bool)
        weights: NDArray[np.float32] = (
            recency_weights(present, self.scorer.model.decay).flip(0).numpy()
        )
        return weights

    def _item(self, row: int) -> Item:
        catalogue = self.catalogue
        return Item(
            row=row,
            item_id=catalogue.ids[row],
            title=catalogue.titles[row],
            category=catalogue.categories[row],
        )

    @cached_property
    def _words(self) -> CatalogueWords:
        return CatalogueWords(self.catalogue)

    @property
    def _vectors(self) -> NDArray[np.float32]:
        vectors: NDArray[np.float32] = self.scorer.ground.vectors.numpy()
        return vectors


def rows_of(catalogue: Catalogue, names: Sequence[str]) -> NDArray[np.int32]:
    """The catalogue rows of items given by id, or by their exact title in any case.

    An id wins over a title that is written the same.

    Raises:
        DataError: items that are unknown, or a title that several items have; all of them in one
            message, with the nearest ids and titles.
    """
    titled: defaultdict[str, list[int]] = defaultdict(list)
    for row, title in enumerate(catalogue.titles):
        titled[_folded(title)].append(row)
    rows: list[int] = []
    wrong: list[str] = []
    advice: list[str] = []
    for name in dict.fromkeys(names):
        own = catalogue.row_of.get(name, catalogue.row_of.get(name.strip()))
        found = titled.get(_folded(name), []) if own is None else [own]
        rows += found[:1]
        if len(found) == 1:
            continue
        wrong.append(repr(name))
        if len(wrong) > _NAMED:
            continue
        if found:
            ids = ", ".join(catalogue.ids[one] for one in found[:_NEAR])
            advice.append(f"{name!r} is the title of {len(found)} items; give an id: {ids}.")
        elif near := _nearest(catalogue, titled, name):
            advice.append(f"Near {name!r}: {', '.join(near)}.")
    if wrong:
        more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise DataError(
            expected="item ids or exact titles of the catalogue",
            got=", ".join(wrong[:_NAMED]) + more,
            where="--history",
            remedy=" ".join(advice) or f"Ids look like {', '.join(catalogue.ids[:_NEAR])}.",
        )
    return np.array(rows, dtype=np.int32)


def number_of(sequences: Sequences, secret: bytes, user_id: str) -> int | None:
    """Which of the platform's users `user_id`, as the log writes it, is; None if unknown.

    Raises:
        PrivacyError: the secret is too short to be one.
    """
    name = pseudonym(secret, user_id.strip())
    return next((number for number, user in enumerate(sequences.users) if user == name), None)


def _nearest(catalogue: Catalogue, titled: dict[str, list[int]], name: str) -> list[str]:
    """Up to 3 ids, or ids with their titles, that are written almost like `name`."""
    ids = difflib.get_close_matches(name.strip(), catalogue.ids, n=_NEAR, cutoff=_ALIKE)
    titles = difflib.get_close_matches(_folded(name), titled, n=_NEAR, cutoff=_ALIKE)
    rows = [titled[title][0] for title in titles]
    found = [f"{catalogue.ids[row]} ({catalogue.titles[row]!r})" for row in rows]
    return [*found, *(item for item in ids if catalogue.row_of[item] not in rows)][:_NEAR]


def _folded(title: str) -> str:
    return " ".join(title.split()).casefold()
