"""The baselines on the real storefronts, against figures measured once on the same protocol."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from clients.splits import Split, split
from shared.catalogue import Catalogue
from shared.config.training import ModelSettings
from shared.encoder import encode_catalogue
from shared.events import Sequences
from shared.whitening import fit_whitening, moments
from simulations.baselines.base import Sum
from simulations.baselines.frozen import Frozen
from simulations.baselines.frozen_knn import FrozenKnn
from simulations.baselines.knn import Knn
from simulations.evaluation import evaluate_many, mean_metrics

# platform: users, then (HR@10, NDCG@10) of frozen, knn, both
REFERENCE = {
    "beauty": (22_363, (0.0735, 0.0441), (0.0773, 0.0481), (0.1027, 0.0622)),
    "toys": (19_412, (0.0923, 0.0531), (0.0908, 0.0578), (0.1213, 0.0754)),
    "games": (50_546, (0.0502, 0.0297), (0.0854, 0.0514), (0.0941, 0.0578)),
    "books": (10_485, (0.0093, 0.0043), (0.0549, 0.0288), (0.0607, 0.0319)),
}

pytestmark = pytest.mark.data


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def _storefront(name: str) -> tuple[Catalogue, Split]:
    folder = os.environ.get("FEDINTEREST_DATA")
    if not folder:
        pytest.skip("FEDINTEREST_DATA is not set")
    items = _rows(Path(folder) / "storefronts" / f"{name}.items.tsv")
    texts = [
        ". ".join(part for part in (row["title"], row["categories"]) if part) or row["asin"]
        for row in items
    ]
    catalogue = Catalogue(
        ids=tuple(row["asin"] for row in items),
        texts=tuple(texts),
        titles=tuple(texts),
        categories=tuple(() for _ in items),
    )
    users: dict[str, list[tuple[int, int]]] = {}
    for row in _rows(Path(folder) / "storefronts" / f"{name}.interactions.tsv"):
        event = (int(row["position"]), catalogue.row_of[row["asin"]])
        users.setdefault(row["reviewerID"], []).append(event)
    sequences = Sequences(
        users=tuple(users),
        items=np.array([item for user in users.values() for _, item in sorted(user)], np.int32),
        offsets=np.cumsum([0, *map(len, users.values())]).astype(np.int64),
    )
    return catalogue, split(sequences)


def test_knn_is_near_its_reference() -> None:
    reached = {}
    for name, (users, _, knn, _) in REFERENCE.items():
        catalogue, cut = _storefront(name)
        assert len(cut) == users
        system = Knn().fit(cut.train, np.zeros((len(catalogue), 1), np.float32))
        metrics = evaluate_many({"knn": system}, cut)["knn"].metrics
        # books have no true order in time, which is what a directed co-occurrence reads
        near = pytest.approx(knn, rel=0.08 if name == "books" else 0.03)
        assert (metrics["hit@10"], metrics["ndcg@10"]) == near, name
        reached[name] = metrics
    mean = mean_metrics(reached)
    assert (mean["hit@10"], mean["ndcg@10"]) == pytest.approx((0.0771, 0.0465), rel=0.03)


@pytest.mark.slow
def test_frozen_and_frozen_knn_are_within_three_percent(tmp_path: Path) -> None:
    platforms = {name: _storefront(name) for name in REFERENCE}
    cache = Path(os.environ.get("FEDINTEREST_CACHE", tmp_path))
    raw = {
        name: encode_catalogue(catalogue, ModelSettings(), cache_dir=cache, batch_size=128)[:, -1]
        for name, (catalogue, _) in platforms.items()
    }
    own = {name: moments(vectors) for name, vectors in raw.items()}
    whitening = fit_whitening(list(own.values()))
    for name, (_, frozen, _, both) in REFERENCE.items():
        cut = platforms[name][1]
        vectors = whitening.local(own[name]).items(raw[name])
        alone = Frozen().fit(cut.train, vectors)
        head = FrozenKnn().fit(cut.train, vectors).parts[1]
        results = evaluate_many({"frozen": alone, "both": Sum((alone, head))}, cut)
        for system, expected in (("frozen", frozen), ("both", both)):
            metrics = results[system].metrics
            got = (metrics["hit@10"], metrics["ndcg@10"])
            assert got == pytest.approx(expected, rel=0.03), (name, system)
