"""Bad input through the command line: which error, which exit code, and nothing half-written."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file


def keep_lines(path: Path, count: int) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:count]))


def test_missing_events(place) -> None:
    (place.folder / "shop.csv").unlink()
    place.refused(3, "shop.csv")


def test_wrong_column_names_the_nearest(place) -> None:
    place.edit("federation.toml", 'user = "customer"', 'user = "custmer"')
    place.refused(3, "'custmer'", "Did you mean 'customer'?")


def test_empty_platform(place) -> None:
    keep_lines(place.folder / "shop.csv", 1)
    place.refused(4, "at least one event", "an empty log", "shop.csv")


def test_catalogue_without_text(place) -> None:
    path = place.folder / "news-items.csv"
    path.write_text("story,headline\n" + "".join(f"{item},\n" for item in range(40)))
    place.refused(4, "text in column 'headline'", "none for any item")


def test_all_events_dropped_shows_the_counts(place) -> None:
    rows = [f"c{user},nothing-{user},2023-11-14T22:13:20" for user in range(1500)]
    (place.folder / "shop.csv").write_text("\n".join(["customer,sku,at", *rows]) + "\n")
    place.refused(4, "all 1,500 dropped: 1,500 unknown_item", "shop.csv")


def test_one_event_users_only(place) -> None:
    rows = [f"c{user},s{user},2023-11-14T22:13:20" for user in range(40)]
    (place.folder / "shop.csv").write_text("\n".join(["customer,sku,at", *rows]) + "\n")
    place.refused(4, "at least two events", "40 users with one event each")


def test_duplicate_item_ids(place) -> None:
    place.edit("shop-items.csv", "\ns7,", "\ns6,")
    place.refused(4, "distinct item ids", "1 repeated", "items.duplicates")


@pytest.mark.parametrize("name", ["shop.csv", "shop-items.csv", "films.dat", "news.jsonl"])
def test_bytes_that_are_not_utf8(name: str, place) -> None:
    path = place.folder / name
    content = path.read_bytes().splitlines(keepends=True)
    content[7] = content[7][:2] + b"\xff\xfe" + content[7][2:]
    path.write_bytes(b"".join(content))
    place.refused(3, f"/{name})", "expected UTF-8 text", "(line 8)", "encoding =")


def test_a_typo_in_a_key_names_the_nearest(place) -> None:
    place.edit("federation.toml", "steps_per_round", "step_per_round")
    place.refused(2, "'privacy.step_per_round'", "Did you mean 'steps_per_round'?")
    assert not (place.folder / "run").exists()


def test_a_toml_that_is_none(place) -> None:
    place.edit("federation.toml", "[privacy]", "[privacy")
    place.refused(2, "line", "federation.toml")


@pytest.mark.parametrize("value", ["0", "-1", "nan", "eight", ""])
def test_epsilon_that_is_no_budget(value: str, place) -> None:
    place.refused(2, "epsilon", more=(f"--epsilon={value}",))
    assert not (place.folder / "run").exists()


@pytest.mark.parametrize("value", ["0", "-0.5", "nan", '"eight"'])
def test_epsilon_in_the_file(value: str, place) -> None:
    place.edit("federation.toml", "[privacy]", f"[privacy]\nepsilon = {value}")
    place.refused(2, "privacy.epsilon")


def test_unknown_recipe(place) -> None:
    result = place.call("simulate", "demoo", "--out", place.folder / "run")
    assert result.exit_code == 2
    assert "'demoo'" in result.stderr
    assert not (place.folder / "run").exists()


def test_storefronts_without_data(place, monkeypatch) -> None:
    monkeypatch.delenv("FEDINTEREST_DATA", raising=False)
    result = place.call("simulate", "storefronts", "--out", place.folder / "run")
    assert result.exit_code == 2
    assert "FEDINTEREST_DATA" in result.stderr
    result = place.call("simulate", "storefronts", "--data", place.folder)
    assert result.exit_code == 3
    assert "storefronts/beauty.interactions.tsv" in result.stderr


def test_out_is_not_empty(place) -> None:
    (place.folder / "run").mkdir()
    (place.folder / "run" / "thesis.txt").write_text("dear")
    place.refused(10, "an empty or new folder", "--resume")
    assert [path.name for path in (place.folder / "run").iterdir()] == ["thesis.txt"]


def test_resume_of_what_is_no_run(place) -> None:
    place.refused(10, "a run folder with run.json", more=("--resume",))
    assert not (place.folder / "run").exists()


def test_a_run_of_another_version(place) -> None:
    run = place.folder / "run"
    run.mkdir()
    (run / "run.json").write_text('{"format": 99, "version": "7.1", "seed": null}')
    place.refused(10, "format 99, written by fedinterest 7.1", more=("--resume",))


@pytest.mark.parametrize("option", ["--epsilon", "--rounds", "--seed"])
def test_a_resumed_run_keeps_its_settings(option: str, place) -> None:
    run = place.folder / "run"
    run.mkdir()
    (run / "run.json").write_text(
        '{"format": 3, "version": "7", "seed": 1, "engine": "inprocess", "recipe": "x"}'
    )
    place.refused(2, f"no {option} with --resume", more=("--resume", option, 3))


def test_nan_weights_in_the_encoder(place) -> None:
    path = place.folder / "encoder" / "model.safetensors"
    weights = load_file(path)
    weights["embeddings.word_embeddings.weight"][:] = float("nan")
    save_file(weights, path, metadata={"format": "pt"})
    place.refused(5, "finite item vectors", "NaN")
    assert not any(place.cache.glob("*.npy"))


def test_an_encoder_that_is_not_there(place) -> None:
    shutil.rmtree(place.folder / "encoder")
    place.refused(5, "encoder")


@pytest.mark.parametrize(
    ("recipe", "needed"),
    [
        ("retail", "online_retail/online_retail.parquet"),
        ("films", "movietweetings/ratings.dat"),
        ("steam", "steam/game_purchase.dat"),
    ],
)
def test_other_benchmarks_without_data(place, monkeypatch, recipe, needed) -> None:
    monkeypatch.setenv("FEDINTEREST_DATA", str(place.folder))
    result = place.call("simulate", recipe, "--out", place.folder / "run")
    assert result.exit_code == 3
    assert needed in result.stderr
