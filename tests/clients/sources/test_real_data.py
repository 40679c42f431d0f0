"""The public data sets of the benchmark, when FEDINTEREST_DATA says where they lie."""

import os
from pathlib import Path
from typing import Any

import pytest

from clients.sources.ingest import Ingested, ingest
from shared.config.federation import PlatformSettings

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def data() -> Path:
    if not os.environ.get("FEDINTEREST_DATA"):
        pytest.skip("FEDINTEREST_DATA is not set")
    return Path(os.environ["FEDINTEREST_DATA"])


def read(events: dict[str, Any], items: dict[str, Any]) -> Ingested:
    settings = PlatformSettings.load({"events": events, "items": items}, where="test")
    return ingest(settings, b"k" * 32, 1_760_000_000.0)


@pytest.mark.parametrize(
    ("name", "users", "items", "events"),
    [
        ("beauty", 22_363, 12_101, 198_502),
        ("toys", 19_412, 11_924, 167_597),
        ("games", 50_546, 16_859, 452_989),
        ("books", 10_485, 8_318, 115_572),
    ],
)
def test_storefronts_lose_nothing(
    data: Path, name: str, users: int, items: int, events: int
) -> None:
    folder = data / "storefronts"
    result = read(
        {
            "path": folder / f"{name}.interactions.tsv",
            "user": "reviewerID",
            "item": "asin",
            "order": "position",
        },
        {"path": folder / f"{name}.items.tsv", "item": "asin", "category": "categories"},
    )
    assert (result.users, result.items, result.events) == (users, items, events)
    assert result.dropped == {}
    unknown = sum(text == "unknown item" for text in result.catalogue.texts)
    assert unknown == (14 if name == "games" else 0)


def test_film_ratings(data: Path) -> None:
    folder = data / "movietweetings"
    result = read(
        {
            "path": folder / "ratings.dat",
            "separator": "::",
            "header": ["u", "i", "rating", "t"],
            **{"user": "u", "item": "i", "time": "t"},
        },
        {
            "path": folder / "movies.dat",
            "separator": "::",
            "header": ["id", "title", "genres"],
            **{"item": "id", "category": "genres", "category_separator": "|"},
        },
    )
    assert (result.users, result.items, result.events) == (16_554, 10_506, 100_000)
    assert result.catalogue.categories[0] == ("Crime", "Drama")


def test_online_retail(data: Path) -> None:
    path = data / "online_retail" / "online_retail.parquet"
    result = read(
        {
            "path": path,
            **{"user": "CustomerID", "item": "StockCode", "quantity": "Quantity"},
            **{"time": "InvoiceDate", "time_unit": "iso"},
        },
        {
            "path": path,
            **{"item": "StockCode", "title": "Description", "duplicates": "most_frequent"},
        },
    )
    assert result.read == 541_909
    assert result.items == 4_070
    assert result.dropped["missing_user"] == 135_080
    assert result.dropped["return"] == 8_905
    row = result.catalogue.row_of["85123A"]
    assert result.catalogue.titles[row] == "WHITE HANGING HEART T-LIGHT HOLDER"
