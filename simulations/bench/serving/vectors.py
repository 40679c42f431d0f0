"""Item vectors, biases and interests to measure a search with: as many as wanted, seeded.

Encoding a million texts would take days, so a large catalogue is grown from a real one.  A grown
item is a mixture of a real item and some of its nearest neighbours, turned away from it by noise
that has the covariance of what real items keep to themselves: around every real item there are as
many as it takes, as close to their surroundings as real ones are.  `alikeness` measures how far
that holds.  Plain Gaussian clusters are the control.

Shapes: `V` items, `B` real items, `D` width, `Q` queries, `m` neighbours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.errors import DataError

Progress = Callable[[str, int, int], None]

_CHUNK = 20_000
_NEIGHBOURS = 8
_MIXED = 3  # neighbours in a mixture, beside the item itself
_TOPICS, _EVENTS, _STRAY, _DECAY = 3, 20, 0.1, 0.6


@dataclass(frozen=True)
class Grown:
    """A large catalogue.

    Args:
        vectors: (V, D) float16 rows of unit length.
        parents: (V,) which real item (or cluster) each was grown from.
        near: (B, m) the items nearest to each of those.
    """

    vectors: NDArray[np.float16]
    parents: NDArray[np.int64]
    near: NDArray[np.int64]


def real_vectors(run: Path) -> NDArray[np.float32]:
    """(B, D) whitened item vectors of all platforms in a run's folder, as the model has them.

    Raises:
        DataError: there are none.
        RunError: a platform's folder is damaged.
    """
    from clients.platform import Platform
    from shared.whitening import fit_whitening

    folders = sorted(path.parent for path in (run / "platforms").glob("*/platform.json"))
    if not folders:
        raise DataError(expected="platforms", got="none", where=str(run))
    platforms = [Platform.open(folder) for folder in folders]
    whitening = fit_whitening([platform.moments() for platform in platforms])
    found = [platform.ground(whitening).vectors.numpy() for platform in platforms]
    vectors: NDArray[np.float32] = np.concatenate(found)
    return vectors[np.linalg.norm(vectors, axis=1) > 0.5]  # items without text have none


def grow(
    real: NDArray[np.float32],
    count: int,
    *,
    seed: int,
    out: NDArray[np.float16] | None = None,
    progress: Progress | None = None,
) -> Grown:
    """`count` items that look like `real`, see the module.

    Args:
        real: (B, D) rows of unit length.
        out: (count, D) to write to, such as a memory map.
    """
    rng = np.random.default_rng(seed)
    near, closeness, own = _surroundings(real)
    covariance = np.cov(own, rowvar=False) + 1e-9 * np.eye(real.shape[1])
    root = np.linalg.cholesky(covariance).T.astype(np.float32)
    parents = rng.permutation(np.arange(count) % len(real))
    vectors = np.empty((count, real.shape[1]), np.float16) if out is None else out
    for start in range(0, count, _CHUNK):
        if progress:
            progress("growing items", start, count)
        mine = parents[start : start + _CHUNK]
        picked = rng.integers(0, near.shape[1], (len(mine), _MIXED))
        mixed = np.concatenate([mine[:, None], near[mine[:, None], picked]], axis=1)
        weights = rng.dirichlet(np.ones(_MIXED + 1), len(mine)).astype(np.float32)
        centre = _unit(np.einsum("vm,vmd->vd", weights, real[mixed]))
        noise = rng.standard_normal(centre.shape, np.float32) @ root
        noise = _unit(noise - (noise * centre).sum(1, keepdims=True) * centre)
        cosine = closeness[rng.integers(0, len(closeness), len(mine))][:, None]
        vectors[start : start + len(mine)] = cosine * centre + np.sqrt(1 - cosine**2) * noise
    return Grown(vectors, parents, near)


def clustered(
    count: int,
    width: int,
    *,
    seed: int,
    clusters: int = 5000,
    cosine: float = 0.6,
    out: NDArray[np.float16] | None = None,
) -> Grown:
    """Gaussian clusters without any other structure: every item has `cosine` with its centre."""
    rng = np.random.default_rng(seed)
    clusters = min(clusters, count)
    centres = _unit(rng.standard_normal((clusters, width), np.float32))
    parents = rng.permutation(np.arange(count) % clusters)
    vectors = np.empty((count, width), np.float16) if out is None else out
    for start in range(0, count, _CHUNK):
        centre = centres[parents[start : start + _CHUNK]]
        noise = rng.standard_normal(centre.shape, np.float32)
        noise = _unit(noise - (noise * centre).sum(1, keepdims=True) * centre)
        vectors[start : start + len(centre)] = cosine * centre + (1 - cosine**2) ** 0.5 * noise
    return Grown(vectors, parents, nearest(centres, _NEIGHBOURS))


def biases(count: int, *, seed: int, weight: float = 0.02) -> NDArray[np.float32]:
    """(V,) `weight` times the log-popularity of events that follow a power law."""
    events = np.random.default_rng(seed).pareto(1.1, count) * 3
    return (weight * np.log1p(np.floor(np.minimum(events, 1e5)))).astype(np.float32)


def interests(grown: Grown, count: int, *, seed: int) -> NDArray[np.float32]:
    """(Q, D) interests: recency-weighted means of histories, of unit length.

    A history has up to three topics (a real item and its neighbours), up to 20 events that were
    grown from them, and one in ten from anywhere.
    """
    rng = np.random.default_rng(seed)
    order = np.argsort(grown.parents, kind="stable")
    bounds = np.searchsorted(grown.parents[order], np.arange(len(grown.near) + 1))
    found = np.empty((count, grown.vectors.shape[1]), np.float32)
    for query in range(count):
        topics = rng.integers(0, len(grown.near), rng.integers(1, _TOPICS + 1))
        events = int(rng.integers(1, _EVENTS + 1))
        rows = [_event(grown, order, bounds, topics, rng) for _ in range(events)]
        weights = (_DECAY ** np.arange(len(rows))[::-1]).astype(np.float32)
        found[query] = weights @ grown.vectors[rows].astype(np.float32)
    return _unit(found)


def _event(
    grown: Grown,
    order: NDArray[np.int64],
    bounds: NDArray[np.int64],
    topics: NDArray[np.int64],
    rng: np.random.Generator,
) -> int:
    topic = int(rng.choice(topics))
    parent = int(rng.choice([topic, *grown.near[topic].tolist()]))
    if rng.random() < _STRAY or bounds[parent] == bounds[parent + 1]:
        return int(rng.integers(0, len(order)))
    return int(order[rng.integers(bounds[parent], bounds[parent + 1])])


@dataclass(frozen=True)
class Alikeness:
    """How a catalogue's geometry looks, for comparing a grown one with a real one.

    Args:
        nearest, tenth: mean cosine of an item with the nearest and the tenth nearest other item.
        directions: participation ratio of the covariance's spectrum, at most `D`.
    """

    nearest: float
    tenth: float
    directions: float


def alikeness(vectors: NDArray[np.floating], *, seed: int, sample: int = 300) -> Alikeness:
    """Measure it, nearest items on `sample` of them."""
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(len(vectors), min(sample, len(vectors)), replace=False))
    best = top(vectors, np.zeros(len(vectors), np.float32), vectors[rows].astype(np.float32), 11)[1]
    some = np.sort(rng.choice(len(vectors), min(20_000, len(vectors)), replace=False))
    spectrum = np.linalg.eigvalsh(np.cov(vectors[some].astype(np.float64), rowvar=False))
    return Alikeness(
        nearest=float(best[:, 1].mean()),
        tenth=float(best[:, 10].mean()),
        directions=float(spectrum.sum() ** 2 / (spectrum**2).sum()),
    )


def top(
    vectors: NDArray[np.floating], bias: NDArray[np.float32], asked: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """(Q, k) rows and scores of the largest inner product plus bias: the truth to compare with."""
    values = np.full((len(asked), 0), -np.inf, np.float32)
    rows = np.zeros((len(asked), 0), np.int64)
    for start in range(0, len(vectors), _CHUNK):
        part = vectors[start : start + _CHUNK].astype(np.float32)
        scores = asked @ part.T + bias[start : start + len(part)]
        few = min(k, len(part))
        best = np.argpartition(-scores, few - 1, axis=1)[:, :few]
        values = np.concatenate([values, np.take_along_axis(scores, best, 1)], axis=1)
        rows = np.concatenate([rows, best + start], axis=1)
        kept = np.argsort(-values, axis=1, kind="stable")[:, :k]
        values, rows = np.take_along_axis(values, kept, 1), np.take_along_axis(rows, kept, 1)
    return rows, values


def nearest(vectors: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """(B, count) each row's nearest other rows, nearest first."""
    count = min(count, len(vectors) - 1)
    found = np.empty((len(vectors), count), np.int64)
    for start in range(0, len(vectors), 1000):
        cosines = vectors[start : start + 1000] @ vectors.T
        cosines[np.arange(len(cosines)), start + np.arange(len(cosines))] = -2
        best = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
        by_cosine = np.argsort(-np.take_along_axis(cosines, best, 1), axis=1)
        found[start : start + 1000] = np.take_along_axis(best, by_cosine, 1)
    return found


def _surroundings(
    real: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Neighbours, cosine with their mean, and what an item has that they have not."""
    near = nearest(real, _NEIGHBOURS)
    around = _unit(np.stack([real[rows].mean(axis=0) for rows in near]))
    closeness = (real * around).sum(axis=1)
    return near, closeness.clip(0, 0.999), real - closeness[:, None] * around


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: NDArray[np.float32] = (vectors / np.maximum(norms, 1e-12)).astype(np.float32)
    return unit
