"""A catalogue for serving: what `shared.catalogue` holds as Python objects, as arrays on disk.

    FOLDER/
    ├── catalogue.ids.npy, .titles.npy, .texts.npy   UTF-8, one after the other, as bytes
    ├── catalogue.id_ends.npy, .title_ends.npy, .text_ends.npy       (V,) int64 where each ends
    ├── catalogue.hashes.npy, catalogue.rows.npy     (V,) uint64 rising, and whose ids' they are
    ├── catalogue.path_of.npy                        (V,) int32 into the distinct category paths
    ├── catalogue.paths.json                         those
    └── phrases.hashes.npy, phrases.counts.npy       title phrases of two titles at least

A million items are some gigabytes of Python objects, and seconds of every start; here a start reads
nothing, and an answer reads the few items that are in it.

Shapes: `V` items.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from clients.recommending.catalogue_words import Counted, phrases_of
from clients.serving.snapshot.on_disk import on_disk
from shared.catalogue import Catalogue

_ARRAYS = (
    *("catalogue.ids", "catalogue.id_ends", "catalogue.titles", "catalogue.title_ends"),
    *("catalogue.texts", "catalogue.text_ends"),
    *("catalogue.hashes", "catalogue.rows", "catalogue.path_of"),
    *("phrases.hashes", "phrases.counts"),
)
_PATHS = "catalogue.paths.json"
FILES = (*(f"{name}.npy" for name in _ARRAYS), _PATHS)

_PHRASES_KNOWN = 2_000
"""Phrases that are remembered, some 0.4 MiB: they save half of the lookups; ten times as many 53 %.
"""


def write_columns(catalogue: Catalogue, folder: Path) -> None:
    """Write the files.

    Raises:
        OSError: the disk refused.
    """
    hashes = _hashes(catalogue.ids)
    order = np.argsort(hashes, kind="stable")
    paths = {path: number for number, path in enumerate(dict.fromkeys(catalogue.categories))}
    said = _hashes(phrase for title in catalogue.titles for phrase in phrases_of(title))
    phrases, counts = np.unique(said, return_counts=True)
    several = counts > 1
    arrays: tuple[NDArray[Any], ...] = (
        *_packed(catalogue.ids),
        *_packed(catalogue.titles),
        *_packed(catalogue.texts),
        hashes[order],
        order.astype(np.int32),
        np.array([paths[path] for path in catalogue.categories], np.int32),
        phrases[several],
        counts[several].astype(np.int32),
    )
    for name, array in zip(_ARRAYS, arrays, strict=True):
        np.save(folder / f"{name}.npy", array)
    (folder / _PATHS).write_text(json.dumps(list(paths)), encoding="utf-8")


class Columns:
    """The files, opened: the parts of `Catalogue` that serving needs, under the same names.

    Args:
        folder: where they lie.

    Raises:
        OSError, ValueError: they are not there, or do not fit each other.
    """

    def __init__(self, folder: Path) -> None:
        parts = [on_disk(folder / f"{name}.npy") for name in _ARRAYS]
        ids, id_ends, titles, title_ends, texts, text_ends, *parts = parts
        hashes, rows, path_of, phrases, counts = parts
        paths = json.loads((folder / _PATHS).read_text(encoding="utf-8"))
        self.ids, self.titles = Texts(ids, id_ends), Texts(titles, title_ends)
        self.texts = Texts(texts, text_ends)
        self.categories = Paths(tuple(tuple(path) for path in paths), path_of)
        self.row_of = RowOf(self.ids, hashes, rows)
        self._phrases = Phrases(phrases, counts)
        columns = (self.ids, self.titles, self.texts, hashes, rows, path_of)
        sizes = {len(column) for column in columns}
        if len(sizes) != 1 or len(phrases) != len(counts):
            raise ValueError("catalogue")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def counted(self) -> Counted:
        """For `CatalogueWords`."""
        sizes = np.bincount(self.categories.path_of, minlength=len(self.categories.paths))
        names: Counter[str] = Counter()
        for path, size in zip(self.categories.paths, sizes.tolist(), strict=True):
            names.update(dict.fromkeys(path, size))
        categorised = sum(
            size for path, size in zip(self.categories.paths, sizes.tolist(), strict=True) if path
        )
        return Counted(categories=names, categorised=categorised, phrases=self._phrases)


class Texts(Sequence[str]):
    """Texts in one run of bytes."""

    def __init__(self, content: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        self._content, self._ends = content, ends

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self[one] for one in range(*row.indices(len(self)))]
        if not 0 <= row < len(self):
            raise IndexError(row)
        start = int(self._ends[row - 1]) if row else 0
        return self._content[start : int(self._ends[row])].tobytes().decode("utf-8")


class Paths(Sequence[tuple[str, ...]]):
    """Category paths: every distinct one once.

    Args:
        paths: those.
        path_of: (V,) which is an item's.
    """

    def __init__(self, paths: tuple[tuple[str, ...], ...], path_of: NDArray[np.int32]) -> None:
        self.paths, self.path_of = paths, path_of

    def __len__(self) -> int:
        return len(self.path_of)

    @overload
    def __getitem__(self, row: int) -> tuple[str, ...]: ...
    @overload
    def __getitem__(self, row: slice) -> list[tuple[str, ...]]: ...
    def __getitem__(self, row: int | slice) -> tuple[str, ...] | list[tuple[str, ...]]:
        if isinstance(row, slice):
            return [self[one] for one in range(*row.indices(len(self)))]
        return self.paths[int(self.path_of[row])]

    def by_name(self) -> dict[str, NDArray[np.int32]]:
        """Category name -> rows, rising."""
        order = np.argsort(self.path_of, kind="stable").astype(np.int32)
        starts = np.searchsorted(self.path_of[order], np.arange(len(self.paths) + 1))
        parts: defaultdict[str, list[NDArray[np.int32]]] = defaultdict(list)
        for number, path in enumerate(self.paths):
            for name in dict.fromkeys(path):
                parts[name].append(order[starts[number] : starts[number + 1]])
        return {name: np.sort(np.concatenate(found)) for name, found in parts.items()}


class RowOf(Mapping[str, int]):
    """Item id -> row."""

    def __init__(self, ids: Texts, hashes: NDArray[np.uint64], rows: NDArray[np.int32]) -> None:
        self._ids, self._hashes, self._rows = ids, hashes, rows

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __getitem__(self, item_id: str) -> int:
        try:
            wanted = _hash(item_id)
        except UnicodeEncodeError:  # half a surrogate pair is in no catalogue
            raise KeyError(item_id) from None
        place = int(np.searchsorted(self._hashes, wanted))
        while place < len(self._hashes) and self._hashes[place] == wanted:
            row = int(self._rows[place])
            if self._ids[row] == item_id:
                return row
            place += 1
        raise KeyError(item_id)


class Phrases(Mapping[str, int]):
    """Title phrase -> titles that have it; 0 where fewer than two have."""

    def __init__(self, hashes: NDArray[np.uint64], counts: NDArray[np.int32]) -> None:
        self._hashes, self._counts = hashes, counts

    def __len__(self) -> int:
        return len(self._hashes)

    def __iter__(self) -> Iterator[str]:
        raise TypeError("phrases are kept as hashes only")

    @cached_property
    def _known(self) -> Any:
        return lru_cache(maxsize=_PHRASES_KNOWN)(self._look)

    def __getitem__(self, phrase: str) -> int:
        found: int = self._known(phrase)
        return found

    def _look(self, phrase: str) -> int:
        wanted = _hash(phrase)
        place = int(np.searchsorted(self._hashes, wanted))
        if place < len(self._hashes) and self._hashes[place] == wanted:
            return int(self._counts[place])
        return 0


def _packed(texts: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    encoded = [text.encode("utf-8") for text in texts]
    ends = np.cumsum([len(one) for one in encoded], dtype=np.int64)
    return np.frombuffer(b"".join(encoded), np.uint8), ends


def _hash(text: str) -> np.uint64:
    # Not Python's own, which is another at every start.
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


def _hashes(texts: Iterable[str]) -> NDArray[np.uint64]:
    content = bytearray()
    for text in texts:
        content += hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()
    return np.frombuffer(bytes(content), "<u8").astype(np.uint64)
