"""Searches side by side: how much of the truth is found, how soon, in how much memory.

Every contender is built in one process and searched in another, so that what is resident is its
own.  Searches come at random moments, 100 a second on average, whether or not the ones before are
done, from a pool of threads as in a service; what is told is from the moment a search should have
begun.

    python -m simulations.bench.serving.search compare ITEMS [RUN [CONTENDER ...]]

Libraries that are not installed are left out.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import ConfigError, RunError
from simulations.bench.serving.contenders import CONTENDERS, Search
from simulations.bench.serving.vectors import (
    Progress,
    alikeness,
    biases,
    clustered,
    grow,
    interests,
    real_vectors,
    top,
)

K = 10
RECALL = 0.98
_WARM = 100
_THREADS = 4


def run(
    *,
    items: int = 100_000,
    catalogue: Path | None = None,
    contenders: Sequence[str] = tuple(CONTENDERS),
    rate: float = 100.0,
    searches: int = 1000,
    seed: int = 0,
    threads: int = 2,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure them; {"items", "width", "catalogue", "half_mib", "rows": [...]}, see `_measured`.

    Args:
        items: V.
        catalogue: a run's folder, whose items the catalogue is grown from; None is Gaussian
            clusters.
        contenders: keys of `CONTENDERS`.
        rate: searches a second.
        searches: that are timed, and as many, one after the other, for recall.
        seed: of everything.
        threads: that build, where the library can use them.
        progress: called with (what, done, total).

    Raises:
        ConfigError: no such contender, or nothing to search.
        RunError: a contender's process failed; its words are in the message.
    """
    unknown = [name for name in contenders if name not in CONTENDERS]
    if unknown or items < K or searches < 1 or rate <= 0:
        raise ConfigError(
            expected=f"contenders of {', '.join(CONTENDERS)}, {K} items or more, a rate over 0",
            got=f"{', '.join(unknown) or 'known ones'}, {items} items, {rate} a second",
            where="bench serving",
        )
    with tempfile.TemporaryDirectory(prefix="fedinterest-search-") as name:
        folder = Path(name)
        result = _world(folder, items, catalogue, searches, seed, progress)
        result |= {"rate": rate, "rows": []}
        for place, contender in enumerate(contenders):
            if progress:
                progress("searching", place, len(contenders))
            if items <= CONTENDERS[contender].most:
                result["rows"].append(_measured(folder, contender, rate, threads))
    return result


def _world(
    folder: Path,
    items: int,
    catalogue: Path | None,
    searches: int,
    seed: int,
    progress: Progress | None,
) -> dict[str, Any]:
    real = real_vectors(catalogue) if catalogue is not None else None
    width = 384 if real is None else real.shape[1]
    vectors = np.lib.format.open_memmap(
        folder / "vectors.npy", "w+", np.dtype(np.float16), (items, width)
    )
    if real is None:
        grown = clustered(items, width, seed=seed, out=vectors)
    else:
        grown = grow(real, items, seed=seed, out=vectors, progress=progress)
    bias = biases(items, seed=seed + 1)
    queries = interests(grown, searches, seed=seed + 2)
    np.save(folder / "bias.npy", bias)
    np.save(folder / "queries.npy", queries)
    np.save(folder / "truth.npy", top(vectors, bias, queries, K)[0])
    vectors.flush()
    found: dict[str, Any] = {
        "items": items,
        "width": width,
        "catalogue": "clusters" if real is None else f"grown from {len(real)}",
        "half_mib": round(vectors.nbytes / 2**20, 1),
        "grown": alikeness(vectors, seed=seed).__dict__,
    }
    if real is not None:
        found["real"] = alikeness(real, seed=seed).__dict__
    return found


def _measured(folder: Path, name: str, rate: float, threads: int) -> dict[str, Any]:
    """What `_COLUMNS` shows of one contender.

    With the least effort that reaches `RECALL`, or with the most.
    """
    contender = CONTENDERS[name]
    own = folder / f"c{list(CONTENDERS).index(name)}"
    own.mkdir()
    row: dict[str, Any] = {"name": name, "build_s": 0.0, "disk_mib": 0.0}
    if contender.build is not None:
        row |= _child(folder, "build", name, str(threads))
        row["disk_mib"] = round(sum(path.stat().st_size for path in own.iterdir()) / 2**20, 1)
    for effort in contender.efforts:
        row |= _child(folder, "search", name, str(effort), str(rate))
        if row["recall"] >= RECALL:
            break
    for path in own.iterdir():
        path.unlink()
    return row


def _child(folder: Path, *words: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "simulations.bench.serving.search", str(folder), *words],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RunError(
            expected="a search to measure",
            got=done.stderr.strip()[-2000:],
            where=" ".join(words),
        )
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def build(folder: Path, name: str, threads: int) -> dict[str, Any]:
    """Build one, in this process."""
    contender, own = CONTENDERS[name], folder / f"c{list(CONTENDERS).index(name)}"
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    bias = np.load(folder / "bias.npy")
    began = time.perf_counter()
    if contender.build is not None:
        contender.build(vectors, bias, own, threads)
    return {
        "build_s": round(time.perf_counter() - began, 1),
        "build_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10, 1),
    }


def measure(folder: Path, name: str, effort: int, rate: float) -> dict[str, Any]:
    """Open one and search it, in this process."""
    own = folder / f"c{list(CONTENDERS).index(name)}"
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    bias, queries = np.load(folder / "bias.npy"), np.load(folder / "queries.npy")
    truth = np.load(folder / "truth.npy")
    began = time.perf_counter()
    search = CONTENDERS[name].open(vectors, bias, own, effort)
    opened = time.perf_counter() - began
    for query in queries[:_WARM]:
        search(query, K)
    hits, took = 0, []
    for query, right in zip(queries, truth, strict=True):
        began = time.perf_counter()
        rows = search(query, K)
        took.append(time.perf_counter() - began)
        hits += len(np.intersect1d(rows, right))
    late = under_load(search, queries, rate)
    return {
        "effort": effort,
        "open_s": round(opened, 2),
        "recall": round(hits / truth.size, 4),
        "one_ms": round(float(np.median(took)) * 1e3, 2),
        "p50_ms": round(float(np.quantile(late, 0.5)) * 1e3, 2),
        "p99_ms": round(float(np.quantile(late, 0.99)) * 1e3, 2),
        "resident_mib": round(resident_mib(), 1),
    }


def under_load(search: Search, queries: NDArray[np.float32], rate: float) -> NDArray[np.float64]:
    """(Q,) seconds from when each search should have begun until it was done."""
    waits = np.random.default_rng(0).exponential(1 / rate, len(queries))
    start = time.perf_counter() + 0.1
    due = start + np.cumsum(waits)

    def one(query: NDArray[np.float32], when: float) -> float:
        search(query, K)
        return time.perf_counter() - when

    with ThreadPoolExecutor(_THREADS) as pool:
        asked = []
        for query, when in zip(queries, due.tolist(), strict=True):
            time.sleep(max(0.0, when - time.perf_counter()))
            asked.append(pool.submit(one, query, when))
        return np.array([each.result() for each in asked])


def resident_mib() -> float:
    """Resident memory of this process, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


_COLUMNS = (
    ("recall@10", "recall"),
    ("p50 ms", "p50_ms"),
    ("p99 ms", "p99_ms"),
    ("one ms", "one_ms"),
    ("resident MiB", "resident_mib"),
    ("disk MiB", "disk_mib"),
    ("build s", "build_s"),
    ("effort", "effort"),
)


def render(result: dict[str, Any], console: Any) -> None:
    """Print the result as a table."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("search")
    for heading, _ in _COLUMNS:
        table.add_column(heading, justify="right")
    for row in result["rows"]:
        table.add_row(row["name"], *(f"{row[key]:g}" for _, key in _COLUMNS))
    console.print(
        f"{result['items']:,} items x {result['width']}, {result['catalogue']}; "
        f"{result['half_mib']:g} MiB in half precision; {result['rate']:g} searches a second"
    )
    console.print(table)


def main(words: Sequence[str]) -> None:
    """Compare; or FOLDER and what a process of the comparison does, which prints JSON."""
    if words[0] == "compare":
        from rich.console import Console

        result = run(
            items=int(words[1]),
            catalogue=Path(words[2]) if len(words) > 2 else None,
            contenders=words[3:] or [name for name, one in CONTENDERS.items() if one.installed],
            progress=lambda what, done, of: print(f"{what} {done}/{of}", file=sys.stderr),
        )
        render(result, Console(width=120))
        return
    folder, what, name, *rest = Path(words[0]), *words[1:]
    if what == "build":
        print(json.dumps(build(folder, name, int(rest[0]))))
    else:
        print(json.dumps(measure(folder, name, int(rest[0]), float(rest[1]))))


if __name__ == "__main__":
    main(sys.argv[1:])
