"""The bench of the service, on a platform of a few hundred items: real processes, real answers."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from shared.errors import ConfigError, DataError
from simulations.bench import commands
from simulations.bench.serving.contenders import CONTENDERS
from simulations.bench.serving.run import ServingPlan, lines, run_serving_bench
from simulations.bench.serving.vectors import alikeness, clustered, grow, interests, nearest, top
from simulations.bench.serving.world import Plan, exact_best, made

ITEMS = 400


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:  # type: ignore[type-arg]
    out = tmp_path_factory.mktemp("bench")
    plan = ServingPlan(
        world=Plan(items=ITEMS), rate=50, seconds=0.5, asked=20, rival=False, out=out
    )
    return out, run_serving_bench(plan)


def test_every_part_of_it_was_measured(found) -> None:  # type: ignore[no-untyped-def]
    out, result = found
    assert json.loads((out / "serving.json").read_text()) == result
    assert (result["items"], result["width"], result["exact"]) == (ITEMS, 384, True)
    for call in ("recommend", "interests", "explain"):
        one = result[call]
        assert (one["calls"], one["errors"]) == (25, {})
        assert one["snapshots"] == {"round-1": 25}
        assert 0 < one["p50_ms"] <= one["p99_ms"] <= one["max_ms"]
    assert result["recall"] == 1.0  # an exact search, measured against all scores
    assert result["vectors_mib"] == round(ITEMS * 384 * 2 / 2**20, 1)
    assert result["memory_mib"]["rss"] >= result["memory_mib"]["anonymous"] > 10


def test_a_reload_under_load_loses_nothing(found) -> None:  # type: ignore[no-untyped-def]
    reload = found[1]["reload"]
    assert reload["errors"] == {}
    assert reload["before"] + reload["after"] == reload["calls"] == 150
    assert reload["before"] > 0


def test_a_kill_loses_no_accepted_event(found) -> None:  # type: ignore[no-untyped-def]
    killed = found[1]["killed"]
    assert killed["accepted"] >= 50
    assert (killed["lost"], killed["answered"]) == (0, 10)


def test_it_is_told_in_words(found) -> None:  # type: ignore[no-untyped-def]
    told = dict(lines(found[1]))
    assert told["recall@10"] == "1.0000"
    assert told["SIGKILL"].endswith("accepted events lost")
    assert "rival: memory" not in told


def test_a_platform_is_made_once(found) -> None:  # type: ignore[no-untyped-def]
    out, _ = found
    stamp = (out / "world" / "secret").stat().st_mtime_ns
    world = made(out / "world", Plan(items=ITEMS))
    assert (out / "world" / "secret").stat().st_mtime_ns == stamp
    snapshot = world.newest()
    assert snapshot.meta.round == 2  # it was renewed
    assert snapshot.popularity.sum() > 0
    history = snapshot.sequences[0].astype(np.int64)
    (best,) = exact_best(snapshot, [history], 10)
    assert len(set(best.tolist())) == 10
    assert not set(best.tolist()) & set(history.tolist())
    made(out / "world", Plan(items=ITEMS, seed=1))
    assert (out / "world" / "secret").stat().st_mtime_ns > stamp


@pytest.mark.parametrize("wrong", [{"rate": 0}, {"seconds": -1}, {"asked": 0}])
def test_what_makes_no_sense_is_said(tmp_path: Path, wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="bench serving"):
        ServingPlan(world=Plan(items=ITEMS), out=tmp_path, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="100 items"):
        ServingPlan(world=Plan(items=99), out=tmp_path)


def test_nothing_to_grow_from(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="platforms"):
        made(tmp_path / "w", Plan(items=ITEMS, catalogue=str(tmp_path)))


def test_grown_items_look_like_real_ones() -> None:
    """Closeness and spread of a grown catalogue are within a tenth of the one it grew from."""
    real = clustered(1500, 24, seed=0, clusters=30).vectors.astype(np.float32)
    grown = grow(real, 1500, seed=1)
    ours, theirs = alikeness(grown.vectors, seed=0), alikeness(real, seed=0)
    assert ours.nearest == pytest.approx(theirs.nearest, rel=0.1)
    assert ours.tenth == pytest.approx(theirs.tenth, rel=0.1)
    assert ours.directions == pytest.approx(theirs.directions, rel=0.1)
    again = grow(real, 1500, seed=1)
    np.testing.assert_array_equal(grown.vectors, again.vectors)
    asked = interests(grown, 5, seed=2)
    np.testing.assert_allclose(np.linalg.norm(asked, axis=1), 1, atol=1e-5)


def test_the_truth_is_what_sorting_gives() -> None:
    vectors = clustered(300, 8, seed=0, clusters=5).vectors
    bias = np.random.default_rng(0).random(300).astype(np.float32)
    asked = np.eye(8, dtype=np.float32)
    rows, values = top(vectors, bias, asked, 4)
    scores = asked @ vectors.T.astype(np.float32) + bias
    np.testing.assert_array_equal(rows, np.argsort(-scores, axis=1)[:, :4])
    np.testing.assert_allclose(values, -np.sort(-scores, axis=1)[:, :4], rtol=1e-6)
    unit = vectors.astype(np.float32)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -2)
    np.testing.assert_array_equal(nearest(unit, 3), np.argsort(-cosines, axis=1)[:, :3])


def test_the_bench_names_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConfigError, match=r"no faiss .*pip install 'fedinterest\[serving\]'"):
        commands.serving(
            items=100,
            rate=1.0,
            seconds=1.0,
            catalogue=None,
            seed=0,
            rival=False,
            out=None,
            as_json=True,
        )


def test_contenders_find_what_sorting_finds(tmp_path: Path) -> None:
    """The scan all of it, the lists nearly: they read all of so few, in 8 bits."""
    grown = clustered(600, 40, seed=0, clusters=20)
    bias = np.random.default_rng(0).random(600).astype(np.float32) / 10
    asked = interests(grown, 40, seed=1)
    right, _ = top(grown.vectors, bias, asked, 10)
    for name, least in (("ours, lists", 0.99), ("ours, scan", 1.0), ("numpy float32", 1.0)):
        folder = tmp_path / name
        folder.mkdir()
        one = CONTENDERS[name]
        if one.build is not None:
            one.build(grown.vectors, bias, folder, 1)
        search = one.open(grown.vectors, bias, folder, 0)
        found = [search(query, 10) for query in asked]
        hits = sum(len(np.intersect1d(*both)) for both in zip(found, right, strict=True))
        assert hits / right.size >= least
