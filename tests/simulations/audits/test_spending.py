"""The two sources of what was spent: they must tell one story, and claims are neither."""

from pathlib import Path
from typing import Any

import pytest

from shared.privacy.accountant import Charge as Spent
from shared.privacy.ledger import Ledger
from shared.transparency.journal import Journal
from shared.transparency.keys import SigningKey, write_keys
from shared.transparency.statement import Charge, PlatformRound
from simulations.audits.spending import Spending, read_spending

NOISE = 2.0


def key() -> SigningKey:
    return SigningKey.unsafe(0, "shop")


def write(run: Path, *, charged: int = 2, **changes: Any) -> Spending:
    """A platform's ledger of `charged` rounds and its record of two, changed in the second."""
    head = "0" * 64
    with Ledger.open(run / "ledger" / "shop.jsonl", platform="shop", epsilon=8, delta=1e-5) as book:
        for round_ in range(1, charged + 1):
            book.charge_many(round_, range(2), f"{round_:064d}", 0.5, NOISE)
            head = book.head
    with Journal(run / "record" / "shop.jsonl", name="shop", key=key()) as journal:
        for number in range(2):
            values: dict[str, Any] = {
                "platform": "shop",
                "round": number + 1,
                "encoder": "",
                "steps": 2,
                "sample_rate": 0.5,
                "noise_multiplier": NOISE,
                "clip_norm": 2.0,
                "epsilon": 8.0,
                "delta": 1e-5,
                "unsafe_seed": False,
                "charge": Charge(first=2 * number, entries=2 * number + 2, head=head),
                **dict.fromkeys(
                    ("request", "adapter_in", "update", "base", "code", "policy"), f"{number:064d}"
                ),
                **(changes if number else {}),
            }
            journal.append(lambda index, root, v=values: PlatformRound(index=index, root=root, **v))
    write_keys(run / "record" / "keys.json", {"shop": key().public.hex})
    return read_spending(run)["shop"]


def test_one_story(tmp_path: Path) -> None:
    found = write(tmp_path)
    assert found.problems == ()
    assert found.private
    assert found.charges == [Spent(0.5, NOISE, 4)]
    assert found.stages() == [(1, [Spent(0.5, NOISE)] * 2), (2, [Spent(0.5, NOISE)] * 2)]
    assert len(found.statements) == 2


def test_a_charge_that_nothing_was_released_for_counts(tmp_path: Path) -> None:
    found = write(tmp_path, charged=3)
    assert found.problems == ()
    assert found.charges == [Spent(0.5, NOISE, 6)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"noise_multiplier": 1.9}, "other parameters"),
        ({"sample_rate": 0.4}, "other parameters"),
        ({"round": 1}, "other parameters"),
        ({"epsilon": 4.0}, "promises otherwise"),
        ({"delta": 1e-6}, "promises otherwise"),
        ({"charge": Charge(first=0, entries=2, head="0" * 64)}, "does not hold"),
        ({"steps": 3}, "does not hold"),
        ({"charge": None, "epsilon": float("inf")}, "says NOT PRIVATE"),
    ],
)
def test_a_statement_that_the_ledger_contradicts(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    assert any(words in what for what in write(tmp_path, **changes).problems)


def test_a_ledger_that_lacks_a_stated_charge(tmp_path: Path) -> None:
    assert any("does not hold" in what for what in write(tmp_path, charged=1).problems)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "ledger" / "shop.jsonl.head").unlink()
    (tmp_path / "record" / "keys.json").unlink()
    found = read_spending(tmp_path)["shop"]
    assert found.ledger is None
    assert [what.split(":")[0] for what in found.problems] == [
        "no keys",
        "its ledger cannot be read",
    ]
    assert found.charges == found.stages() == []
