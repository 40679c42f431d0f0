"""The demo world's files: read by the real front door, and held to what is known to be in them."""

import hashlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from shared.config.federation import read_federation
from shared.errors import ConfigError
from simulations.worlds import write_demo_world
from simulations.worlds.titles import fold

PLATFORMS = ["bazaar", "reel", "tempo", "herald", "arcade"]


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_same_seed_same_bytes_and_another_seed_another_world(tmp_path):
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        write_demo_world(tmp_path / name, seed=seed, scale=0.02)
    one, again, other = (digests(tmp_path / name) for name in ("one", "again", "other"))
    assert one == again
    assert one.keys() == other.keys()
    same = {path for path in one if one[path] == other[path]}
    assert same == {"federation.toml"}


def test_settings_are_those_of_the_file(small_world):
    assert read_federation(small_world.folder / "federation.toml") == small_world.settings
    assert list(small_world.settings.platforms) == PLATFORMS
    kinds = [platform.kind for platform in small_world.settings.platforms.values()]
    assert kinds == ["shop", "film", "music", "news", "games"]


def test_every_platform_has_its_own_format_schema_and_clock(small_world):
    events = [platform.events for platform in small_world.settings.platforms.values()]
    assert [one.path.suffix for one in events] == [".csv", ".dat", ".jsonl", ".parquet", ".tsv"]
    assert len({(one.user, one.item, one.time) for one in events}) == 5
    assert [one.time_unit for one in events] == ["iso", "s", "ms", "iso", "us"]

    def first_line(path: str) -> str:
        return (small_world.folder / path).read_text(encoding="utf-8").splitlines()[0]

    assert first_line("bazaar/orders.csv") == "order_no,customer,sku,qty,ordered_at"
    assert first_line("arcade/library.tsv") == "player\tapp_id\tadded_us"
    assert len(first_line("reel/ratings.dat").split("::")) == 4
    play = json.loads(first_line("tempo/plays.jsonl"))
    assert set(play) == {"ts", "listener", "event", "track", "device"}
    reads = pl.read_parquet(small_world.folder / "herald/reads.parquet")
    assert reads.schema["read_at"] == pl.String


@pytest.mark.parametrize("name", PLATFORMS)
def test_the_front_door_finds_exactly_the_dirt_that_was_put_in(small_world, name):
    facts, read = small_world.facts["platforms"][name], small_world.read[name]
    found = Counter(read.dropped)
    # A number that is no time reads as one long ago; whose name it goes by is the reader's choice.
    found["bad_time"] += found.pop("too_old", 0)
    assert dict(found) == facts["dirt"]
    assert read.events == facts["clean_events"]
    assert read.users == facts["users"]
    assert read.items == facts["items"]
    assert read.read == facts["rows"]
    assert 0.03 < sum(found.values()) / facts["rows"] < 0.4


def test_dirt_of_every_kind_is_somewhere(small_world):
    kinds = {kind for facts in small_world.facts["platforms"].values() for kind in facts["dirt"]}
    assert kinds == {
        "opt_out",
        "duplicate",
        "repeat",
        "unknown_item",
        "missing_user",
        "bad_time",
        "future_time",
        "return",
        "other_action",
        "bot",
    }


def test_catalogues_are_disjoint_and_titles_distinct_to_a_reader(small_world):
    seen: dict[str, str] = {}
    for name, read in small_world.read.items():
        for title in read.catalogue.titles:
            assert fold(title) not in seen, (title, name, seen[fold(title)])
            seen[fold(title)] = name
    assert len(seen) == sum(read.items for read in small_world.read.values())


def test_titles_read_like_titles(small_world):
    for name, read in small_world.read.items():
        titles = read.catalogue.titles
        assert all(2 <= len(title.strip()) <= 90 for title in titles), name
        assert not any("{" in title or "}" in title for title in titles), name
        words = {word for title in titles for word in fold(title).split()}
        assert len(words) > len(titles) / 2, name
    films = small_world.read["reel"].catalogue.titles
    assert sum(title.strip().endswith(")") for title in films) == len(films)


def test_some_titles_are_as_odd_as_real_exports(small_world):
    files = ["bazaar/products.csv", "tempo/tracks.jsonl", "arcade/games.tsv"]
    raw = "".join((small_world.folder / one).read_text(encoding="utf-8") for one in files)
    assert "&#x27;" in raw or "&amp;" in raw
    assert "\u00a0" in raw
    film_bytes = (small_world.folder / "reel/movies.dat").read_bytes()
    with pytest.raises(UnicodeDecodeError):
        film_bytes.decode("utf-8")


def test_categories_are_given_on_some_platforms_only(small_world):
    given = {name: any(read.catalogue.categories) for name, read in small_world.read.items()}
    assert given == {"bazaar": True, "reel": True, "tempo": False, "herald": True, "arcade": False}


def test_sizes_at_full_scale(tmp_path):
    settings = write_demo_world(tmp_path, seed=0)
    facts = json.loads((tmp_path / "world.json").read_text(encoding="utf-8"))["platforms"]
    assert sum(one["items"] for one in facts.values()) <= 2_600
    assert all(400 <= one["items"] <= 800 for one in facts.values())
    assert 90_000 < sum(one["clean_events"] for one in facts.values()) < 150_000
    assert facts["arcade"]["users"] < 500 < 2_000 < min(facts[n]["users"] for n in PLATFORMS[:4])
    assert sum(sum(one["persons_shared"].values()) for one in facts.values()) > 500
    for name, platform in settings.platforms.items():
        assert facts[name]["users"] <= platform.population <= 1.1 * facts[name]["users"]


def test_the_world_is_made_without_any_model(tmp_path):
    code = (
        "import sys; from pathlib import Path; from simulations.worlds import write_demo_world;"
        "write_demo_world(Path(sys.argv[1]), scale=0.01);"
        "print(sorted({'torch', 'transformers', 'flwr'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("scale", [0.0, -1.0, 10.5, float("nan")])
def test_a_scale_out_of_range_is_refused(tmp_path, scale):
    with pytest.raises(ConfigError, match="a scale in"):
        write_demo_world(tmp_path, scale=scale)
    assert not list(tmp_path.iterdir())
