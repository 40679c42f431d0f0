"""Texts that were read once: their states, on disk, so that no restart and no new model reads them
again.

A cache of public texts' states, like that of the catalogue: what is lost or damaged is read anew.
Texts themselves are not in it, nor are texts that somebody has only asked about.

Shapes: `H` layers that are read, `D` width.
"""

import hashlib
import sqlite3
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.errors import StorageError

States = NDArray[np.float32]
_MOST_AT_ONCE = 500  # of SQLite's parameters
_DIGEST = 32
_CACHE_KIB = 256  # a row is read once


class StateCache:
    """See the module.  Safe to share by threads.

    Args:
        path: of the file; made if it is not there, and made anew where it is damaged.

    Raises:
        StorageError: the disk refused.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            try:
                self._db = self._opened()
            except sqlite3.DatabaseError:
                self._db = self._made_anew()
        except sqlite3.DatabaseError as error:
            raise StorageError(
                expected="to make a file", got=str(error), where=str(path)
            ) from error

    def _opened(self) -> sqlite3.Connection:
        found = sqlite3.connect(self._path, timeout=10, check_same_thread=False)
        found.execute("PRAGMA journal_mode = WAL")
        found.execute("PRAGMA synchronous = NORMAL")
        found.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        found.execute(
            "CREATE TABLE IF NOT EXISTS states (key BLOB PRIMARY KEY, content BLOB NOT NULL)"
        )
        return found

    def _made_anew(self) -> sqlite3.Connection:
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        return self._opened()

    def find(self, encoder: str, shape: tuple[int, int], texts: Iterable[str]) -> dict[str, States]:
        """text -> (H, D) states, of those that are known.

        Args:
            encoder: name of the encoder.
            shape: (H, D) of its states.
        """
        keys = {_key(encoder, text): text for text in texts}
        found: dict[str, States] = {}
        wanted = list(keys)
        with self._lock, suppress(sqlite3.DatabaseError):
            for start in range(0, len(wanted), _MOST_AT_ONCE):
                some = wanted[start : start + _MOST_AT_ONCE]
                places = ",".join("?" * len(some))
                asked = f"SELECT key, content FROM states WHERE key IN ({places})"
                for key, content in self._db.execute(asked, some):
                    states = _read(content, shape)
                    if states is not None:
                        found[keys[key]] = states
        return found

    def keep(self, encoder: str, found: Mapping[str, States]) -> None:
        """Remember states; a disk that refuses is no trouble: they are read again then."""
        rows = [(_key(encoder, text), _written(states)) for text, states in found.items()]
        with self._lock, suppress(sqlite3.DatabaseError), self._db:
            self._db.executemany("INSERT OR REPLACE INTO states VALUES (?, ?)", rows)

    def keep_only(self, encoder: str, texts: Iterable[str]) -> None:
        """Forget all others."""
        wanted = {_key(encoder, text) for text in texts}
        with self._lock, suppress(sqlite3.DatabaseError), self._db:
            known = {key for (key,) in self._db.execute("SELECT key FROM states")}
            gone = [(key,) for key in known - wanted]
            self._db.executemany("DELETE FROM states WHERE key = ?", gone)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()


def _key(encoder: str, text: str) -> bytes:
    return hashlib.sha256(f"{encoder}\n{text}".encode(errors="surrogatepass")).digest()


def _written(states: States) -> bytes:
    content = np.ascontiguousarray(states, "<f4").tobytes()
    return hashlib.sha256(content).digest() + content


def _read(content: bytes, shape: tuple[int, int]) -> States | None:
    own = content[_DIGEST:]
    whole = len(own) == 4 * shape[0] * shape[1]
    if not whole or hashlib.sha256(own).digest() != content[:_DIGEST]:
        return None
    return np.frombuffer(own, "<f4").reshape(shape).astype(np.float32)
