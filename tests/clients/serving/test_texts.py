"""New items and sentences: read by the very model that made the catalogue's vectors."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clients.platform import Platform
from clients.serving import answers as a
from clients.serving.answering import Engine
from clients.serving.snapshot.build import newest
from clients.serving.snapshot.encoder import Encoder, EncoderMeta
from clients.serving.snapshot.export import export_encoder
from clients.serving.snapshot.head import NAME, Head
from clients.serving.snapshot.texts import read_texts
from clients.serving.state_cache import StateCache
from clients.serving.texts import completed
from shared.config.training import ModelSettings
from shared.encoder import encoder_identity, load_encoder
from shared.errors import ConfigError, DataError, EncoderError, RunError
from tests.clients.serving.conftest import PARTS, deliver
from tests.clients.serving.texts_world import engine_of, made_platform, text

EVERY = a.Filters(include_seen=True)


@pytest.fixture
def platform(tmp_path: Path, model: ModelSettings) -> Platform:
    return made_platform(tmp_path / "shop", model)


@pytest.fixture
def engine(platform: Platform, tmp_path: Path, encoders: Path) -> Engine:
    return engine_of(platform, tmp_path, encoders)[0]


def new(item_id: str, row: int, category: tuple[str, ...] = ()) -> a.NewItem:
    """An item that reads as the catalogue's row."""
    return a.NewItem(item_id=item_id, title="New", category=category, text=text(row))


def scored(found: a.Recommended) -> dict[str, a.Recommendation]:
    return {one.item.item_id: one for one in found.items}


def test_the_exported_encoder_is_the_original(model: ModelSettings, encoders: Path) -> None:
    (path,) = encoders.glob("*.json")
    texts = ["w1 w2", "", "w3 unknown", "w4 " * 100, "w1 w2"]
    own = Encoder(path).states(texts)
    wanted = np.stack([load_encoder(model).encode([one], batch_size=1)[0] for one in texts])
    np.testing.assert_allclose(own, wanted, atol=1e-5)
    before = {one.name: one.stat().st_mtime_ns for one in encoders.iterdir()}
    gone = model.replace(encoder="no/such/model")  # not looked at: it is there already
    assert export_encoder(gone, encoders, identity=encoder_identity(model)) == path
    assert {one.name: one.stat().st_mtime_ns for one in encoders.iterdir()} == before
    for one in encoders.iterdir():
        assert str(Path(__file__).parents[3]).encode() not in one.read_bytes()


def test_another_encoder_is_refused(model: ModelSettings, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="unknown"):
        export_encoder(model, tmp_path, identity="")
    with pytest.raises(EncoderError, match="encoder 000000"):
        export_encoder(model, tmp_path, identity="0" * 64)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("part", ["onnx", "weights", "tokens"])
def test_a_damaged_encoder_is_noticed(encoders: Path, tmp_path: Path, part: str) -> None:
    for one in encoders.iterdir():
        (tmp_path / one.name).write_bytes(one.read_bytes())
    (path,) = tmp_path.glob("*.json")
    other = path.with_suffix(f".{part}")
    content = bytearray(other.read_bytes())
    content[len(content) // 2] ^= 1
    other.write_bytes(content)
    with pytest.raises(RunError, match=f"changed {other.name}"):
        EncoderMeta.read(path, thorough=True)
    other.unlink()
    with pytest.raises(RunError, match="next start makes it again"):
        Encoder(path)


def test_the_head_gives_the_catalogues_own_rows(
    platform: Platform, tmp_path: Path, encoders: Path
) -> None:
    snapshot = newest(platform, tmp_path / "s", parts=PARTS)
    assert not np.allclose(snapshot.items, snapshot.vectors, atol=0.01)  # the adapter does much
    items, vectors = Head.read(snapshot.folder / NAME).items(platform.states)
    # a snapshot holds items in half precision
    np.testing.assert_allclose(items, snapshot.items, atol=5e-4)
    np.testing.assert_allclose(vectors, snapshot.vectors, atol=5e-4)
    read_texts(platform, snapshot, encoders)
    other = replace(platform.catalogue, texts=platform.catalogue.texts[::-1])
    platform.__dict__["catalogue"] = other  # states of other texts
    with pytest.raises(EncoderError, match="adapted items with cosine"):
        read_texts(platform, snapshot, encoders)


def test_an_item_is_usable_when_put_returns(engine: Engine) -> None:
    assert engine.put_items([new("n1", 0, ("all", "tea"))]) == a.Put(
        added=1, changed=0, unchanged=0
    )
    assert engine.status().items == 61
    best = engine.similar_items("n1", k=60)
    assert best.items[0].item.item_id == "i0" or best.items[0].score == pytest.approx(1, abs=1e-3)
    twin = {one.item.item_id: one.score for one in best.items}
    assert twin["i0"] == pytest.approx(1, abs=1e-3)
    found = scored(engine.recommend(a.Who(user_id="u0"), k=100, filters=EVERY))
    assert found["n1"].item.category == ("all", "tea")
    assert found["n1"].parts.shared_model == pytest.approx(found["i0"].parts.shared_model, abs=1e-5)
    assert found["n1"].parts.co_occurrence == found["n1"].parts.popularity == 0
    tea = a.Filters(categories=("tea",), include_seen=True)
    assert "n1" in scored(engine.recommend(a.Who(user_id="u0"), k=100, filters=tea))
    coffee = a.Filters(categories=("coffee",), include_seen=True)
    assert "n1" not in scored(engine.recommend(a.Who(user_id="u0"), k=100, filters=coffee))
    asked = list(engine.audience(interest=None, item_id="n1", size=9))
    of_twin = list(engine.audience(interest=None, item_id="i0", size=9))
    assert [one.pseudonym for one in asked] == [one.pseudonym for one in of_twin]


def test_events_of_a_new_item_count(engine: Engine) -> None:
    engine.put_items([new("n1", 4, ("all", "coffee"))])
    posted = engine.post_events([a.PostedEvent(user_id="new", item_id="n1", time=5.0)])
    assert (posted.accepted, posted.unknown_items) == (1, 0)
    mine = scored(engine.recommend(a.Who(user_id="new"), k=100))
    assert "n1" not in mine  # seen
    as_twin = scored(engine.recommend(a.Who(item_ids=("i4",)), k=100))
    for item in ("i1", "i7", "i20"):
        wanted = as_twin[item].parts.shared_model
        assert mine[item].parts.shared_model == pytest.approx(wanted, abs=1e-5)
    profile = engine.interests(a.Who(user_id="new"))
    assert [(one.label, one.weight) for one in profile.interests] == [("coffee", 1.0)]
    assert [one.item_id for one in profile.read] == ["n1"]
    why = engine.explain(a.Who(item_ids=("i1", "n1")), "n1")
    assert {one.item_id for one, _ in why.events} == {"i1", "n1"}
    assert sum(abs(share) for _, share in why.events) == pytest.approx(1)
    trend = engine.trends(window_s=100, until=50.0)
    assert trend.until == 50.0


def test_an_item_put_anew_keeps_its_events_and_loses_its_old_text(engine: Engine) -> None:
    before = scored(engine.recommend(a.Who(user_id="u0"), k=100, filters=EVERY))
    assert engine.put_items([new("i0", 1, ("all", "coffee"))]).changed == 1
    assert engine.status().items == 60
    after = engine.recommend(a.Who(user_id="u0"), k=100, filters=EVERY)
    assert [one.item.item_id for one in after.items].count("i0") == 1
    own, twin = scored(after)["i0"], scored(after)["i1"]
    assert own.item.title == "New"
    assert own.parts.shared_model == pytest.approx(twin.parts.shared_model, abs=1e-5)
    assert own.parts.co_occurrence == before["i0"].parts.co_occurrence > 0
    assert own.parts.popularity == before["i0"].parts.popularity
    tea = a.Filters(categories=("tea",), include_seen=True)
    assert "i0" not in scored(engine.recommend(a.Who(user_id="u0"), k=100, filters=tea))
    seen = [one.item_id for one in engine.interests(a.Who(item_ids=("i0", "i3"))).read]
    assert seen == ["i0", "i3"]
    back = a.NewItem(item_id="i0", title="Title 0", category=("all", "tea"), text=text(0))
    assert engine.put_items([back]).changed == 1
    assert engine.put_items([back]).unchanged == 1
    again = scored(engine.recommend(a.Who(user_id="u0"), k=100, filters=EVERY))
    assert {name: one.score for name, one in again.items()} == {
        name: one.score for name, one in before.items()
    }


def test_the_operators_rules_hold_for_new_items(
    platform: Platform, tmp_path: Path, encoders: Path
) -> None:
    engine, _ = engine_of(
        platform, tmp_path, encoders, blocked_items=("n1",), blocked_categories=("secret",)
    )
    engine.put_items([new("n1", 0), new("n2", 0, ("secret",)), new("n3", 0, ("open",))])
    found = scored(engine.recommend(a.Who(user_id="u0"), k=100, filters=EVERY))
    assert {"n1", "n2", "n3"} & set(found) == {"n3"}
    shown = {one.item.item_id for one in engine.intent(text(0), k=100).items}
    assert {"n1", "n2", "n3"} & shown == {"n3"}


def test_what_was_put_survives_a_restart_and_a_new_model(
    platform: Platform, tmp_path: Path, encoders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, _ = engine_of(platform, tmp_path, encoders)
    engine.put_items([new("n1", 0), new("i5", 7)])
    first = scored(engine.recommend(a.Who(user_id="u0"), k=100, filters=EVERY))

    def never(*_: object) -> None:
        raise AssertionError("a text was read twice")

    monkeypatch.setattr(Encoder, "states", never)
    again, texts = engine_of(platform, tmp_path, encoders)
    assert scored(again.recommend(a.Who(user_id="u0"), k=100, filters=EVERY)) == first
    deliver(platform, 4, seed=5)
    assert again.reload().changed
    assert texts.left_out == 0
    found = scored(again.recommend(a.Who(user_id="u0"), k=100, filters=EVERY))
    assert found["n1"].parts.shared_model != first["n1"].parts.shared_model
    for own, twin in (("n1", "i0"), ("i5", "i7")):
        wanted = found[twin].parts.shared_model
        assert found[own].parts.shared_model == pytest.approx(wanted, abs=1e-5)


def test_a_damaged_cache_is_read_again(platform: Platform, tmp_path: Path, encoders: Path) -> None:
    engine, _ = engine_of(platform, tmp_path, encoders)
    engine.put_items([new("n1", 0)])
    cache = StateCache(tmp_path / "texts.db")
    (name,) = (one.name for one in encoders.glob("*.json"))
    states = cache.find(name, (2, 16), [text(0)])[text(0)]
    cache._db.execute("UPDATE states SET content = zeroblob(length(content))")
    cache._db.commit()
    assert cache.find(name, (2, 16), [text(0)]) == {}
    engine_of(platform, tmp_path, encoders)
    np.testing.assert_array_equal(cache.find(name, (2, 16), [text(0)])[text(0)], states)
    cache.keep_only(name, ["another"])
    assert cache.find(name, (2, 16), [text(0)]) == {}
    cache.close()
    (tmp_path / "other.db").write_bytes(b"no database at all" * 100)
    StateCache(tmp_path / "other.db").close()


def test_an_intent_is_named_like_a_profile(engine: Engine) -> None:
    found = engine.intent(text(9), k=5)  # i9, and i39 with the same words, of tea
    assert {one.item.item_id for one in found.items[:2]} == {"i9", "i39"}
    assert found.items[0].score == pytest.approx(1, abs=1e-3)
    assert found.interests[0][0] == "tea"
    assert sum(share for _, share in found.interests) == pytest.approx(1)
    shares = [share for _, share in found.interests]
    assert shares == sorted(shares, reverse=True)
    assert len(engine.intent("nothing of this is known", k=3).items) == 3


def test_without_an_encoder_it_serves_and_says_why(
    platform: Platform, tmp_path: Path, encoders: Path
) -> None:
    engine, _ = engine_of(platform, tmp_path, encoders)
    engine.put_items([new("n1", 0)])
    (tmp_path / "texts.db").unlink()
    for reason, where in (("no onnx here", encoders), ("", tmp_path / "nothing")):
        without, texts = engine_of(platform, tmp_path, where, no_texts=reason)
        assert texts.left_out == 1
        assert without.status().items == 60
        assert texts.trouble
        with pytest.raises(RunError, match=reason or "whole exported encoder"):
            without.intent("w1")
        with pytest.raises(RunError, match=reason or "whole exported encoder"):
            without.put_items([new("n2", 0)])
    back, texts = engine_of(platform, tmp_path, encoders)  # it was kept
    assert (back.status().items, texts.left_out, texts.trouble) == (61, 0, "")


def test_a_missing_package_is_said(
    engine: Engine, platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clients.serving.texts._PACKAGES", ("no_such_package",))
    _, texts = engine_of(platform, tmp_path, tmp_path)
    assert "pip install 'fedinterest[serving]'" in texts.trouble


def test_what_makes_no_sense_is_said(engine: Engine) -> None:
    with pytest.raises(ConfigError, match="1 repeated"):
        engine.put_items([new("n1", 0), new("n1", 1)])
    with pytest.raises(ConfigError, match="a title, or a text"):
        engine.put_items([a.NewItem(item_id="n1", title=" ")])
    with pytest.raises(DataError, match="surrogate") as told:
        engine.put_items([a.NewItem(item_id="n1", title="\ud800")])
    assert told.value.__cause__ is None
    with pytest.raises(DataError, match="surrogate"):
        engine.intent("\ud800")
    assert engine.status().items == 60


def test_an_item_is_written_as_the_source_writes_it() -> None:
    given = a.NewItem(item_id="n", title=" Red  nail ", category=("Shop", " ", "Nail  care"))
    assert completed(given) == a.NewItem(
        item_id="n",
        title="Red nail",
        category=("Shop", "Nail care"),
        text="Red nail. Shop, Nail care",
    )
    assert completed(a.NewItem(item_id="n", title="", text="w1")).title == "n"
