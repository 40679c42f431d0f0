"""Writes a snapshot: whole, or not there.

Everything is written beside its place, hashed, synced, described in `snapshot.json`, and only then
renamed.  Nothing here imports torch.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from clients.serving.snapshot.index_build import EXACT_LIMIT, build_index, index_files
from clients.serving.snapshot.snapshot import FILES, FORMAT, META, Meta
from shared.errors import StorageError
from shared.files import file_sha256, storage_error, write_json

_SEED = 0  # of the index: the same items are found the same way after every start


@dataclass(frozen=True, kw_only=True)
class About:
    """What of `Meta` whoever writes has to say; see there."""

    platform: str
    round: int
    decay: float
    history_length: int
    knn: float
    popularity: float


@contextmanager
def written(
    place: Path,
    about: About,
    *,
    exact_limit: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Iterator[Path]:
    """A folder to put the snapshot's arrays and files into; at the end it becomes `place`.

    The index over the items is made here.

    Args:
        place: named by the snapshot's id.
        exact_limit: up to so many items every search is exact; None is `EXACT_LIMIT`.
        progress: of building the index.

    Raises:
        StorageError: the disk refused.
    """
    limit = EXACT_LIMIT if exact_limit is None else exact_limit
    try:
        making = place.with_name(f".making-{place.name}")
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True, mode=0o700)
        yield making
        items = np.load(making / "items.npy", mmap_mode="r")
        bias = np.float32(about.popularity) * np.load(making / "popularity.npy")
        build_index(items, bias, making, seed=_SEED, limit=limit, progress=progress)
        names = [*FILES, *index_files(len(items), limit)]
        meta = Meta(
            id=place.name,
            exact=len(items) <= limit,
            files={name: file_sha256(making / name) for name in names},
            **asdict(about),
        )
        for name in names:
            with open(making / name, "rb") as file:
                os.fsync(file.fileno())
        write_json(making / META, {"format": FORMAT, **asdict(meta)})
        shutil.rmtree(place, ignore_errors=True)
        making.replace(place)
    except StorageError:
        raise
    except OSError as error:
        raise storage_error(error, place) from error
