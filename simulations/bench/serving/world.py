"""A made-up platform of any size, as a snapshot that can be served: items, users, what they met.

A folder, made once and taken up again by the next run of the same plan:

    FOLDER/
    ├── world.json           the plan
    ├── secret               of pseudonyms; users are u0, u1, ...
    ├── newest.json          the id of the snapshot that is to be served
    └── snapshots/ID         the snapshots; a second one (`renewed`) is links to the first's files
"""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clients.serving.snapshot.columns import write_columns
from clients.serving.snapshot.head import NAME as HEAD
from clients.serving.snapshot.head import Head
from clients.serving.snapshot.snapshot import FORMAT, META, Snapshot
from clients.serving.snapshot.write import About, written
from clients.sources.pseudonyms import pseudonyms
from shared.catalogue import Catalogue
from shared.events import Sequences
from shared.files import write_json
from simulations.bench.serving.vectors import Grown, Progress, clustered, grow, real_vectors

DECAY, HISTORY_LENGTH = 0.6, 50
KNN, POPULARITY = 0.6, 0.02
_WIDTH = 384
_USERS_PER_ITEM, _LEAST_USERS = 0.05, 500
_EVENTS = 20  # of a user, on average
_STRAY = 0.1
_TOGETHER = 64
_SHELVES = 2000  # a multiple of 40: a shelf is in one department
_SKEW = 3.0  # events favour a topic's first items: u ** 3 of the way down its list
_SYLLABLES = ("ba", "do", "fi", "gu", "ka", "le", "mo", "nu", "pi", "ra", "so", "ti", "vu", "ze")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is made.

    Args:
        items: V.
        seed: of everything.
        catalogue: folder of a run whose items the catalogue is grown from; None is Gaussian
            clusters.
    """

    items: int
    seed: int = 0
    catalogue: str | None = None


@dataclass(frozen=True)
class World:
    """See the module."""

    folder: Path

    @property
    def secret(self) -> bytes:
        """Of pseudonyms."""
        return (self.folder / "secret").read_bytes()

    def newest(self) -> Snapshot:
        """The snapshot that is to be served."""
        kept = json.loads((self.folder / "newest.json").read_text(encoding="utf-8"))
        return Snapshot.open(self.folder / "snapshots" / str(kept["id"]))

    def renewed(self, round_: int) -> str:
        """Another snapshot of the same files, as if the model had gone on; its id."""
        now = self.newest()
        name = f"round-{round_}"
        place = now.folder.with_name(name)
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(mode=0o700)
        for path in now.folder.iterdir():
            if path.name != META:
                os.link(path, place / path.name)
        values = json.loads((now.folder / META).read_text(encoding="utf-8"))
        write_json(place / META, values | {"id": name, "round": round_})
        write_json(self.folder / "newest.json", {"id": name})
        for other in place.parent.iterdir():
            if other not in (place, now.folder):
                shutil.rmtree(other)
        return name


def made(folder: Path, plan: Plan, progress: Progress | None = None) -> World:
    """The plan's world in `folder`: the one that is there, or a new one.

    Raises:
        DataError, RunError: nothing to grow the catalogue from.
        StorageError: the disk refused.
    """
    world, kept = World(folder), folder / "world.json"
    what = asdict(plan) | {"format": FORMAT}
    if kept.is_file() and json.loads(kept.read_text(encoding="utf-8")) == what:
        return world
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "secret").write_bytes(np.random.default_rng(plan.seed).bytes(32))
    about = About(
        platform="bench",
        round=1,
        decay=DECAY,
        history_length=HISTORY_LENGTH,
        knn=KNN,
        popularity=POPULARITY,
    )
    with written(folder / "snapshots" / "round-1", about, progress=progress) as making:
        _fill(making, plan, world.secret, progress)
    write_json(folder / "newest.json", {"id": "round-1"})
    write_json(kept, what)
    return world


def _fill(making: Path, plan: Plan, secret: bytes, progress: Progress | None) -> None:
    from clients.recommending.head import LocalHead

    real = real_vectors(Path(plan.catalogue)) if plan.catalogue is not None else None
    width = _WIDTH if real is None else real.shape[1]
    items = np.lib.format.open_memmap(
        making / "items.npy", "w+", np.dtype(np.float16), (plan.items, width)
    )
    if real is None:
        clusters = max(2, min(5000, plan.items // 20))
        grown = clustered(plan.items, width, seed=plan.seed, clusters=clusters, out=items)
    else:
        grown = grow(real, plan.items, seed=plan.seed, out=items, progress=progress)
    items.flush()
    shutil.copyfile(making / "items.npy", making / "vectors.npy")  # as before any training
    _head(width).write(making / HEAD)
    rng = np.random.default_rng(plan.seed + 1)
    write_columns(_catalogue(grown, rng), making)
    sequences = _sequences(grown, secret, rng)
    sequences.save(making / "sequences.npz")
    head = LocalHead.fit(sequences, plan.items, decay=DECAY)
    users = np.zeros((len(sequences), width), np.float16)
    for number in range(len(sequences)):
        history = sequences[number][-HISTORY_LENGTH:]
        weights = (DECAY ** np.arange(len(history))[::-1]).astype(np.float32)
        mean = weights @ items[history].astype(np.float32)
        users[number] = mean / max(float(np.linalg.norm(mean)), 1e-12)
    arrays = {
        "popularity": head.popularity,
        "users": users,
        "together.data": head.similarity.data,
        "together.indices": head.similarity.indices,
        "together.indptr": head.similarity.indptr,
    }
    for name, array in arrays.items():
        np.save(making / f"{name}.npy", array)


def _head(width: int) -> Head:
    """Of no encoder: no text is read here."""
    return Head(
        encoder="",
        centers=np.zeros((1, width)),
        maps=np.eye(width, dtype=np.float32)[None],
        adapter=np.zeros((width, width), np.float32),
    )


def _sequences(grown: Grown, secret: bytes, rng: np.random.Generator) -> Sequences:
    """Users with up to three topics; few have many events, and few items have most."""
    items = len(grown.vectors)
    count = max(_LEAST_USERS, int(items * _USERS_PER_ITEM))
    order = np.argsort(grown.parents, kind="stable")
    bounds = np.searchsorted(grown.parents[order], np.arange(len(grown.near) + 1))
    histories = []
    for _ in range(count):
        events = 2 + int(rng.geometric(1 / _EVENTS))
        topics = rng.integers(0, len(grown.near), int(rng.integers(1, 4)))
        chosen = rng.choice(topics, events)
        aside = rng.random(events) < 0.5
        neighbours = grown.near[chosen, rng.integers(0, grown.near.shape[1], events)]
        parents = np.where(aside, neighbours, chosen)
        sizes = bounds[parents + 1] - bounds[parents]
        places = bounds[parents] + (sizes * rng.random(events) ** _SKEW).astype(np.int64)
        rows = order[np.minimum(places, items - 1)]
        stray = (rng.random(events) < _STRAY) | (sizes == 0)
        rows[stray] = (items * rng.random(int(stray.sum())) ** _SKEW).astype(np.int64)
        histories.append(np.array(list(dict.fromkeys(rows.tolist())), np.int32))
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in histories])]).astype(np.int64)
    return Sequences(
        users=tuple(pseudonyms(secret, [f"u{number}" for number in range(count)])),
        items=np.concatenate(histories),
        offsets=offsets,
    )


def _catalogue(grown: Grown, rng: np.random.Generator) -> Catalogue:
    """Titles of made-up words, some of them their topic's; three in four have categories."""
    topics = len(grown.near)
    words = list(_words(rng, max(500, topics * 2)))
    paths = [
        ("all", f"{words[topic % 40]} goods", f"{words[topic % _SHELVES]} {words[topic % 40]}")
        if topic % 4
        else ()
        for topic in range(topics)
    ]
    titles = []
    others = rng.integers(0, len(words), (len(grown.parents), 3))
    for topic, some in zip(grown.parents.tolist(), others.tolist(), strict=True):
        own = f"{words[2 * topic % len(words)]} {words[(2 * topic + 1) % len(words)]}"
        titles.append(" ".join([own, *(words[one] for one in some)]).title())
    return Catalogue(
        ids=tuple(f"item-{row}" for row in range(len(titles))),
        texts=tuple(titles),
        titles=tuple(titles),
        categories=tuple(paths[topic] for topic in grown.parents.tolist()),
    )


def _words(rng: np.random.Generator, count: int) -> Iterator[str]:
    known: set[str] = set()
    while len(known) < count:
        size = int(rng.integers(2, 6))  # enough for any number of topics
        word = "".join(_SYLLABLES[one] for one in rng.integers(0, len(_SYLLABLES), size))
        if word not in known:
            known.add(word)
            yield word


def exact_best(
    snapshot: Snapshot, histories: list[NDArray[np.int64]], k: int
) -> list[NDArray[np.int64]]:
    """The `k` best new items of each history, from all scores: what recall is measured against."""
    from clients.serving import scores

    if len(histories) > _TOGETHER:  # or the scores of a large catalogue would fill the memory
        rest = exact_best(snapshot, histories[_TOGETHER:], k)
        return exact_best(snapshot, histories[:_TOGETHER], k) + rest
    asked = np.stack([scores.interest(snapshot, one[-HISTORY_LENGTH:]) for one in histories])
    total = np.empty((len(histories), len(snapshot.bias)), np.float32)
    for start in range(0, total.shape[1], 20_000):
        part = slice(start, start + 20_000)
        total[:, part] = asked @ snapshot.items[part].astype(np.float32).T + snapshot.bias[part]
    found = []
    for row, history in zip(total, histories, strict=True):
        rows, values = scores.together(snapshot, history[-HISTORY_LENGTH:])
        row[rows] += np.float32(snapshot.meta.knn) * values
        row[history] = -np.inf
        best = np.argpartition(-row, k)[:k]
        found.append(best[np.argsort(-row[best], kind="stable")])
    return found
