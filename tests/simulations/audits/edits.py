"""Twelve ways to change the record of a run, each with the place where it has to be found."""

import json
import random
from dataclasses import dataclass, replace

from shared.transparency.envelope import STATEMENT, Envelope
from shared.transparency.keys import SigningKey, keys_text
from shared.transparency.statement import COORDINATOR, parse_statement
from simulations.audits.evidence import (
    ADAPTER,
    FEDERATION,
    KEYS,
    ROUNDS,
    SUMMARY,
    Evidence,
    Released,
)
from tests.simulations.audits.made_logs import ledger_bodies, ledger_files
from tests.simulations.audits.made_record import Made

LOGS = ("shop", "films", COORDINATOR)


@dataclass
class Edit:
    """What was done, and where it has to be found: (log or file, entry or None for any)."""

    evidence: Evidence
    what: str
    places: list[tuple[str, int | None]]


def place_of(path: str) -> str:
    """What a finding calls the log or file at `path`."""
    name = path.removesuffix(".head")
    if path == KEYS:
        return path
    return name.split("/")[1].removesuffix(".jsonl") if name.startswith("record/") else name


def flip(made: Made, rng: random.Random, _: Made) -> Edit:
    paths = [path for path in made.files if path.startswith("record/")]
    paths += ["ledger/shop.jsonl", "ledger/films.jsonl"]
    path = rng.choice(sorted(paths))
    content = bytearray(made.files[path])
    at = rng.randrange(len(content))
    content[at] ^= rng.randrange(1, 256)
    entry = None
    if path.endswith(".jsonl"):
        entry = made.files[path][:at].count(b"\n")
    places = [(place_of(path), entry)]
    if path == KEYS:  # still a key, perhaps: the coordinator's own shows in its log
        places = [(KEYS, None), (COORDINATOR, None)]
    return Edit(made.changed(**{path: bytes(content)}), f"flip {path} {at}", places)


def lines_edit(made: Made, rng: random.Random, other: Made) -> Edit:
    """Drop, repeat, swap, move, cut or bring from another run, whole lines of one file."""
    path = rng.choice(
        [*(f"record/{name}.jsonl" for name in LOGS), ROUNDS, "ledger/shop.jsonl"],
    )
    lines = made.files[path].splitlines(keepends=True)
    before = list(lines)
    how = rng.choice(["drop", "repeat", "swap", "move", "cut", "replay"])
    first, second = sorted(rng.sample(range(len(lines)), 2))
    if how == "drop":
        del lines[first]
        entry = first
    elif how == "repeat":
        lines.insert(second, lines[first])
        entry = second
    elif how == "swap":
        lines[first], lines[second] = lines[second], lines[first]
        entry = first
    elif how == "move":
        lines.insert(first, lines.pop(second))
        entry = first
    elif how == "cut":
        del lines[second:]
        entry = second
    else:
        foreign = other.files[path].splitlines(keepends=True)
        lines[first] = foreign[first]
        entry = first
    if lines == before:  # both runs charged alike
        return flip(made, rng, other)
    # a line moved between equal neighbours shows where the first difference is
    entry = next((n for n, (a, b) in enumerate(zip(lines, before, strict=False)) if a != b), entry)
    return Edit(made.changed(**{path: b"".join(lines)}), f"{how} {path}", [(place_of(path), entry)])


def cut_bytes(made: Made, rng: random.Random, _: Made) -> Edit:
    path = rng.choice([*(f"record/{name}.jsonl" for name in LOGS), "ledger/films.jsonl"])
    content = made.files[path]
    at = rng.randrange(len(content))
    entry = content[:at].count(b"\n")
    return Edit(made.changed(**{path: content[:at]}), f"cut {path}", [(place_of(path), entry)])


def swap_logs(made: Made, rng: random.Random, _: Made) -> Edit:
    first, second = rng.sample(LOGS, 2)
    ends = (".jsonl", ".jsonl.head") if rng.random() < 0.5 else (rng.choice([".jsonl.head"]),)
    files = {}
    for end in ends:
        files[f"record/{first}{end}"] = made.files[f"record/{second}{end}"]
        files[f"record/{second}{end}"] = made.files[f"record/{first}{end}"]
    return Edit(made.changed(**files), "swap logs", [(first, None), (second, None)])


def replay_log(made: Made, rng: random.Random, other: Made) -> Edit:
    name = rng.choice(LOGS)
    paths = (f"record/{name}.jsonl", f"record/{name}.jsonl.head")
    files = {path: other.files[path] for path in paths}
    return Edit(made.changed(**files), "another run's log", [(name, None)])


def roll_back(made: Made, rng: random.Random, _: Made) -> Edit:
    """To an earlier state that was genuine, head and all: only the other logs can tell."""
    name = rng.choice(LOGS)
    path = f"record/{name}.jsonl"
    lines = made.files[path].splitlines(keepends=True)
    size = rng.randrange(1, len(lines))
    files = {path: b"".join(lines[:size]), f"{path}.head": made.heads[name][size - 1]}
    where = [(name, None)] if name != COORDINATOR else [("shop", None), (ROUNDS, None)]
    return Edit(made.changed(**files), f"roll back {name}", where)


def resign_entry(made: Made, rng: random.Random, _: Made) -> Edit:
    """An entry altered and signed: with a stranger's key, or with its own key but not its head."""
    name = rng.choice(["shop", "films"])
    path = f"record/{name}.jsonl"
    lines = made.files[path].splitlines()
    entry = rng.randrange(len(lines))
    statement = parse_statement(Envelope.from_bytes(lines[entry], "").payload)
    field, value = rng.choice(
        [("noise_multiplier", 1.5), ("sample_rate", 0.25), ("policy", "0" * 64), ("round", 77)]
    )
    stranger = rng.random() < 0.5
    key = SigningKey.unsafe(99, "mallory") if stranger else made.keys[name]
    forged = replace(statement, **{field: value})
    lines[entry] = Envelope.signed(STATEMENT, forged.to_payload(), key).to_bytes()
    # with the right key it is the next entry, or the head, that does not fit
    where = [(name, entry if stranger else None)]
    content = b"".join(line + b"\n" for line in lines)
    return Edit(made.changed(**{path: content}), f"re-sign {name} {entry}", where)


def resign_log(made: Made, rng: random.Random, _: Made) -> Edit:
    """A whole log made anew under another key, and that key put into keys.json or not."""
    name = rng.choice(LOGS)
    key = SigningKey.unsafe(99, name)
    files = made.log_files(name, made.statements(name), key)
    where = [(name, None)]
    if rng.random() < 0.5 and name != COORDINATOR:
        keys = {one: known.public.hex for one, known in made.keys.items()}
        files[KEYS] = keys_text({**keys, name: key.public.hex}).encode()
        where = [(KEYS, None)]
    return Edit(made.changed(**files), f"log of {name} re-signed", where)


def reseal_ledger(made: Made, rng: random.Random, _: Made) -> Edit:
    """A ledger written anew, hashes and head and all: cheaper, shorter, longer or reordered."""
    name = rng.choice(["shop", "films"])
    bodies = ledger_bodies(name, 4)
    how = rng.choice(["noise", "rate", "drop", "add", "swap", "promise"])
    at = rng.randrange(1, len(bodies))
    if how == "noise":
        bodies[at]["noise_multiplier"] = 9.0
    elif how == "rate":
        bodies[at]["sample_rate"] = 0.01
    elif how == "drop":
        del bodies[at]
    elif how == "add":
        bodies.append({**bodies[-1], "round": rng.choice([1, 4, 99]), "request": "0" * 64})
    elif how == "promise":
        bodies[0]["epsilon"] = 99.0
    else:
        one, two = (1, 4) if at < 4 else (3, 6)
        bodies[one], bodies[two] = bodies[two], bodies[one]
    where = [(name, None), (f"ledger/{name}.jsonl", None)]
    return Edit(made.changed(**ledger_files(name, bodies)), f"ledger {how}", where)


def edit_json(made: Made, rng: random.Random, _: Made) -> Edit:
    """A value in rounds.jsonl, the summary or the settings."""
    path = rng.choice([ROUNDS, SUMMARY, FEDERATION])
    if path == ROUNDS:
        lines = [json.loads(line) for line in made.files[ROUNDS].splitlines()]
        number = rng.randrange(len(lines))
        entry = lines[number]["platforms"][rng.choice(["shop", "films"])]
        target, key, value = rng.choice(
            [
                (lines[number], "seconds", 9.0),
                (lines[number], "adapter_sha256", "0" * 64),
                (entry, "answered", False),
                (entry, "steps", 77),
                (entry, "epsilon", 0.1),
                (entry, "reason", "no answer"),
                (entry, "envelope", "0" * 64),
            ]
        )
        target[key] = value
        content = "".join(json.dumps(line) + "\n" for line in lines)
        return Edit(made.changed(**{path: content.encode()}), f"{path} {key}", [(path, number)])
    values = json.loads(made.files[path])
    if path == SUMMARY:
        facts = values["platforms"]["shop"]
        target, key = rng.choice(
            [(values, "rounds"), (values, "adapter_sha256"), *((facts, name) for name in facts)]
        )
    else:
        target, key = rng.choice(
            [(values["privacy"], "sample_rate"), (values["training"], "rounds")]
        )
    target[key] = 1 if key != "rounds" else 2
    places = [(path, None)]
    return Edit(made.changed(**{path: json.dumps(values).encode()}), f"{path} {key}", places)


def delete(made: Made, rng: random.Random, _: Made) -> Edit:
    path = rng.choice(sorted(made.files))
    return Edit(made.changed(**{path: None}), f"no {path}", [(place_of(path), None)])


def other_adapter(made: Made, rng: random.Random, _: Made) -> Edit:
    released = made.evidence.adapter
    assert isinstance(released, Released)
    spoilt = rng.choice(
        [
            replace(released, sha256="0" * 64),
            replace(released, base={**released.base, "whitening": "0" * 64}),
            replace(released, base={**released.base, "encoder": "0" * 64}),
            "expected an adapter, got rubbish",
            None,
        ]
    )
    where = [(ADAPTER, None)]
    return Edit(replace(made.evidence, adapter=spoilt), "another adapter", where)


EDITS = (
    *(flip, lines_edit, cut_bytes, swap_logs, replay_log, roll_back, resign_entry),
    *(resign_log, reseal_ledger, edit_json, delete, other_adapter),
)
