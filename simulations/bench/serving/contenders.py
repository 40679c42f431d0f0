"""Ways to search a catalogue: ours, and what libraries offer as they come for the same task.

Ours is faiss' inverted lists with the bias in the rows, whole numbers, and the best scored again
from half precision (`clients.serving.snapshot`); or all rows, scanned by NumKong.

Each is built from half-precision rows of unit length and a bias, writes itself to a folder, and is
opened from there in another process.  Libraries that know inner products only are given the bias as
a further column.

Shapes: `V` items, `D` width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float16]
Bias = NDArray[np.float32]
Search = Callable[[NDArray[np.float32], int], NDArray[np.integer]]
"""(D,) query and k -> rows, best first."""

_CHUNK = 50_000


@dataclass(frozen=True)
class Contender:
    """One way.

    Args:
        build: writes what `open` needs besides the vectors; None is nothing.
        open: given the vectors, the bias, the folder and an effort: how to search.
        efforts: how hard to look, rising; (0,) where there is nothing to choose.
        most: items that it is tried with.
        needs: the package that it comes from.
    """

    build: Callable[[Vectors, Bias, Path, int], None] | None
    open: Callable[[Vectors, Bias, Path, int], Search]
    efforts: tuple[int, ...] = (0,)
    most: int = 10**9
    needs: str = "numpy"

    @property
    def installed(self) -> bool:
        """Whether it can be tried."""
        return find_spec(self.needs) is not None


# Ours.


def _our_build(vectors: Vectors, bias: Bias, folder: Path, threads: int) -> None:
    from clients.serving.snapshot.index_build import build_index

    build_index(vectors, bias, folder, seed=0, limit=0)


def _our_open(vectors: Vectors, bias: Bias, folder: Path, effort: int) -> Search:
    from clients.serving.snapshot.index import Index

    index = Index.open(vectors, bias, folder, limit=0)
    return lambda query, k: index.search(query, k)[0]


def _our_scan_build(vectors: Vectors, bias: Bias, folder: Path, threads: int) -> None:
    from clients.serving.snapshot.index_build import build_index

    build_index(vectors, bias, folder, seed=0, limit=len(vectors), small=0)


def _our_scan(vectors: Vectors, bias: Bias, folder: Path, effort: int) -> Search:
    from clients.serving.snapshot.index import Index

    index = Index.open(vectors, bias, folder, limit=len(vectors), small=0)
    return lambda query, k: index.search(query, k)[0]


# NumPy.


def _numpy(vectors: Vectors, bias: Bias, folder: Path, effort: int) -> Search:
    full = vectors.astype(np.float32)

    def search(query: NDArray[np.float32], k: int) -> NDArray[np.integer]:
        scores = full @ query + bias
        best = np.argpartition(-scores, k - 1)[:k]
        return best[np.argsort(-scores[best])]

    return search


# faiss.


def _faiss(
    recipe: str, prepare: Callable[[Any], None] = lambda index: None
) -> Callable[[Vectors, Bias, Path, int], None]:
    def build(vectors: Vectors, bias: Bias, folder: Path, threads: int) -> None:
        import faiss

        faiss.omp_set_num_threads(threads)
        index = faiss.index_factory(vectors.shape[1] + 1, recipe, faiss.METRIC_INNER_PRODUCT)
        prepare(index)
        if not index.is_trained:
            some = np.random.default_rng(0).choice(len(vectors), min(len(vectors), 100_000), False)
            index.train(_with_bias(vectors, bias, np.sort(some)))
        for start in range(0, len(vectors), _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, len(vectors)))
            index.add(_with_bias(vectors, bias, rows))
        faiss.write_index(index, str(folder / "index.faiss"))

    return build


def _faiss_open(name: str) -> Callable[[Vectors, Bias, Path, int], Search]:
    def opened(vectors: Vectors, bias: Bias, folder: Path, effort: int) -> Search:
        import faiss

        faiss.omp_set_num_threads(1)
        index = faiss.read_index(str(folder / "index.faiss"))
        if effort:
            faiss.ParameterSpace().set_index_parameter(index, name, effort)

        def search(query: NDArray[np.float32], k: int) -> NDArray[np.integer]:
            asked = np.append(query, np.float32(1))[None]
            rows: NDArray[np.integer] = index.search(asked, k)[1][0]
            return rows

        return search

    return opened


def _slow_to_link(index: Any) -> None:
    index.hnsw.efConstruction = 128


def _refine_more(index: Any) -> None:
    index.k_factor = 20  # times k are scored again from 8 bits a coordinate


# hnswlib and USearch as they come.


def _hnswlib_build(vectors: Vectors, bias: Bias, folder: Path, threads: int) -> None:
    import hnswlib

    index = hnswlib.Index("ip", vectors.shape[1] + 1)
    index.init_index(len(vectors), M=16, ef_construction=128, random_seed=0)
    for start in range(0, len(vectors), _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(vectors)))
        index.add_items(_with_bias(vectors, bias, rows), rows, num_threads=threads)
    index.save_index(str(folder / "index.hnswlib"))


def _hnswlib_open(vectors: Vectors, bias: Bias, folder: Path, effort: int) -> Search:
    import hnswlib

    index = hnswlib.Index("ip", vectors.shape[1] + 1)
    index.load_index(str(folder / "index.hnswlib"))
    index.set_ef(effort)

    def search(query: NDArray[np.float32], k: int) -> NDArray[np.integer]:
        rows: NDArray[np.integer] = index.knn_query(
            np.append(query, np.float32(1))[None], k, num_threads=1
        )[0][0].astype(np.int64)
        return rows

    return search


def _usearch_build(vectors: Vectors, bias: Bias, folder: Path, threads: int) -> None:
    from usearch.index import Index

    width = vectors.shape[1] + 1
    index = Index(ndim=width, metric="ip", dtype="i8", connectivity=16, expansion_add=128)
    for start in range(0, len(vectors), _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(vectors)))
        index.add(rows.astype(np.uint64), _with_bias(vectors, bias, rows), threads=threads)
    index.save(str(folder / "index.usearch"))


def _usearch_open(vectors: Vectors, bias: Bias, folder: Path, effort: int) -> Search:
    from usearch.index import Index

    index: Any = Index.restore(str(folder / "index.usearch"), view=True)
    index.expansion_search = effort

    def search(query: NDArray[np.float32], k: int) -> NDArray[np.integer]:
        found = index.search(np.append(query, np.float32(1)), k, threads=1)
        rows: NDArray[np.integer] = found.keys.astype(np.int64)
        return rows

    return search


def _with_bias(vectors: Vectors, bias: Bias, rows: NDArray[np.integer]) -> NDArray[np.float32]:
    return np.hstack([vectors[rows].astype(np.float32), bias[rows, None]])


_GRAPH = (256, 512, 1024, 2048)
_PROBES = (8, 16, 32, 64, 128, 256)

CONTENDERS: dict[str, Contender] = {
    "ours, lists": Contender(_our_build, _our_open, needs="faiss"),
    "ours, scan": Contender(_our_scan_build, _our_scan, most=200_000, needs="numkong"),
    "numpy float32": Contender(None, _numpy, most=200_000),
    "faiss Flat": Contender(_faiss("Flat"), _faiss_open(""), needs="faiss"),
    "faiss HNSW SQ8": Contender(
        _faiss("HNSW16,SQ8", _slow_to_link), _faiss_open("efSearch"), _GRAPH, needs="faiss"
    ),
    "faiss IVF SQ8": Contender(
        _faiss("IVF2048,SQ8"), _faiss_open("nprobe"), _PROBES, needs="faiss"
    ),
    "faiss IVF PQ fast scan": Contender(
        _faiss("IVF2048,PQ193x4fs,Refine(SQ8)", _refine_more),
        _faiss_open("nprobe"),
        _PROBES,
        needs="faiss",
    ),
    "hnswlib": Contender(_hnswlib_build, _hnswlib_open, _GRAPH, needs="hnswlib"),
    "usearch, its own i8": Contender(_usearch_build, _usearch_open, _GRAPH, needs="usearch"),
}
