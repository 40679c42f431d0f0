"""The list of partners."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from server.membership.partners import Partner, Partners
from shared.errors import ConfigError, RunError

SHOP = Partner(
    name="shop",
    kind="shop",
    population=1000,
    serial="0A",
    not_after="2030-01-01T00:00:00+00:00",
    node_key_pem="node of shop",
    statement_key="statements of shop",
)
FILMS = replace(
    SHOP, name="films", node_key_pem="node of films", statement_key="statements of films"
)


@pytest.fixture
def partners(tmp_path: Path) -> Partners:
    found = Partners(tmp_path)
    assert found.list() == []
    found.add(SHOP)
    found.add(FILMS)
    return found


def test_they_are_listed_by_name(partners: Partners) -> None:
    assert partners.list() == [FILMS, SHOP]
    assert partners.get("shop") == SHOP
    assert partners.find("news") is None
    with pytest.raises(ConfigError, match="films, shop"):
        partners.get("news")
    assert SHOP.member.population == 1000


def test_a_revoked_one_stays_listed(partners: Partners) -> None:
    assert not partners.revoke("shop").enrolled
    assert partners.list(enrolled_only=True) == [FILMS]
    assert [one.status for one in partners.list()] == ["enrolled", "revoked"]
    with pytest.raises(ConfigError):
        partners.revoke("news")


def test_keys_and_names_are_a_partners_own(partners: Partners) -> None:
    for change in (
        {"name": "news", "node_key_pem": FILMS.node_key_pem},
        {"name": "news", "statement_key": FILMS.statement_key},
        {"name": "Shop", "node_key_pem": "a", "statement_key": "b"},
    ):
        with pytest.raises(ConfigError):
            partners.add(replace(SHOP, **change))  # type: ignore[arg-type]
    partners.revoke("films")  # a revoked partner's keys stay its own
    with pytest.raises(ConfigError, match="those of films"):
        partners.add(replace(SHOP, node_key_pem=FILMS.node_key_pem))
    partners.add(replace(SHOP, population=2000))
    assert partners.get("shop").population == 2000


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"population": "1000"},
        {"population": True},
        {"status": "friend"},
        {"name": "films"},
        {"more": 1},
        {"serial": None},
    ],
)
def test_a_changed_file_is_damage(partners: Partners, change: dict[str, object]) -> None:
    path = partners.dir / "partners" / "shop.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(RunError, match=r"shop\.json"):
        partners.list()


@pytest.mark.parametrize("text", ["", "[]", "null", "{}"])
def test_no_object_is_damage(partners: Partners, text: str) -> None:
    (partners.dir / "partners" / "shop.json").write_text(text)
    with pytest.raises(RunError):
        partners.get("shop")
