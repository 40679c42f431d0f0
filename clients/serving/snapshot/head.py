"""What makes an item's vectors of its text's states: `SNAPSHOT/head.npz`.

The encoder is the federation's and stays; the head is made anew with every snapshot, of the
catalogue's whitening and the adapter.  `build` writes it; nothing here imports torch.

Shapes: `V` items, `N` texts, `H` layers that are read, `D` width, `F` = H * D features.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.errors import RunError

NAME = "head.npz"
FORMAT = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Head:
    """Fixed for a catalogue and an adapter.

    Args:
        encoder: file name of the encoder's `.json`; "" where the encoder is not known.
        centers: (H, D) float64 means of the catalogue's states.
        maps: (H, D, D) float32; of the last layer the local whitening, of the others what makes
            them even.
        adapter: (D, F) float32 W.
    """

    encoder: str
    centers: NDArray[np.float64]
    maps: NDArray[np.float32]
    adapter: NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, int]:
        """(H, D)."""
        layers, width = self.centers.shape
        return layers, width

    def write(self, path: Path) -> None:
        """Write it to `path`.

        Raises:
            OSError: the disk refused.
        """
        with open(path, "wb") as file:
            np.savez(
                file,
                format=np.array(FORMAT),
                encoder=np.array(self.encoder),
                centers=self.centers,
                maps=self.maps,
                adapter=self.adapter,
            )

    @classmethod
    def read(cls, path: Path) -> "Head":
        """Read `path`.

        Raises:
            RunError: it is missing, of another version, or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as found:
                if int(found["format"]) != FORMAT:
                    raise ValueError("another version's head")
                head = cls(
                    encoder=str(found["encoder"]),
                    centers=found["centers"],
                    maps=found["maps"],
                    adapter=found["adapter"],
                )
            head._check()
        except Exception as error:  # numpy, zipfile and zlib raise theirs
            raise RunError(
                expected="the head of a snapshot",
                got=type(error).__name__,
                where=str(path),
                remedy="Remove the folder: `fedinterest-client serve` makes it again.",
            ) from error
        return head

    def _check(self) -> None:
        layers, width = self.centers.shape
        arrays = (self.centers, self.maps, self.adapter)
        shapes = [(layers, width), (layers, width, width), (width, layers * width)]
        if not layers * width or [array.shape for array in arrays] != shapes:
            raise ValueError("arrays that do not fit")
        if [array.dtype for array in arrays] != [np.float64, np.float32, np.float32]:
            raise ValueError("numbers of another kind")
        if not all(np.isfinite(array).all() for array in arrays):
            raise ValueError("NaN or infinity")

    def items(self, states: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(N, H, D) states -> (N, D) adapted items and (N, D) unit vectors of the frozen model.

        The twin of `Ground.of` and `InterestModel.items`.  A text that whitening leaves nothing of
        is zeros in both.
        """
        layers = len(self.centers)
        parts = [self._even(states, layer) for layer in range(layers)]
        vectors = parts[-1]
        features = np.concatenate(parts, axis=1) / np.float32(layers**0.5)
        moved = vectors + features @ self.adapter.T
        own = np.linalg.norm(vectors, axis=1, keepdims=True)
        length = np.linalg.norm(moved, axis=1, keepdims=True)
        return moved * (own / np.maximum(length, np.float32(1e-12))), vectors

    def _even(self, states: NDArray[np.float32], layer: int) -> NDArray[np.float32]:
        """(N, D) one layer, mapped, of unit length: `LocalWhitening.items`."""
        centred = (states[:, layer] - self.centers[layer]).astype(np.float32)
        mapped = centred @ self.maps[layer]
        norms = np.linalg.norm(mapped, axis=1, keepdims=True)
        found: NDArray[np.float32] = mapped / np.maximum(norms, np.finfo(np.float32).tiny)
        return found
