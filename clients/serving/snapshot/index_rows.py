"""Single rows of the item vectors, and their exact scores.

Rows of a large file are read with `pread`, not through the map: a page that is touched in a map
counts as the process's own from then on, and after some minutes of requests all would be.

Shapes: `V` items, `D` width, `N` of the items.
"""

import os
import weakref
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clients.serving.snapshot.on_disk import on_disk


class Rows:
    """Reads rows of the item vectors.

    Args:
        vectors: (V, D) float16.
        bias: (V,) float32, added to every score.
        apart: read past the map, where there is a file under it.
    """

    def __init__(
        self, vectors: NDArray[np.float16], bias: NDArray[np.float32], *, apart: bool
    ) -> None:
        self.vectors, self.bias = vectors, bias
        self._file = _file_of(vectors) if apart else None
        if self._file is not None:
            weakref.finalize(self, os.close, self._file[0])

    def scores(
        self, query: NDArray[np.float32], rows: NDArray[np.integer], *, biased: bool = True
    ) -> NDArray[np.float32]:
        """(N,) inner products with the query, plus the bias if `biased`, summed in float32.

        Equal rows have equal scores, wherever they stand: `einsum` sums every row alike, which
        BLAS does not.
        """
        found: NDArray[np.float32] = np.einsum("vd,d->v", self.read(rows), query)
        return found + self.bias[rows] if biased else found

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        return self.read(rows)

    def read(self, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """(N, D) the rows."""
        if self._file is None:
            return self.vectors[rows].astype(np.float32)
        descriptor, start = self._file
        width = self.vectors.shape[1] * self.vectors.itemsize
        parts = [os.pread(descriptor, width, start + row * width) for row in rows.tolist()]
        halves = np.frombuffer(b"".join(parts), np.float16)
        return halves.reshape(len(rows), self.vectors.shape[1]).astype(np.float32)


def given_back(vectors: NDArray[np.float16]) -> NDArray[np.float16]:
    """The same rows; where there is a file under them, through a map whose pages are given back."""
    file = _file_of(vectors)
    if file is None:
        return np.asarray(vectors)
    os.close(file[0])
    found: NDArray[np.float16] = on_disk(Path(vectors.filename))  # type: ignore[attr-defined]
    return found


def _file_of(vectors: NDArray[np.float16]) -> tuple[int, int] | None:
    """(descriptor, offset of the first row) of the mapped file; None where there is none."""
    if not isinstance(vectors, np.memmap) or not vectors.flags.c_contiguous or not vectors.size:
        return None
    if isinstance(vectors.base, np.ndarray) or vectors.filename is None:
        return None  # a part of a map: its offset is not the file's
    try:
        descriptor = os.open(vectors.filename, os.O_RDONLY)
    except OSError:
        return None  # removed since it was mapped; the map still has it
    size = os.fstat(descriptor).st_size
    if size < vectors.offset + vectors.nbytes:
        os.close(descriptor)
        return None
    return descriptor, int(vectors.offset)
