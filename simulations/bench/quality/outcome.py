"""What one system did on one platform: where each held-out item came, and the ten items shown.

Shape legend: `U` users, `B` users of a batch, `V` items, `K` = 10 items shown.

Rules, on top of those of `simulations.evaluation`:
1. Items of the history are never shown, and neither is an item whose score is not a number or
   minus infinity.
2. Where a user's scores are distinct, the target is shown exactly when its rank is below K, and
   then at that place.  Ties count against the system in the rank, while the list has to choose:
   a target whose rank is below K is shown all the same, at a place that may be better.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from clients.splits import Split
from shared.errors import DataError, RunError
from shared.files import sha256, write_bytes
from shared.metrics import Excluded, ranks
from simulations.baselines.base import Scorer
from simulations.evaluation import CUT, Progress, Which, check, scored

NOTHING = -1  # fills the list of a user to whom fewer than CUT items can be shown

_FORMAT = 1
_PARTS = ("ranks", "top", "ranked")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One system on one platform, user by user.

    Args:
        ranks: (U,) int32, 0-based rank of the held-out item; V or more where it cannot be found.
        top: (U, K) int32 rows of the items shown, best first; `NOTHING` after the last.
        ranked: (U,) int32, how many items were ranked: V less the distinct items of the history.
        items: V.

    Raises:
        DataError: the parts do not belong together.
    """

    ranks: NDArray[np.int32]
    top: NDArray[np.int32]
    ranked: NDArray[np.int32]
    items: int

    def __post_init__(self) -> None:
        users = len(self.ranks)
        shapes = (self.ranks.shape, self.top.shape, self.ranked.shape)
        if shapes != ((users,), (users, CUT), (users,)):
            raise DataError(
                expected=f"shapes ({users},), ({users}, {CUT}) and ({users},)",
                got=", ".join(map(str, shapes)),
                where="ranks, top and ranked of an outcome",
            )

    def __len__(self) -> int:
        return len(self.ranks)

    @property
    def found(self) -> NDArray[np.bool_]:
        """(U,) whether the held-out item was among the ranked ones."""
        return self.ranks < self.items

    def save(self, path: Path) -> None:
        """Write the outcome to `path` (.npz) with a checksum, replacing it atomically.

        Raises:
            StorageError: the disk refused.
        """
        write_bytes(path, self.to_bytes())

    def to_bytes(self) -> bytes:
        """The content of the file that `save` writes."""
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            ranks=self.ranks,
            top=self.top,
            ranked=self.ranked,
            items=np.int64(self.items),
            format=np.int64(_FORMAT),
            checksum=np.array(self._checksum()),
        )
        return buffer.getvalue()

    @classmethod
    def load(cls, path: Path) -> "Outcome":
        """Read what `save` wrote.

        Raises:
            RunError: the file is missing, damaged, or of another version.
        """
        try:
            # from memory: numpy forgets to close the file when it is not a zip archive
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
                parts = {name: stored[name] for name in stored.files}
            version = int(parts["format"])
            ranks_, top, ranked = (parts[name] for name in _PARTS)
            outcome = cls(ranks=ranks_, top=top, ranked=ranked, items=int(parts["items"]))
            checksum = str(parts["checksum"])
        except FileNotFoundError as error:
            raise _unreadable(path, "no file") from error
        except Exception as error:  # numpy and zipfile raise a dozen kinds for damaged bytes
            raise _unreadable(path, "a damaged file") from error
        if version != _FORMAT:
            raise _unreadable(path, f"format {version}")
        if outcome._checksum() != checksum:
            raise _unreadable(path, "a damaged file (its checksum does not match)")
        return outcome

    def _checksum(self) -> str:
        arrays = (self.ranks, self.top, self.ranked)
        parts = [f"{a.dtype.str}{a.shape}".encode() + a.tobytes() for a in arrays]
        return sha256(b"".join([*parts, str(self.items).encode()]))


def observe(
    systems: Mapping[str, Scorer],
    split: Split,
    which: Which = "test",
    *,
    history_length: int = 50,
    score_batch: int = 512,
    progress: Progress | None = None,
) -> dict[str, Outcome]:
    """Rank the held-out item of every user with several systems, and keep what they would show.

    Args:
        systems: name -> system; a part that several `Sum`s share is scored once a batch.
        split: the users.
        which: the held-out item to be found.
        history_length: most recent events a system reads.
        score_batch: users scored at once; memory is a few (score_batch, V) float32 matrices per
            distinct part, and results do not depend on it beyond rounding.
        progress: called with (users done, users) after each batch.

    Raises:
        DataError: a system's scores are not (B, V) for the batch's users and one V for all.
    """
    users = len(split)
    targets = torch.from_numpy(split.targets(which).astype(np.int64))
    places = {name: np.empty(users, np.int32) for name in systems}
    shown = {name: np.full((users, CUT), NOTHING, np.int32) for name in systems}
    ranked = np.zeros(users, np.int32)
    items = 0
    for start in range(0, users, score_batch):
        stop = min(users, start + score_batch)
        whole = split.histories(which, start, stop)
        exclude = Excluded.of(whole)
        read = [history[-history_length:] for history in whole]
        for name, scores in scored(systems, read):
            items = items or scores.shape[-1]
            check(name, scores, stop - start, items)
            places[name][start:stop] = ranks(scores, targets[start:stop], exclude).numpy()
            best = best_items(scores, exclude)
            shown[name][start:stop, : best.shape[1]] = best.numpy()
        taken = torch.bincount(exclude.rows, minlength=stop - start)
        ranked[start:stop] = items - taken.numpy()
        if progress is not None:
            progress(stop, users)
    return {
        name: Outcome(ranks=places[name], top=shown[name], ranked=ranked, items=items)
        for name in systems
    }


def best_items(scores: torch.Tensor, exclude: Excluded, k: int = CUT) -> torch.Tensor:
    """(B, min(k, V)) int64 rows of the best items, best first; `NOTHING` where there is no more.

    Args:
        scores: (B, V) floating point, higher is better; read, never written.
        exclude: items left out.
    """
    # other systems share this tensor, so the history is masked in a copy
    masked = scores.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    masked[exclude.rows, exclude.columns] = -torch.inf
    best = masked.topk(min(k, masked.shape[1]), dim=1)
    return best.indices.masked_fill(best.values == -torch.inf, NOTHING)


def _unreadable(path: Path, got: str) -> RunError:
    return RunError(
        expected=f"an outcome, format {_FORMAT}",
        got=got,
        where=str(path),
        remedy="Delete it and measure again.",
    )
