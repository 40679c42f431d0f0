"""What items co-occur with: the head's matrix, read row by row (see `on_disk`)."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.serving.snapshot.on_disk import OnDisk


class Neighbours:
    """Safe to be shared by threads.

    Args:
        folder: with `together.data.npy`, `.indices.npy` and `.indptr.npy`, as CSR.

    Raises:
        OSError, ValueError: they are not there.
    """

    def __init__(self, folder: Path) -> None:
        self._data = OnDisk(folder / "together.data.npy")
        self._indices = OnDisk(folder / "together.indices.npy")
        self._bounds = np.load(folder / "together.indptr.npy", allow_pickle=False)

    def of(self, row: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """(N,) int32 rows and (N,) float32 how much they co-occur with `row`."""
        start, stop = self._bounds[row : row + 2].tolist()
        return self._indices.read(start, stop), self._data.read(start, stop)
