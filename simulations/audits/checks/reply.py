"""Does a reply hold the update of the trained tensors, public constants, and nothing else?

Two platforms that differ in their users alone answer the same request.  Names, sizes and every
number of what they send, but for the update itself, must be the same.  Two more have the same
update, for they differ in a user with nothing to learn from: then every text must be the same too,
a hash of private data among them.
"""

import json
from collections.abc import Iterator
from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from shared.protocol import TrainRequest
from shared.protocol.grid import ACROSS
from shared.protocol.updates import LEVELS
from simulations.audits.checks.check import Cause, Check, Outcome
from simulations.audits.checks.site import (
    CLIP_NORM,
    RATE,
    STEPS,
    folders,
    histories,
    released,
    request,
    site,
)

FREE = ("signature", "key_id", "head")
"""May differ: they follow from secrets of the platform (the ledger's head from the round's)."""
CONSTANTS = {
    "steps": STEPS,
    "noise_multiplier": 1.0,
    "clip_norm": CLIP_NORM,
    "sample_rate": RATE,
}


def check(seed: int) -> Outcome:
    """See the module."""
    asked = request()
    with folders() as folder:
        sent = [
            site(folder / str(users), histories(users, seed + users), unsafe_seed=seed)
            .train(asked)
            .to_records()
            for users in (5, 23)
        ]
    for records in sent:
        wrong = _wrong(records, asked)
        if wrong:
            return Outcome(Cause.MORE_SENT, detail=wrong)
    few, many = (list(_told(records)) for records in sent)
    if few != many:
        return Outcome(Cause.MORE_SENT, detail="names, sizes or numbers move with the users")
    return _texts(seed, asked)


def _texts(seed: int, asked: TrainRequest) -> Outcome:
    fewer, more = _with_one_update(seed, asked)
    for name, record in fewer.items():
        for key, value in record.items():
            if isinstance(value, Array) or key in FREE:
                continue
            one, other = (_without(_parsed(found), found) for found in (value, more[name][key]))
            if one != other:
                return Outcome(Cause.MORE_SENT, detail=f"{key} moves with the users")
    return Outcome()


def _with_one_update(seed: int, asked: TrainRequest) -> list[RecordDict]:
    """Messages of two platforms whose updates are the same, but for rounding in 1 seed of 300."""
    sent: list[RecordDict] = []
    for more in range(4):
        people = histories(5, seed + more)
        with folders() as folder:
            replies = [
                site(folder / str(number), data, unsafe_seed=seed).train(asked)
                for number, data in enumerate((people, [*people, [0]]))
            ]
        sent = [reply.to_records() for reply in replies]
        one, other = (released(reply, asked) for reply in replies)
        if (one == other).all():
            break
    return sent


def _without(value: Any, otherwise: Any) -> Any:
    """A parsed message without what is free to differ; `otherwise` for what is no message."""
    if isinstance(value, dict):
        return {key: _without(own, own) for key, own in value.items() if key not in FREE}
    return otherwise


def _wrong(records: RecordDict, asked: TrainRequest) -> str:
    arrays = {name for name, record in records.items() if isinstance(record, ArrayRecord)}
    update = records.get("update")
    if arrays != {"update"} or not isinstance(update, ArrayRecord):
        return f"tensors in {sorted(arrays)}"
    sizes = {name: len(array.data) for name, array in update.items()}
    if sizes != {name: -(-asked.adapter[name].size // ACROSS) for name in asked.trained}:
        return f"tensors of {sizes} bytes"
    levels = records.get(LEVELS)
    wanted = {f"{name}.{what}" for name in asked.trained for what in ("level", "shape")}
    if not isinstance(levels, ConfigRecord) or set(levels) != wanted:
        return f"levels {sorted(levels) if isinstance(levels, ConfigRecord) else None}"
    constants = records.get("constants")
    if not isinstance(constants, ConfigRecord) or dict(constants) != CONSTANTS:
        return f"constants {sorted(constants) if isinstance(constants, ConfigRecord) else None}"
    return ""


def _told(records: RecordDict) -> Iterator[tuple[str, object]]:
    """Every name, size and number of a message, but for its tensors' values and its hashes."""
    for name, record in sorted(records.items()):
        yield name, type(record).__name__
        for key, value in record.items():
            if isinstance(value, Array):
                yield f"{name}.{key}", (value.dtype, tuple(value.shape), len(value.data))
            elif name == LEVELS and key.endswith(".level"):  # a part of the update
                yield f"{name}.{key}", type(value).__name__
            elif isinstance(value, bytes):
                yield f"{name}.{key}", [len(value), *_numbers(_parsed(value))]
            elif isinstance(value, str):
                yield f"{name}.{key}", len(value)
            else:
                yield f"{name}.{key}", value


def _parsed(content: Any) -> Any:
    try:
        return json.loads(content) if isinstance(content, bytes) else None
    except ValueError:
        return None


def _numbers(value: Any) -> Iterator[object]:
    if isinstance(value, dict):
        for key in sorted(value):
            yield key
            yield from _numbers(value[key])
    elif isinstance(value, list):
        for one in value:
            yield from _numbers(one)
    else:
        yield len(value) if isinstance(value, str) else value


CHECK = Check("reply", ("release",), check)
