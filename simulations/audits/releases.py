"""A platform's releases against what the coordinator says to have got, and what was paid for them.

Rules 3 and 4 of `agreement`.
"""

import re
from collections.abc import Sequence

from shared.errors import LedgerError
from shared.transparency.inspection import Entry
from shared.transparency.statement import COORDINATOR, CoordinatorRound, PlatformRound
from simulations.audits.evidence import LEDGER, RECORD, Evidence, Spending, read_spending
from simulations.audits.story import Rounds, Story, Told

_LINE = re.compile(r" line (\d+)$")


def check_answers(
    name: str,
    statements: Sequence[Told],
    coordinator: Sequence[Entry],
    rounds: Rounds,
    evidence: Evidence,
    story: Story,
) -> None:
    """Rule 3 of `agreement`: what the coordinator says to have got from the platform `name`."""
    if evidence.log(RECORD, name) == (None, None):
        what = f"not handed over: ask the platform for its {RECORD}/{name}.jsonl* and ledger"
        story.wrong(what, name)
        return
    by_leaf = {entry.leaf: (entry, told) for entry, told in statements}
    committed = set()
    for entry in coordinator:
        said = entry.statement
        if not isinstance(said, CoordinatorRound) or name not in said.platforms:
            continue
        answer = said.platforms[name]
        if answer.envelope is None:
            if answer.outcome == "accepted" and said.round:
                what = f"accepts {name} without its statement"
                story.wrong(what, COORDINATOR, entry.index, said.round)
            continue
        committed.add(answer.envelope)
        if answer.envelope not in by_leaf:
            what = f"lacks the statement that the coordinator's entry {entry.index} names"
            story.wrong(what, name, None, said.round)
            continue
        own, told = by_leaf[answer.envelope]
        for field_ in ("round", "request", "adapter_in", "base"):
            if getattr(told, field_) != getattr(said, field_):
                what = f"another {field_} than in the coordinator's entry {entry.index}"
                story.wrong(what, name, own.index, told.round)
        if answer.outcome == "accepted":
            for field_ in ("steps", "sample_rate", "clip_norm", "private"):
                if getattr(told, field_) != getattr(said, field_):
                    what = f"another {field_} than the coordinator asked for"
                    story.wrong(what, name, own.index, told.round)
    unused = 0
    for entry, told in statements:
        if entry.leaf in committed:
            continue
        if told.round > story.last:
            what = "the coordinator's record ends before this round: cut off, or to be resumed"
            story.wrong(what, name, entry.index, told.round)
        elif told.round not in rounds or name not in rounds[told.round][1].platforms:
            what = "a round for which the coordinator's record does not know it"
            story.wrong(what, name, entry.index, told.round)
        else:
            unused += 1
    if unused:
        story.notes.append(f"{name}: {unused} releases that the coordinator did not use")


def check_charges(
    name: str,
    statements: Sequence[Told],
    rounds: Rounds,
    evidence: Evidence,
    story: Story,
) -> None:
    """Rule 4 of `agreement`: every release of the platform `name` was paid for, and once."""
    path = f"{LEDGER}/{name}.jsonl"
    content, head = evidence.log(LEDGER, name)
    private = [(entry, told) for entry, told in statements if told.charge is not None]
    if content is None:
        if private or head is not None:
            story.wrong("missing: ask the platform for its ledger", path)
        return
    if not content and head is None and not private:
        return  # killed while it was being made: no promise in it yet
    try:
        ledger = read_spending(content, head, path)
    except LedgerError as error:
        line = _LINE.search(error.where)
        what = f"damaged: expected {error.expected}, got {error.got}"
        story.wrong(what, path, int(line[1]) - 1 if line else None)
        return
    if ledger.torn is not None:
        story.wrong(_torn(ledger.torn, len(ledger.heads) - 1), path, ledger.torn)
    if ledger.record.platform != name:
        story.wrong(f"the ledger of {ledger.record.platform!r}", path, 0)
    covered = 0
    paid: set[int] = set()
    for entry, told in private:
        what = _unpaid(told, ledger, paid)
        if what:
            story.wrong(what, name, entry.index, told.round)
        if told.charge is not None:
            covered = max(covered, told.charge.entries)
            paid.update(range(told.charge.first, told.charge.first + told.steps))
    unused = 0
    for place, charge in enumerate(ledger.record.entries):
        if place in paid:
            continue
        answer = rounds[charge.round][1].platforms.get(name) if charge.round in rounds else None
        stopped = answer is None and not evidence.finished
        if place >= covered and not stopped and (answer is None or answer.envelope is not None):
            story.wrong("a charge that no statement knows", path, place + 1, charge.round)
        else:
            unused += 1
    if unused:
        story.notes.append(f"{name}: {unused} charges that nothing was released for; they count")


def _torn(first: int, last: int) -> str:
    """What is wrong with a ledger that lacks bytes of entries `first` to `last`, which is its last.

    A line may lose its end to the next one, and any byte of an append may read as zero.
    """
    if first > last:
        return "zeros behind its last line"
    which = f"entry {last} is" if first == last else f"entries {first} to {last} are"
    return f"not written to its end, or cut off; {which} known from its head"


def _unpaid(told: PlatformRound, ledger: Spending, paid: set[int]) -> str:
    """Why the charge that `told` names does not pay for it; "" if it does."""
    charge = told.charge
    if charge is None:
        return ""
    entries = ledger.record.entries
    if (told.epsilon, told.delta) != (ledger.record.epsilon, ledger.record.delta):
        return "another promise than in the ledger"
    if charge.entries > len(entries):
        return f"the ledger is cut off: {charge.entries} charges then, {len(entries)} now"
    if ledger.heads[charge.entries] != charge.head:
        return f"the ledger's first {charge.entries} charges are not those of then"
    steps = entries[charge.first : charge.first + told.steps]
    places = set(range(charge.first, charge.first + told.steps))
    if paid & places:
        return "a second release under one charge"
    terms = (told.round, told.sample_rate, told.noise_multiplier)
    if (
        charge.first + told.steps > charge.entries
        or len({step.request for step in steps}) > 1
        or [step.step for step in steps] != list(range(told.steps))
        or any((one.round, one.sample_rate, one.noise_multiplier) != terms for one in steps)
    ):
        return "the ledger was charged on other terms"
    return ""
