"""What a tracker is shown of a round: chosen fields of its line in rounds.jsonl."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from server.rounds.log import Line

NUMBERS = ("epsilon", "update_norm", "uplink_bytes", "downlink_bytes", "answered")
"""Fields of a platform's entry that are curves, one a platform: named FIELD/PLATFORM."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One round.

    Args:
        round: which; 0 is the set-up.
        numbers: name of a curve -> its finite value in this round.
        adapter_sha256: hash of the adapter after the round; empty where there is none.
        left_out: platform -> why its update does not count.
    """

    round: int
    numbers: Mapping[str, float]
    adapter_sha256: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)


def point_of(line: Line) -> Point:
    """The point of a line in rounds.jsonl.

    Fields are chosen by name, so that what somebody adds to the line (a simulation: exact metrics)
    is not tracked by accident.  What is not known (None) and what has no place on an axis (an
    epsilon of "inf") gives no value.
    """
    numbers = {"round/seconds": float(line["seconds"])}
    left_out = {}
    for platform, entry in line["platforms"].items():
        for name in NUMBERS:
            value = entry.get(name)
            if isinstance(value, bool | int | float) and math.isfinite(value):
                numbers[f"{name}/{platform}"] = float(value)
        if not entry["answered"]:
            left_out[platform] = f"{entry['outcome']}: {entry['reason']}"
    numbers["round/answered"] = float(len(line["platforms"]) - len(left_out))
    return Point(
        round=line["round"],
        numbers=numbers,
        adapter_sha256=line["adapter_sha256"],
        left_out=left_out,
    )
