"""What a coordinator or a platform could do with its own key, and what is allowed."""

from collections.abc import Callable
from dataclasses import replace

from shared.transparency.statement import (
    COORDINATOR,
    Charge,
    CoordinatorRound,
    PlatformRound,
    Statement,
)
from simulations.audits.evidence import Evidence
from simulations.audits.verify import examine
from tests.simulations.audits.made_logs import STEPS, ledger_bodies, ledger_files
from tests.simulations.audits.made_record import Made


def rewritten(
    made: Made, name: str, change: Callable[[int, Statement], Statement | None]
) -> Evidence:
    """`made` with the log `name` made anew by its own key; None leaves an entry out."""
    told = [change(number, one) for number, one in enumerate(made.statements(name))]
    return made.changed(**made.log_files(name, [one for one in told if one is not None]))


def whats(evidence: Evidence) -> str:
    result = examine(evidence)
    return "; ".join(f"{one['log']} {one['entry']}: {one['what']}" for one in result["findings"])


def test_a_platform_that_rewrites_its_own_log_is_caught_by_the_coordinator_s(made: Made) -> None:
    def cheaper(number: int, one: Statement) -> Statement:
        assert isinstance(one, PlatformRound)
        return replace(one, noise_multiplier=5.0) if number == 1 else one

    found = whats(rewritten(made, "shop", cheaper))
    assert "shop None: lacks the statement that the coordinator's entry 2 names" in found
    assert "shop 1: the ledger was charged on other terms" in found


def test_a_coordinator_that_rewrites_its_own_log_is_caught(made: Made) -> None:
    def swapped(number: int, one: Statement) -> Statement:
        assert isinstance(one, CoordinatorRound)
        return replace(one, adapter_out="0" * 64) if number == 2 else one

    found = whats(rewritten(made, COORDINATOR, swapped))
    assert "coordinator 2: says otherwise than line 2 of rounds.jsonl, which it signs" in found
    assert "coordinator 3: its adapter is not the one that the round before has left" in found

    def shorter(number: int, one: Statement) -> Statement | None:
        return None if number == 3 else one

    found = whats(rewritten(made, COORDINATOR, shorter))
    assert "coordinator 3: round 3 is missing before it" in found
    assert "shop 2: a round for which the coordinator's record does not know it" in found

    def silent(number: int, one: Statement) -> Statement:
        assert isinstance(one, CoordinatorRound)
        answers = {name: replace(answer, envelope=None) for name, answer in one.platforms.items()}
        return replace(one, platforms=answers)

    assert "coordinator 4: accepts shop without its statement" in whats(
        rewritten(made, COORDINATOR, silent)
    )


def test_two_releases_under_one_charge_are_caught(made: Made) -> None:
    """Their difference would show the data without noise."""
    told = made.statements("shop")
    again = replace(told[-1], update="0" * 64)
    found = examine(made.changed(**made.log_files("shop", [*told, again])))
    assert [(one["log"], one["entry"], one["what"]) for one in found["findings"]] == [
        ("shop", 4, "a second release under one charge")
    ]
    assert found["notes"] == ["shop: 1 releases that the coordinator did not use"]


def test_a_charge_of_a_crash_counts_and_is_no_tampering(made: Made) -> None:
    """Charged, then the platform's data changed: charged again, and stated once."""
    bodies = ledger_bodies("shop", 4)
    lost = [{**body, "request": "f" * 64} for body in bodies[-STEPS:]]
    files = ledger_files("shop", [*bodies[:-STEPS], *lost, *bodies[-STEPS:]])
    content = files["ledger/shop.jsonl"].splitlines()
    heads = [line[-66:-2].decode() for line in content]

    def moved(number: int, one: Statement) -> Statement:
        assert isinstance(one, PlatformRound)
        if number < 3:
            return one
        charge = Charge(first=4 * STEPS, entries=5 * STEPS, head=heads[5 * STEPS])
        return replace(one, charge=charge)

    evidence = rewritten(made, "shop", moved)
    evidence = replace(evidence, files={**evidence.files, **files})
    result = examine(evidence)
    # the coordinator knows the statement of before; nothing else is wrong
    assert [one["what"] for one in result["findings"]] == [
        "lacks the statement that the coordinator's entry 4 names"
    ]
    assert "shop: 2 charges that nothing was released for; they count" in result["notes"]
