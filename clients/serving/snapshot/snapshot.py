"""A snapshot, opened: what the platform's newest model makes of its catalogue and its users.

    DIR/
    ├── snapshot.json      what it was made from, and the SHA-256 of every other file; written last
    ├── items.npy          (V, D) float16 adapted items, of unit length (or zero)
    ├── vectors.npy        (V, D) float16 whitened items as the frozen model has them
    ├── rows.*.npy         what finds items where there are some ten thousand, see `byte_rows`
    ├── lists.*            or where there are more, see `approximate`
    ├── popularity.npy     (V,) float32 log-popularity
    ├── together.*.npy     the head's co-occurrence as CSR: data, indices, indptr
    ├── head.npz           what makes such vectors of a new text's states, see `head`
    ├── users.npy          (U, D) float16 interest vectors of the users known at the time
    ├── catalogue.*  phrases.*    the platform's items, see `columns`
    └── sequences.npz      the platform's users, as they were then

Arrays are memory-mapped: they are shared by all threads and read from disk when they are needed; of
large ones that requests jump about in, pages are given back (`on_disk`), or rows are read past the
map (`index_rows`).
Nothing here imports torch.

Shapes: `V` items, `D` width, `U` users, `L` events of a history.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.serving.snapshot.approximate import FILES as LISTS
from clients.serving.snapshot.byte_rows import FILES as BYTES
from clients.serving.snapshot.columns import FILES as COLUMNS
from clients.serving.snapshot.columns import Columns
from clients.serving.snapshot.head import NAME as HEAD
from clients.serving.snapshot.index import Index
from clients.serving.snapshot.index_rows import Rows
from clients.serving.snapshot.on_disk import on_disk
from shared.errors import RunError
from shared.events import Sequences
from shared.files import file_sha256

META = "snapshot.json"
FORMAT = 4
ARRAYS = (
    *("items", "vectors", "popularity", "users"),
    *(f"together.{part}" for part in ("data", "indices", "indptr")),
)
FILES = (*(f"{name}.npy" for name in ARRAYS), HEAD, *COLUMNS, "sequences.npz")


@dataclass(frozen=True, kw_only=True)
class Meta:
    """`snapshot.json`.

    Args:
        id: hex, over everything that it was made from.
        platform: the platform's name.
        round: of the adapter; 0 is the frozen model.
        decay: weight of an event relative to the one after it.
        history_length: most recent events the model reads.
        knn, popularity: the head's mixing weights.
        exact: whether searches are, see `Index`.
        files: name -> SHA-256.
    """

    id: str
    platform: str
    round: int
    decay: float
    history_length: int
    knn: float
    popularity: float
    exact: bool
    files: dict[str, str]


@dataclass(frozen=True)
class Snapshot:
    """See the module.

    Args:
        folder: where it lies.
        meta: what it was made from.
    """

    folder: Path
    meta: Meta

    @classmethod
    def open(cls, folder: Path, *, thorough: bool = False) -> "Snapshot":
        """Open the snapshot in `folder`.

        Args:
            thorough: also hold every file against its hash.

        Raises:
            RunError: there is none, it is of another version, or it is damaged.
        """
        try:
            values: dict[str, Any] = json.loads((folder / META).read_text(encoding="utf-8"))
            if values.pop("format") != FORMAT:
                raise ValueError("format")
            meta = Meta(**values)
            index = (BYTES, ()) if meta.exact else (LISTS,)
            if set(meta.files) not in [{*FILES, *names} for names in index]:
                raise ValueError("files")
            for name, expected in meta.files.items():
                path = folder / name
                if not path.is_file() or (thorough and file_sha256(path) != expected):
                    raise ValueError(name)
            found = cls(folder, meta)
            found._check()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(
                expected="a whole snapshot",
                got=f"{type(error).__name__}: {error}" if isinstance(error, ValueError) else "none",
                where=str(folder),
                remedy="Remove the folder: `fedinterest-client serve` makes it again.",
            ) from error
        return found

    def _check(self) -> None:
        items, users = len(self.items), len(self.users)
        fits = (
            self.items.ndim == 2
            and self.items.shape == self.vectors.shape
            and self.popularity.shape == (items,)
            and self.together[2].shape == (items + 1,)
            and len(self.catalogue) == items
            and len(self.sequences) == users
            and self.users.shape[1:] == self.items.shape[1:]
        )
        if not fits:
            raise ValueError("shapes")

    def _array(self, name: str) -> NDArray[Any]:
        found: NDArray[Any] = np.load(
            self.folder / f"{name}.npy", mmap_mode="r", allow_pickle=False
        )
        return found

    @cached_property
    def items(self) -> NDArray[np.float16]:
        """(V, D) adapted items."""
        return self._array("items")

    @cached_property
    def vectors(self) -> NDArray[np.float16]:
        """(V, D) frozen items."""
        return self._array("vectors")

    @cached_property
    def bias(self) -> NDArray[np.float32]:
        """(V,) what popularity adds to a score."""
        found: NDArray[np.float32] = np.float32(self.meta.popularity) * self.popularity
        return found

    @cached_property
    def index(self) -> Index:
        """Searches `items`.

        Raises:
            RunError: its files are damaged.
        """
        return Index.open(
            self.items,
            self.bias,
            self.folder,
            limit=len(self.items) if self.meta.exact else 0,
            small=0 if BYTES[0] in self.meta.files else len(self.items),
            files=self.meta.files,
        )

    @cached_property
    def frozen(self) -> Rows:
        """`vectors`, row by row."""
        return Rows(self.vectors, self.bias, apart=len(self.meta.files) > len(FILES))

    @cached_property
    def popularity(self) -> NDArray[np.float32]:
        """(V,) log-popularity."""
        return np.asarray(self._array("popularity"))

    @cached_property
    def users(self) -> NDArray[np.float16]:
        """(U, D) interest vectors."""
        return self._array("users")

    @cached_property
    def together(self) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]:
        """Co-occurrence as CSR: data, indices, indptr."""
        data, indices, indptr = (
            on_disk(self.folder / f"together.{part}.npy") for part in ("data", "indices", "indptr")
        )
        return data, indices, indptr

    @cached_property
    def catalogue(self) -> Columns:
        """The items, for people."""
        return Columns(self.folder)

    @cached_property
    def sequences(self) -> Sequences:
        """The users' histories as the platform's log had them, under pseudonyms."""
        return Sequences.load(self.folder / "sequences.npz")

    @cached_property
    def number_of(self) -> dict[str, int]:
        """Pseudonym -> number in `sequences`."""
        return {user: number for number, user in enumerate(self.sequences.users)}

    # Of an item that was put anew, `clients.serving.stock` says otherwise.

    def current(self, rows: NDArray[np.integer]) -> NDArray[np.int64]:
        """The rows that stand for the items in these rows now."""
        return rows.astype(np.int64)

    def homes(self, rows: NDArray[np.integer]) -> NDArray[np.int64]:
        """The rows in which the platform's own data knows these items; -1 where it does not."""
        return rows.astype(np.int64)
