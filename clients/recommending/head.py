"""The local head: what this platform's own users like together, and what is popular here.

It is built from raw private events and therefore never leaves the platform, is never part of an
update, and is combined with the interest model only when recommendations are served.

Shapes: B users, V items, N training events.

1. Co-occurrence: `D[i, j]` adds `distance ** -0.6` for each time a user meets j at most `window`
   events after i.  What followed counts fully, what preceded by `backward`:
   `M = D + backward D'`.
2. Degree-normalised as a directed graph's edges are: `A[i, j] = M[i, j] / sqrt(out[i] into[j])`,
   with the row and column sums of M.
3. A user's score is the recency-weighted mean of the rows of A over the history (`decay` per step
   back), divided by that user's largest: in [0, 1], so that a mixing weight means the same on a
   platform of any size.
4. Popularity is `log(1 + events of the item)`: finite for an item nobody has met.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from shared.errors import DataError, RunError
from shared.events import Sequences
from shared.files import sha256, write_bytes

BACKWARD = 0.75
FALLOFF = 0.6  # of a pair's weight with its distance: flat co-occurrence is 10 % worse

_FORMAT = 1
_PARTS = ("data", "indices", "indptr", "popularity")
_PAIRS_AT_ONCE = 20_000_000


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """How much the head adds to the interest model's scores, which are cosines in [-1, 1].

    Args:
        knn: weight of the co-occurrence score, which is in [0, 1].
        popularity: weight of the log-popularity.
    """

    knn: float = 0.6
    popularity: float = 0.02


@dataclass(frozen=True)
class LocalHead:
    """A platform's collaborative signal.

    Args:
        similarity: (V, V) float32 CSR, A above.
        popularity: (V,) float32 log-popularity.
        decay: weight of an event relative to the one after it, in (0, 1].
        mixing: weights in `scores`.
    """

    similarity: sparse.csr_array
    popularity: NDArray[np.float32]
    decay: float = 0.6
    mixing: Mixing = Mixing()

    @classmethod
    def fit(
        cls,
        train: Sequences,
        items: int,
        *,
        window: int = 5,
        backward: float = BACKWARD,
        decay: float = 0.6,
        mixing: Mixing | None = None,
    ) -> "LocalHead":
        """Count co-occurrences in the platform's own training events.

        Args:
            train: each user's events, oldest first.
            items: V, size of the catalogue.
            window: most steps between two events that count as together.
            backward: what an item that came before counts for, against one that came after.
            decay: see the class.
            mixing: see the class.

        Raises:
            DataError: an event names an item outside the catalogue.
        """
        if len(train.items) and not 0 <= train.items.min() <= train.items.max() < items:
            raise DataError(
                expected=f"items 0 to {items - 1}",
                got="an item outside the catalogue",
                where="training sequences",
                remedy="Build the head with the catalogue the events were read with.",
            )
        after = _followed(train, items, window)
        entries = sparse.coo_array(after + backward * after.T)
        out, into = np.asarray(entries.sum(axis=1)), np.asarray(entries.sum(axis=0))
        # every stored entry is positive, and so are its row's and its column's sums
        entries.data /= np.sqrt(out[entries.row] * into[entries.col])
        seen = np.bincount(train.items, minlength=items)
        return cls(
            similarity=entries.tocsr().astype(np.float32),
            popularity=np.log1p(seen).astype(np.float32),
            decay=decay,
            mixing=mixing or Mixing(),
        )

    def knn(self, histories: Sequence[NDArray[np.int32]]) -> torch.Tensor:
        """(B, V) float32 co-occurrence scores in [0, 1], the best item's is 1.

        A user whose history is empty, or met with nothing else, has zeros.
        """
        sizes = np.array([len(history) for history in histories], dtype=np.int64)
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        back = np.repeat(offsets[1:], sizes) - 1 - np.arange(offsets[-1])
        weights = self.decay ** back.astype(np.float64)
        # an empty history has no weights to sum; reduceat would borrow its neighbour's
        filled = sizes > 0
        totals = np.ones(len(sizes))
        if filled.any():
            totals[filled] = np.add.reduceat(weights, offsets[:-1][filled])
        weights = (weights / np.repeat(totals, sizes)).astype(np.float32)
        columns = np.concatenate([*histories, np.zeros(0, np.int32)])
        shape = (len(sizes), len(self.popularity))
        users = sparse.csr_array((weights, columns, offsets), shape=shape)
        scored = torch.from_numpy((users @ self.similarity).toarray())
        best = scored.amax(dim=1, keepdim=True)
        return scored.div_(torch.where(best > 0, best, 1))

    def scores(self, histories: Sequence[NDArray[np.int32]]) -> torch.Tensor:
        """(B, V) float32: what is added to the interest model's scores, weighted by `mixing`."""
        mixed = self.knn(histories).mul_(self.mixing.knn)
        return mixed.add_(torch.from_numpy(self.popularity), alpha=self.mixing.popularity)

    def save(self, path: Path) -> None:
        """Write the head to `path` (.npz) with a checksum, replacing it atomically.

        Raises:
            StorageError: the disk refused.
        """
        parts = dict(zip(_PARTS, self._arrays(), strict=True))
        buffer = io.BytesIO()
        np.savez(
            buffer,
            **parts,  # type: ignore[arg-type]
            format=np.int64(_FORMAT),
            settings=np.array([self.decay, self.mixing.knn, self.mixing.popularity], np.float64),
            checksum=np.array(self._checksum()),
        )
        write_bytes(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> "LocalHead":
        """Read what `save` wrote.

        Raises:
            RunError: the file is missing, damaged, or of another version.
        """
        try:
            # from memory: numpy forgets to close the file when it is not a zip archive
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
                parts = {name: stored[name] for name in stored.files}
            version = int(parts["format"])
            data, indices, indptr, popularity = (parts[name] for name in _PARTS)
            decay, knn, weight = (float(value) for value in parts["settings"])
            size = len(popularity)
            similarity = sparse.csr_array((data, indices, indptr), shape=(size, size))
            head = cls(similarity, popularity, decay, Mixing(knn=knn, popularity=weight))
            checksum = str(parts["checksum"])
        except FileNotFoundError as error:
            raise _unreadable(path, "no file") from error
        except Exception as error:  # numpy and zipfile raise a dozen kinds for damaged bytes
            raise _unreadable(path, "a damaged file") from error
        if version != _FORMAT:
            raise _unreadable(path, f"format {version}")
        if head._checksum() != checksum:
            raise _unreadable(path, "a damaged file (its checksum does not match)")
        return head

    def _arrays(self) -> tuple[NDArray[np.generic], ...]:
        matrix = self.similarity
        return matrix.data, matrix.indices, matrix.indptr, self.popularity

    def _checksum(self) -> str:
        settings = np.array([self.decay, self.mixing.knn, self.mixing.popularity], np.float64)
        parts = [f"{a.dtype.str}{a.shape}".encode() + a.tobytes() for a in self._arrays()]
        return sha256(b"".join([*parts, settings.tobytes()]))


def _followed(train: Sequences, items: int, window: int) -> sparse.csr_array:
    """(V, V) float64 D; a pair of the same item is no co-occurrence."""
    owner = np.repeat(np.arange(len(train)), train.lengths)
    shape = (items, items)
    total = sparse.csr_array(shape, dtype=np.float64)
    for step in range(1, window + 1):
        earlier, later = train.items[:-step], train.items[step:]
        together = (owner[:-step] == owner[step:]) & (earlier != later)
        earlier, later = earlier[together], later[together]
        for start in range(0, len(earlier), _PAIRS_AT_ONCE):  # bounds the memory of long logs
            pair = (earlier[start : start + _PAIRS_AT_ONCE], later[start : start + _PAIRS_AT_ONCE])
            weights = np.full(len(pair[0]), step**-FALLOFF)
            total = total + sparse.csr_array((weights, pair), shape=shape)
    return total


def _unreadable(path: Path, got: str) -> RunError:
    return RunError(
        expected=f"a local head, format {_FORMAT}",
        got=got,
        where=str(path),
        remedy="Build it again from the platform's training events.",
    )
