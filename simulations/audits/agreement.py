"""Whether the logs of a run, its ledgers and its results tell one story.

The logs themselves have been checked before (`shared.transparency.inspection`): here entries are
held against each other.  Rules:
1. The coordinator's rounds follow each other, and so do its adapters: out of round r is into round
   r + 1.  A round may be done again after its checkpoint was lost; that is noted.
2. Every line of rounds.jsonl is the one that was signed for its round.
3. What the coordinator says to have got from a platform stands in that platform's log, for the same
   round, request, adapter and constants; and a platform states no round that the coordinator's
   record does not reach.
4. Every statement names a charge in the platform's ledger, of its steps, rate and noise, and no two
   the same one; the ledger up to there has the hash that was signed.  A charge that nothing was
   released for (a crash) counts as spent, and is noted.
5. Settings, summary and released adapter are those of the last round.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from server.rounds.record import line_sha256
from shared.transparency.inspection import Entry
from shared.transparency.keys import PublicKey
from shared.transparency.statement import COORDINATOR, CoordinatorRound, PlatformRound
from simulations.audits.evidence import KEYS, LEDGER, ROUNDS, Evidence
from simulations.audits.releases import check_answers, check_charges
from simulations.audits.results import check_results
from simulations.audits.story import Rounds, Story, Told


def agree(
    evidence: Evidence, logs: Mapping[str, Sequence[Entry]], keys: Mapping[str, PublicKey]
) -> Story:
    """Rules 1 to 5 of the module for logs that have been read."""
    story = Story()
    rounds = dict(_rounds(logs.get(COORDINATOR, ()), keys, story))
    story.last = max(rounds, default=-1)
    lines = _lines(evidence, rounds, story)
    told = {name: list(_statements(logs[name])) for name in logs if name != COORDINATOR}
    for name in sorted({*told, *_members(rounds), *evidence.logs(LEDGER)}):
        statements = told.get(name, [])
        check_answers(name, statements, logs.get(COORDINATOR, ()), rounds, evidence, story)
        check_charges(name, statements, rounds, evidence, story)
    check_results(evidence, rounds, told, lines, story)
    return story


def _rounds(
    entries: Sequence[Entry], keys: Mapping[str, PublicKey], story: Story
) -> dict[int, tuple[int, CoordinatorRound]]:
    """Rule 1; round -> (entry, its last statement)."""
    found: dict[int, tuple[int, CoordinatorRound]] = {}
    strangers: set[str] = set()
    last = -1
    for entry in entries:
        said = entry.statement
        if not isinstance(said, CoordinatorRound):
            continue

        def wrong(what: str, at: int = entry.index, round_: int = said.round) -> None:
            story.wrong(what, COORDINATOR, at, round_)

        if said.round > last + 1:
            wrong(f"round {last + 1} is missing before it")
        elif said.round <= last:
            story.notes.append(f"round {said.round} was done again at entry {entry.index}")
            found = {round_: one for round_, one in found.items() if round_ < said.round}
        before = found.get(said.round - 1)
        if before is not None:
            if said.adapter_in != before[1].adapter_out:
                wrong("its adapter is not the one that the round before has left")
            if (said.base, said.settings) != (before[1].base, before[1].settings):
                wrong("another whitening or other settings than in the round before")
        for name, answer in said.platforms.items():
            if answer.key is None or name in strangers:
                continue
            known = keys.get(name)
            if known is None or known.hex != answer.key:
                strangers.add(name)
                what = f"not the key of {name} that entry {entry.index} of the coordinator names"
                story.wrong(what, KEYS, None, said.round)
        last = said.round
        found[last] = (entry.index, said)
    return found


def _lines(evidence: Evidence, rounds: Rounds, story: Story) -> list[dict[str, Any]]:
    """Rule 2; the lines of rounds.jsonl that are as they were signed."""
    content = evidence.files.get(ROUNDS)
    if content is None:
        story.wrong("missing: restore it from the coordinator's copy", ROUNDS)
        return []
    lines: list[dict[str, Any]] = []
    *texts, tail = content.split(b"\n")
    for number, text in enumerate(texts):
        try:
            line = json.loads(text)
            digest = line_sha256(line)
        except (ValueError, AttributeError, TypeError):
            story.wrong("not a line of JSON", ROUNDS, number, number)
            continue
        if number not in rounds:
            story.wrong("a round that the record does not have", ROUNDS, number, number)
        elif digest != rounds[number][1].line:
            story.wrong("not the line that was signed", ROUNDS, number, number)
        else:
            _same_line(line, *rounds[number], story)
            lines.append(line)
    if tail:
        story.wrong("a line without an end", ROUNDS, len(texts), len(texts))
    for number in sorted(set(rounds) - set(range(len(texts)))):
        story.wrong("cut off: the record has this round", ROUNDS, number, number)
    return lines


def _same_line(line: Mapping[str, Any], entry: int, said: CoordinatorRound, story: Story) -> None:
    """A signed line, and what was signed beside it, must not differ either."""
    told = {name: one["outcome"] for name, one in line["platforms"].items()}
    stated = {name: answer.outcome for name, answer in said.platforms.items()}
    if (line["round"], line["adapter_sha256"], told) != (said.round, said.adapter_out, stated):
        what = f"says otherwise than line {said.round} of {ROUNDS}, which it signs"
        story.wrong(what, COORDINATOR, entry, said.round)


def _members(rounds: Rounds) -> set[str]:
    return {name for _, said in rounds.values() for name in said.platforms}


def _statements(entries: Sequence[Entry]) -> Iterator[Told]:
    for entry in entries:
        if isinstance(entry.statement, PlatformRound):
            yield entry, entry.statement
