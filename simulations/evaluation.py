"""How good a system is: full-catalogue ranking of each user's held-out item.

Shape legend: `U` users, `B` users of a batch, `V` items.

Rules:
1. The history is everything before the target: for the test that includes the validation item.
2. A system reads the most recent `history_length` events of it; what is left out of the ranking
   is the whole of it.
3. All V items are ranked, and ties count against the system (`shared.metrics`).
4. Figures are means over all users of the split, whatever they were trained on.
5. Every system sees the same batches, and a part that several systems share is scored once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from clients.splits import Split
from shared.errors import DataError
from shared.metrics import Excluded, hit_at, ndcg_at, ranks
from simulations.baselines.base import Scorer, Sum

CUT = 10

Which = Literal["test", "validation"]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Result:
    """What one system reached on one platform.

    Args:
        ranks: (U,) int32, 0-based rank of each user's item; `NOT_FOUND` where it cannot be found.
        items: V.
    """

    ranks: NDArray[np.int32]
    items: int

    @property
    def metrics(self) -> dict[str, float]:
        """Means over users, under the names of `summary.json`."""
        found = torch.from_numpy(self.ranks)
        return {
            f"ndcg@{CUT}": float(ndcg_at(found, CUT).mean()),
            f"hit@{CUT}": float(hit_at(found, CUT).mean()),
        }


def evaluate(
    scorer: Scorer,
    split: Split,
    which: Which = "test",
    *,
    history_length: int = 50,
    score_batch: int = 512,
    progress: Progress | None = None,
) -> Result:
    """Rank the held-out item of every user of `split` with one system; see `evaluate_many`."""
    return evaluate_many(
        {"system": scorer},
        split,
        which,
        history_length=history_length,
        score_batch=score_batch,
        progress=progress,
    )["system"]


def evaluate_many(
    systems: Mapping[str, Scorer],
    split: Split,
    which: Which = "test",
    *,
    history_length: int = 50,
    score_batch: int = 512,
    progress: Progress | None = None,
) -> dict[str, Result]:
    """Rank the held-out item of every user of `split` with several systems side by side.

    Args:
        systems: name -> system; `Sum`s of shared parts cost little.
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
    found = {name: np.empty(users, np.int32) for name in systems}
    items = 0
    for start in range(0, users, score_batch):
        stop = min(users, start + score_batch)
        whole = split.histories(which, start, stop)
        exclude = Excluded.of(whole)
        read = [history[-history_length:] for history in whole]
        for name, scores in scored(systems, read):
            items = items or scores.shape[-1]
            check(name, scores, stop - start, items)
            found[name][start:stop] = ranks(scores, targets[start:stop], exclude).numpy()
        if progress is not None:
            progress(stop, users)
    return {name: Result(ranks=found[name], items=items) for name in systems}


def mean_metrics(results: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Unweighted mean over platforms of one system's metrics (platform -> metrics)."""
    names = next(iter(results.values())).keys()
    return {key: float(np.mean([metrics[key] for metrics in results.values()])) for key in names}


@torch.inference_mode()
def scored(
    systems: Mapping[str, Scorer], histories: list[NDArray[np.int32]]
) -> list[tuple[str, torch.Tensor]]:
    """Score one batch with every system, each distinct part once."""
    known: dict[int, torch.Tensor] = {}
    return [(name, _score(system, histories, known)) for name, system in systems.items()]


def _score(
    system: Scorer, histories: list[NDArray[np.int32]], known: dict[int, torch.Tensor]
) -> torch.Tensor:
    """Score with one system, taking from `known`, and leaving there, what its parts scored."""
    if isinstance(system, Sum):
        return Sum.add([_score(part, histories, known) for part in system.parts])
    if id(system) not in known:
        known[id(system)] = system.scores(histories)
    return known[id(system)]


def check(name: str, scores: torch.Tensor, users: int, items: int) -> None:
    if tuple(scores.shape) != (users, items):
        raise DataError(
            expected=f"scores of shape {(users, items)}",
            got=f"{tuple(scores.shape)}",
            where=f"system {name}",
            remedy="Score every item of the platform's catalogue for every history.",
        )
