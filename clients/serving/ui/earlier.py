"""What was served before: kept, so that the page can say what a round has changed.

Of every snapshot that the page meets, the adapted items are kept, the newest two of them:

    serving/ui/ID/items.npy  about.json

They are made from public items and from what was released under differential privacy.  No user's
history is kept here, so there is nothing in it that `forget` would have to find.

Shapes: `V` items, `D` width.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.serving.snapshot.snapshot import Snapshot
from shared.errors import FedInterestError
from shared.files import replacing, sha256, write_json

_KEPT = 2
_IDS = ("catalogue.ids.npy", "catalogue.id_ends.npy")


@dataclass(frozen=True)
class Before:
    """What is compared with.

    Args:
        round: of the model; 0 is the frozen one.
        items: (V, D) of unit length, the rows of today's catalogue.
    """

    round: int
    items: NDArray[np.floating]

    @property
    def name(self) -> str:
        """In words."""
        return f"round {self.round}" if self.round else "the frozen model"


def note(folder: Path, snapshot: Snapshot) -> Before:
    """Keep `snapshot`'s items, and say what was served before it: the newest other one of the same
    catalogue, or the frozen model.

    A disk that refuses is no reason to show nothing: then it is the frozen model.
    """
    files = (snapshot.meta.files[name] for name in _IDS)
    catalogue = sha256(" ".join(files).encode("utf-8"))
    kept = _kept(folder)
    mine = next((about for about in kept if about["id"] == snapshot.meta.id), None)
    others = [about for about in kept if about is not mine]
    try:
        if mine is None or mine is not kept[-1]:
            number = 1 + (kept[-1]["number"] if kept else 0)
            _keep(folder, snapshot, number, catalogue)
        for about in others[: max(0, len(others) - (_KEPT - 1))]:
            shutil.rmtree(folder / about["id"], ignore_errors=True)
        if others and others[-1]["catalogue"] == catalogue:
            path = folder / others[-1]["id"] / "items.npy"
            items: NDArray[np.floating] = np.load(path, mmap_mode="r", allow_pickle=False)
            if items.shape == snapshot.items.shape:
                return Before(int(others[-1]["round"]), items)
    except (OSError, ValueError, KeyError, FedInterestError):
        pass
    return Before(0, snapshot.vectors)


def _keep(folder: Path, snapshot: Snapshot, number: int, catalogue: str) -> None:
    place = folder / snapshot.meta.id
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    with replacing(place / "items.npy") as temporary, open(temporary, "wb") as file:
        np.save(file, snapshot.items)
    values = {
        "id": snapshot.meta.id,
        "round": snapshot.meta.round,
        "number": number,
        "catalogue": catalogue,
    }
    write_json(place / "about.json", values)


def _kept(folder: Path) -> list[dict[str, Any]]:
    """The oldest first; what cannot be read is as good as gone."""
    found = []
    for path in folder.glob("*/about.json"):
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
            if path.parent.name == about["id"]:
                found.append((int(about["number"]), about))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return [about for _, about in sorted(found, key=lambda one: one[0])]
