"""One PCA whitening map for all platforms, from their public catalogues' moments.

Item vectors of a text encoder crowd into a few directions; whitening spreads them evenly, which
alone lifts ranking quality by 20 to 100 %.  A platform contributes its catalogue's mean and
covariance: statistics of public texts, nothing about users.  The map is shared, so that all
platforms live in one space; centring on the own catalogue's mean is local.

With C the pooled within-platform covariance and C = U diag(w) U' (w falling), the map is
U / sqrt(w).  A platform adapts it to its own catalogue (`Whitening.local`): pooled and own
covariance are mixed as a Bayesian would, with the pooled one counting as `PRIOR_ITEMS` items, and
the symmetric root is taken before the shared rotation U', so that the axes keep their meaning on
every platform.  Everything is computed on one thread in float64: the same moments give the same
bits on a machine, whatever its thread settings.

Shapes: V items, D width.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from shared.errors import DataError, ProtocolError

# Directions with less variance than this share of the largest are mapped to 0.  What the known
# catalogues have there is rounding (the last LayerNorm of BERT-like models leaves one such
# direction, catalogues of fewer than D items leave many); dividing it by its standard deviation
# would let noise, or a new item, outweigh everything else.
_NOTHING = 1e-6
PRIOR_ITEMS = 5000  # how many items of one's own the pooled covariance outweighs
SHRINKAGE = 0.1  # share of the mean variance added to every direction: rare ones are mostly noise
_CHUNK = 8192  # items whose float64 copies are held at once


@dataclass(frozen=True, kw_only=True, eq=False)
class CatalogueMoments:
    """Count, mean and covariance of one or several catalogues' item vectors.

    Args:
        count: V, at least 1.
        mean: (D,) float64.
        covariance: (D, D) float64, symmetric, divided by V (not V - 1, so that moments merge).

    Raises:
        ProtocolError: shapes do not fit, values are not finite, a variance is negative.
    """

    count: int
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]

    def __post_init__(self) -> None:
        width = self.mean.shape[-1] if self.mean.ndim == 1 else 0
        if self.count < 1 or width < 1 or self.covariance.shape != (width, width):
            raise _bad_moments(
                f"count {self.count}, mean {self.mean.shape}, covariance {self.covariance.shape}"
            )
        if not (np.isfinite(self.mean).all() and np.isfinite(self.covariance).all()):
            raise _bad_moments("values that are not finite")
        if (self.covariance.diagonal() < 0).any():
            raise _bad_moments("a negative variance")
        if not np.allclose(self.covariance, self.covariance.T, rtol=1e-6, atol=1e-12):
            raise _bad_moments("a covariance that is not symmetric")

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """The moments as named arrays for a message."""
        count = np.array([self.count], dtype=np.int64)
        return {"count": count, "mean": self.mean, "covariance": self.covariance}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> "CatalogueMoments":
        """The inverse of `to_arrays`.

        Raises:
            ProtocolError: other names, shapes or values.
        """
        kinds = {name: (array.dtype.str, array.ndim) for name, array in arrays.items()}
        if kinds != {"count": ("<i8", 1), "mean": ("<f8", 1), "covariance": ("<f8", 2)}:
            raise _bad_moments(f"arrays {kinds}")
        if len(arrays["count"]) != 1:
            raise _bad_moments(f"{len(arrays['count'])} counts")
        return cls(
            count=int(arrays["count"][0]),
            mean=arrays["mean"].astype(np.float64),
            covariance=arrays["covariance"].astype(np.float64),
        )


def moments(vectors: NDArray[np.floating]) -> CatalogueMoments:
    """Moments of (V, D) item vectors.

    Raises:
        DataError: no vectors, or some are not finite.
    """
    if vectors.ndim != 2 or not vectors.size or not np.isfinite(vectors).all():
        raise DataError(
            expected="finite item vectors (V, D)",
            got=f"shape {vectors.shape}"
            if vectors.ndim != 2 or not vectors.size
            else "NaN or infinity",
            where="whitening",
            remedy="Check the encoder: its weights may be damaged.",
        )
    with _one_thread():
        mean = np.add.reduce(vectors, axis=0, dtype=np.float64) / len(vectors)
        total = torch.zeros(vectors.shape[1], vectors.shape[1], dtype=torch.float64)
        for start in range(0, len(vectors), _CHUNK):
            centred = torch.tensor(vectors[start : start + _CHUNK] - mean)  # a fresh, aligned copy
            total += centred.T @ centred
    covariance = (total / len(vectors)).numpy()
    return CatalogueMoments(
        count=len(vectors), mean=mean, covariance=(covariance + covariance.T) / 2
    )


def merge(parts: Sequence[CatalogueMoments]) -> CatalogueMoments:
    """The moments of all vectors behind `parts` together (Chan, Golub and LeVeque 1983, eq. 1.5).

    Raises:
        DataError: no parts.
        ProtocolError: parts of different widths.
    """
    parts = _in_order(parts)
    count = sum(part.count for part in parts)
    mean = np.zeros_like(parts[0].mean)
    for part in parts:
        mean += part.mean * (part.count / count)
    covariance = np.zeros_like(parts[0].covariance)
    for part in parts:
        shift = part.mean - mean
        covariance += (part.covariance + np.outer(shift, shift)) * (part.count / count)
    return CatalogueMoments(count=count, mean=mean, covariance=covariance)


@dataclass(frozen=True, eq=False)
class Whitening:
    """A whitening map.

    Args:
        matrix: (D, D) float32; column j is the direction of the j-th largest variance, divided by
            its standard deviation, with its largest entry positive; 0 where there is no variance.

    Raises:
        ProtocolError: not a square, finite float32 matrix.
    """

    matrix: NDArray[np.float32]

    def __post_init__(self) -> None:
        matrix = self.matrix
        square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1] > 0
        if not square or matrix.dtype != np.float32 or not np.isfinite(matrix).all():
            raise ProtocolError(
                expected="a finite float32 square whitening matrix",
                got=f"{matrix.dtype} of shape {matrix.shape}",
                where="whitening",
            )

    def local(
        self, own: CatalogueMoments, *, prior_items: int = PRIOR_ITEMS, shrinkage: float = SHRINKAGE
    ) -> "LocalWhitening":
        """The map for one platform's catalogue: same axes, own spread, own centre.

        C = (n own + n0 pooled) / (n + n0) + shrinkage * mean variance * I, and the map is
        C^(-1/2) U: symmetric whitening, then the shared rotation.

        Raises:
            ProtocolError: moments of another width.
        """
        self._check_width(own.mean[None])
        matrix = self.matrix.astype(np.float64)
        squares = np.square(matrix).sum(axis=0)
        real = squares > 0
        axes = matrix[:, real] / np.sqrt(squares[real])
        pooled = (axes / squares[real]) @ axes.T
        mixed = (own.count * own.covariance + prior_items * pooled) / (own.count + prior_items)
        rotation = np.zeros_like(matrix)
        rotation[:, real] = axes
        return LocalWhitening(_symmetric_root(mixed, shrinkage) @ rotation, own.mean)

    def apply(self, vectors: NDArray[np.floating]) -> NDArray[np.float32]:
        """(V, D) float32: the vectors, centred on their own mean, times the matrix.

        Raises:
            ProtocolError: vectors of another width.
        """
        self._check_width(vectors)
        center = np.add.reduce(vectors, axis=0, dtype=np.float64) / max(1, len(vectors))
        return _mapped(vectors, center, self.matrix)

    def _check_width(self, vectors: NDArray[np.floating]) -> None:
        if vectors.ndim != 2 or vectors.shape[1] != len(self.matrix):
            raise ProtocolError(
                expected=f"vectors of width {len(self.matrix)}",
                got=f"shape {vectors.shape}",
                where="whitening",
                remedy="The whitening map belongs to another encoder.",
            )

    @cached_property
    def sha256(self) -> str:
        """Hex SHA-256 of the width and all little-endian bytes: the map's version."""
        content = np.ascontiguousarray(self.matrix, dtype="<f4").tobytes()
        return hashlib.sha256(f"whitening {len(self.matrix)}\n".encode() + content).hexdigest()

    def to_arrays(self) -> dict[str, NDArray[np.float32]]:
        """The map as named arrays for a message."""
        return {"whitening": self.matrix}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> "Whitening":
        """The inverse of `to_arrays`.

        Raises:
            ProtocolError: other names, shapes, types or values.
        """
        if set(arrays) != {"whitening"}:
            raise ProtocolError(
                expected="one array, whitening",
                got=f"{sorted(arrays)}",
                where="whitening",
            )
        return cls(arrays["whitening"])  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class LocalWhitening:
    """A whitening map for one platform's catalogue.

    Args:
        matrix: (D, D) float64.
        center: (D,) float64, the catalogue's own mean.
    """

    matrix: NDArray[np.float64]
    center: NDArray[np.float64]

    def items(self, vectors: NDArray[np.floating]) -> NDArray[np.float32]:
        """(V, D) unit vectors; an item that whitening leaves nothing of stays zero."""
        whitened = _mapped(vectors, self.center, self.matrix)
        norms = np.linalg.norm(whitened, axis=1, keepdims=True)
        return whitened / np.maximum(norms, np.finfo(np.float32).tiny)


def spherical(
    vectors: NDArray[np.floating], *, shrinkage: float = SHRINKAGE
) -> NDArray[np.float32]:
    """(V, D) unit vectors, made even by their own covariance alone, moved as little as possible.

    Raises:
        DataError: no vectors, or some are not finite.
    """
    own = moments(vectors)
    return LocalWhitening(_symmetric_root(own.covariance, shrinkage), own.mean).items(vectors)


def _symmetric_root(covariance: NDArray[np.float64], shrinkage: float) -> NDArray[np.float64]:
    """(C + shrinkage * mean variance * I) ** (-1/2); zeros where there is no variance at all."""
    with _one_thread():
        values, vectors = torch.linalg.eigh(torch.tensor((covariance + covariance.T) / 2))
    spread = np.maximum(values.numpy(), 0.0)
    spread = spread + shrinkage * spread.mean()
    scale = np.where(spread > 0, 1 / np.sqrt(np.where(spread > 0, spread, 1.0)), 0.0)
    root: NDArray[np.float64] = (vectors.numpy() * scale) @ vectors.numpy().T
    return root


def _mapped(
    vectors: NDArray[np.floating], center: NDArray[np.float64], matrix: NDArray[np.floating]
) -> NDArray[np.float32]:
    """(vectors - center) @ matrix in float32."""
    with _one_thread():
        centred = torch.tensor(vectors - center, dtype=torch.float32)
        found: NDArray[np.float32] = (centred @ torch.tensor(matrix, dtype=torch.float32)).numpy()
    return found


def fit_whitening(
    parts: Sequence[CatalogueMoments], *, weighting: Literal["equal", "count"] = "equal"
) -> Whitening:
    """The map under which the pooled within-platform covariance is the identity.

    Directions without variance (below 1e-6 of the largest) are mapped to 0 instead.
    Within-platform: differences between the platforms' means are no variance of any platform, and
    centring is local.  The result does not depend on the order of `parts`.

    Args:
        parts: one entry per platform.
        weighting: "equal" lets every platform shape the space alike, whatever its size; "count"
            weights a platform by its items.

    Raises:
        DataError: no parts, or catalogues without any variance.
        ProtocolError: parts of different widths.
    """
    parts = _in_order(parts)
    weights = [float(part.count) if weighting == "count" else 1.0 for part in parts]
    pooled = np.zeros_like(parts[0].covariance)
    for part, weight in zip(parts, weights, strict=True):
        pooled += part.covariance * (weight / sum(weights))
    with _one_thread():
        values, vectors = torch.linalg.eigh(torch.tensor((pooled + pooled.T) / 2))
    values_falling = values.numpy()[::-1]
    columns = vectors.numpy()[:, ::-1]
    if values_falling[0] <= 0:
        raise DataError(
            expected="catalogues whose items differ",
            got="no variance at all",
            where="whitening",
            remedy="Check the items' text columns.",
        )
    real = values_falling > _NOTHING * values_falling[0]
    columns = np.where(real, columns / np.sqrt(np.where(real, values_falling, 1.0)), 0.0)
    largest = np.abs(columns).argmax(axis=0)
    columns = columns * np.where(columns[largest, np.arange(len(columns))] < 0, -1.0, 1.0)
    return Whitening(np.ascontiguousarray(columns, dtype=np.float32))


def _in_order(parts: Sequence[CatalogueMoments]) -> list[CatalogueMoments]:
    """Sorted by content: sums of floats depend on their order, and answers come in any order."""
    if not parts:
        raise DataError(expected="at least one catalogue", got="none", where="whitening")
    widths = sorted({len(part.mean) for part in parts})
    if len(widths) != 1:
        raise ProtocolError(
            expected="catalogues encoded by the same model",
            got=f"vectors of widths {widths}",
            where="whitening",
            remedy="Every platform must use the same model.encoder.",
        )
    return sorted(
        parts, key=lambda part: (part.count, part.mean.tobytes(), part.covariance.tobytes())
    )


def _bad_moments(got: str) -> ProtocolError:
    return ProtocolError(
        expected="count, mean (D,) and covariance (D, D) of a catalogue", got=got, where="moments"
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run torch on one thread: the order of additions, hence the bits, no longer vary."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
