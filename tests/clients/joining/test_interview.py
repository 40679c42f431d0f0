"""What `init` asks, proposes and refuses."""

from pathlib import Path

import pytest

from clients.joining.interview import Given, interview
from clients.settings import ClientFolder
from shared.errors import ConfigError, SourceError


def test_everything_is_proposed(tmp_path: Path, world: Path) -> None:
    asked: list[tuple[str, str]] = []

    def ask(question: str, proposed: str) -> str:
        asked.append((question.split(" [")[0], proposed))
        return proposed

    given = Given(events=world / "shop.csv", items=world / "shop-items.csv")
    answers = interview(ClientFolder.at(tmp_path / "arcade"), given, ask)
    assert [proposed for _, proposed in asked] == [
        *("customer", "sku", "at", "sku", "name", "shelf"),
        *("200", "arcade", "platform"),  # 120 users, told as 200
    ]
    assert answers.population == 200
    assert answers.time_unit == "iso"


def test_files_without_a_header(tmp_path: Path, world: Path) -> None:
    given = Given(
        events=world / "films.dat",
        items=world / "films-items.jsonl",
        separator="::",
        header=("user", "film", "rating", "at"),
        population=100,
    )
    answers = interview(ClientFolder.at(tmp_path / "films"), given, None)
    assert answers.columns == {
        **{"user": "user", "item": "film", "time": "at"},
        **{"item_id": "id", "title": "title"},
    }


def test_what_cannot_be_known_is_asked_for(tmp_path: Path, world: Path) -> None:
    folder = ClientFolder.at(tmp_path / "shop")
    with pytest.raises(ConfigError, match="--events PATH"):
        interview(folder, Given(), None)
    files = {"events": world / "shop.csv", "items": world / "news-items.csv"}
    with pytest.raises(SourceError, match="a column 'nobody'"):
        interview(folder, Given(**files, columns={"user": "nobody"}, population=5), None)
    with pytest.raises(SourceError):
        interview(folder, Given(events=tmp_path / "none.csv", items=world / "x.csv"), None)
