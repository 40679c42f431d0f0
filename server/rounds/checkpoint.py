"""Checkpoints: one file a round, whole or absent, checked when read.

A checkpoint is one safetensors file `checkpoints/round-000012.safetensors`: the adapter, the
optimiser's state and the base in its tensors; round, names in order, settings hash, spending so far
and a SHA-256 over all of it in its header.  Rules:
1. A file is written beside its name, synced and renamed: a crash leaves the one before.
2. A damaged newest file is said so and passed over for the one before.  If no file is whole the run
   stops: training never restarts at round 0 by itself.
3. A file of another version, or of a run with other settings, is refused.
"""

import json
import logging
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors_numpy

from server.rounds.aggregation import Adapter, State
from shared.errors import RunError
from shared.files import sha256, sweep, write_bytes
from shared.protocol import arrays_sha256
from shared.records import c_order

VERSION = 1
_FILE = re.compile(r"round-(\d{6})\.safetensors")
log = logging.getLogger("fedinterest.server")


class DamagedCheckpoint(RunError):
    """This file cannot be read; the one before it may be whole."""


Spending = dict[str, list[tuple[float, float, int]]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """The coordinator's whole state after a round.

    Args:
        round: last finished round; 0 after the set-up.
        adapter: float32 tensors, in order.
        optimiser: state of the server optimiser.
        base: the whitening's arrays.
        settings_sha256: of the run's settings.
        spent: platform -> (sample_rate, noise_multiplier, steps) of each answer so far.
    """

    round: int
    adapter: Adapter
    optimiser: State
    base: dict[str, NDArray[np.float32]]
    settings_sha256: str
    spent: Spending = field(default_factory=dict)


def path_of(folder: Path, round_: int) -> Path:
    """Where the checkpoint of `round_` lies."""
    return folder / f"round-{round_:06d}.safetensors"


def save(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write `checkpoint` atomically and durably.

    Raises:
        StorageError: the disk refused.
    """
    groups: dict[str, dict[str, Any]] = {
        "adapter": checkpoint.adapter,
        "base": checkpoint.base,
        **{f"optimiser.{slot}": arrays for slot, arrays in checkpoint.optimiser.items()},
    }
    state = {
        "version": VERSION,
        "round": checkpoint.round,
        "names": {group: list(arrays) for group, arrays in groups.items()},
        "settings_sha256": checkpoint.settings_sha256,
        "spent": checkpoint.spent,
    }
    tensors = {
        f"{group}/{name}": c_order(value)
        for group, arrays in groups.items()
        for name, value in arrays.items()
    }
    text = json.dumps(state, sort_keys=True, allow_nan=False)
    header = {"state": text, "sha256": _seal(text, tensors)}
    target = path_of(folder, checkpoint.round)
    write_bytes(target, safetensors_numpy.save(tensors, metadata=header))
    sweep(folder)
    return target


def load(path: Path) -> Checkpoint:
    """Read one checkpoint.

    Raises:
        DamagedCheckpoint: it is missing or damaged.
        RunError: it is of another version.
    """
    try:
        content = path.read_bytes()
        tensors = safetensors_numpy.load(content)
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])["__metadata__"]
        state = json.loads(header["state"])
        sealed = header["sha256"]
        version = state["version"]
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise _broken(path, type(error).__name__) from error
    if _seal(header["state"], tensors) != sealed:
        raise _broken(path, "content that does not match its SHA-256")
    if version != VERSION:
        raise RunError(
            expected=f"a checkpoint of version {VERSION}",
            got=f"version {version}",
            where=str(path),
            remedy="Resume it with the version of fedinterest that wrote it, or start a new run.",
        )
    groups = {
        group: {name: tensors[f"{group}/{name}"] for name in names}
        for group, names in state["names"].items()
    }
    return Checkpoint(
        round=state["round"],
        adapter=groups.pop("adapter"),
        base=groups.pop("base"),
        optimiser={group.removeprefix("optimiser."): arrays for group, arrays in groups.items()},
        settings_sha256=state["settings_sha256"],
        spent={name: [tuple(one) for one in charges] for name, charges in state["spent"].items()},
    )


def rounds(folder: Path) -> list[int]:
    """The rounds that have a checkpoint file, in order; the files are not read."""
    matches = (_FILE.fullmatch(path.name) for path in folder.glob("round-*.safetensors"))
    return sorted(int(match.group(1)) for match in matches if match)


def thin(folder: Path, *, every: int) -> None:
    """Remove checkpoints that nobody will ask for.

    Kept are those of every `every`-th round, from which curves are drawn, and the newest two, so
    that a damaged one can be passed over.
    """
    for round_ in rounds(folder)[:-2]:
        if round_ % every:
            path_of(folder, round_).unlink(missing_ok=True)


def latest(folder: Path, *, settings_sha256: str | None = None) -> Checkpoint | None:
    """The newest whole checkpoint; None where there is none at all.

    Args:
        settings_sha256: refuse a checkpoint of a run with other settings.

    Raises:
        RunError: every checkpoint is damaged, or the newest whole one is of another version or of
            a run with other settings.
    """
    found = rounds(folder)
    for round_ in reversed(found):
        try:
            checkpoint = load(path_of(folder, round_))
        except DamagedCheckpoint as error:
            log.warning("checkpoint of round %d is passed over: %s", round_, error)
            continue
        if settings_sha256 is not None and checkpoint.settings_sha256 != settings_sha256:
            raise RunError(
                expected=f"a run with settings {settings_sha256[:12]}",
                got=f"one with {checkpoint.settings_sha256[:12]}",
                where=str(path_of(folder, round_)),
                remedy="Resume with the settings and the version of fedinterest that the run began "
                "with (another version may know more settings), or start a new run folder.",
            )
        return checkpoint
    if found:
        raise RunError(
            expected="a whole checkpoint",
            got=f"{len(found)} damaged",
            where=str(folder),
            remedy="Restore one of the files, or start a new run folder.",
        )
    return None


def _seal(state: str, tensors: dict[str, NDArray[Any]]) -> str:
    ordered = {name: tensors[name] for name in sorted(tensors)}
    return sha256(f"{state}\n{arrays_sha256(ordered)}".encode())


def _broken(path: Path, got: str) -> DamagedCheckpoint:
    return DamagedCheckpoint(
        expected="a whole checkpoint",
        got=got,
        where=str(path),
        remedy="The one before it can be resumed from.",
    )
