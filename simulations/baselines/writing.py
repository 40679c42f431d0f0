"""Histories, and pairs of a history and a candidate, as the tokens of a BERT-like model.

A history is written newest first, item texts apart by the tokenizer's separator, and cut where the
room ends; an item's own text is cut first, so that a long one does not push the others out:

    [CLS] newest [SEP] the one before [SEP] ...                                a history
    [CLS] newest [SEP] the one before [SEP] ... [SEP] candidate [SEP]          a pair

as in Devlin et al. 2019, "BERT" (arXiv 1810.04805), where the second part of a pair has its own
segment embedding.  Tokenizers without such marks do without.

Everything is arrays and not lists: a benchmark writes two million pairs.

Shapes: `B` texts, `T` tokens, `U` histories, `V` items.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulations.baselines.learning import History


@dataclass(frozen=True)
class Texts:
    """B texts as token ids.

    Args:
        ids: (B, T) int64, padded at the end.
        sizes: (B,) int64, tokens of each.
        seconds: (B,) int64, where the second part of a pair begins; the size, where there is none.
    """

    ids: NDArray[np.int64]
    sizes: NDArray[np.int64]
    seconds: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, rows: NDArray[np.int64]) -> "Texts":
        """Those of `rows`, in their order, as narrow as they can be."""
        sizes = self.sizes[rows]
        return Texts(self.ids[rows, : sizes.max(initial=0)], sizes, self.seconds[rows])


class Writer:
    """The catalogue's items as tokens, and how texts are made of them.

    Args:
        tokens: of each of the V items, one or more, without special ones.
        first, between, filler: ids of the marks, None where the tokenizer has none, and of padding.
        max_tokens: of a history or a pair.
    """

    def __init__(
        self,
        tokens: Sequence[Sequence[int]],
        *,
        first: int | None,
        between: int | None,
        filler: int,
        max_tokens: int,
    ) -> None:
        self.max_tokens, self._filler = max_tokens, filler
        self._first = [] if first is None else [first]
        mark = [] if between is None else [between]
        self._sizes = np.array([len(ids) + len(mark) for ids in tokens], np.int64)
        self._starts = np.cumsum(self._sizes) - self._sizes
        self._flat = np.array([token for ids in tokens for token in (*ids, *mark)], np.int64)

    def histories(self, histories: Sequence[History]) -> Texts:
        """(U texts) histories that are not empty, each by itself."""
        room, users = self.max_tokens, len(histories)
        # an item has at least one token: no more of them can be read than there is room for
        newest = [items[::-1][:room] for items in histories]
        items = np.concatenate([*newest, np.zeros(0, np.int32)]).astype(np.int64)
        owners = np.repeat(np.arange(users), [len(own) for own in newest])
        sizes = self._sizes[items]
        ends = np.cumsum(sizes)
        totals = np.bincount(owners, sizes, minlength=users).astype(np.int64)
        before = np.cumsum(totals) - totals
        begins = len(self._first) + ends - sizes - before[owners]
        ids = np.full((users, room), self._filler, np.int64)
        ids[:, : len(self._first)] = self._first
        self._write(ids, owners, begins, items, np.clip(room - begins, 0, sizes))
        totals = np.minimum(room, len(self._first) + totals)
        return Texts(ids[:, : totals.max(initial=0)], totals, totals)

    def pairs(self, histories: Sequence[History], candidates: Sequence[NDArray[np.int64]]) -> Texts:
        """Each history with each of its candidates, one user after the other.

        A candidate is whole, the history gets what room is left.

        Args:
            histories: U, none of them empty unless it has no candidates.
            candidates: U arrays of items.
        """
        written = self.histories(histories)
        counts = [len(own) for own in candidates]
        owners = np.repeat(np.arange(len(histories)), counts)
        items = np.concatenate([*candidates, np.zeros(0, np.int64)]).astype(np.int64)
        # a model with few places keeps at least half of them for the history
        lasts = np.minimum(self._sizes[items], self.max_tokens // 2)
        seconds = np.minimum(written.sizes[owners], self.max_tokens - lasts)
        sizes = seconds + lasts
        ids = np.full((len(items), sizes.max(initial=0)), self._filler, np.int64)
        width = min(ids.shape[1], written.ids.shape[1])
        ids[:, :width] = written.ids[owners, :width]
        ids[np.arange(ids.shape[1]) >= seconds[:, None]] = self._filler
        self._write(ids, np.arange(len(items)), seconds, items, lasts)
        return Texts(ids, sizes, seconds)

    def _write(
        self,
        ids: NDArray[np.int64],
        rows: NDArray[np.int64],
        begins: NDArray[np.int64],
        items: NDArray[np.int64],
        counts: NDArray[np.int64],
    ) -> None:
        """Into `ids`: the first `counts` tokens of `items`, in `rows`, from `begins` on."""
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        source = np.repeat(self._starts[items], counts) + within
        ids[np.repeat(rows, counts), np.repeat(begins, counts) + within] = self._flat[source]
