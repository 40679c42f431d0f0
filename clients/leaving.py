"""What a platform trains on, without some users.

A note of what is to be done is on disk first, and histories are replaced last: whoever finds the
note does what is left of it, so that held-out events, which go by place, always fit the histories
once `finish` has returned.
"""

import json
from collections.abc import Set
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clients.platform import Platform
from clients.prepare import without
from shared.files import replacing, sha256, storage_error, write_json

_NOTE = "leaving.json"


def rewrite(folder: Path, gone: Set[str], *, reason: str) -> None:
    """The stored histories without some users; the held-out events, which go by place, likewise.

    Args:
        folder: the platform's.
        gone: pseudonyms.
        reason: what their events are counted as dropped for.

    Raises:
        StorageError: the disk refused; do it again.
    """
    sequences = Platform.open(folder).sequences
    left = without(sequences, set(gone))
    facts = None
    if (folder / "facts.json").is_file():
        facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        apart = len(_held_out(folder, len(sequences)))
        dropped = len(sequences.items) - len(left.items) + apart * (len(sequences) - len(left))
        facts["users"] = len(left)
        facts["events"] -= dropped
        facts["dropped"][reason] = facts["dropped"].get(reason, 0) + dropped
    before = sha256((folder / "sequences.npz").read_bytes())
    write_json(folder / _NOTE, {"gone": sorted(gone), "facts": facts, "sequences": before})
    finish(folder)


def finish(folder: Path) -> None:
    """Do what a note says, or what is left of it; nothing where there is none.

    Raises:
        StorageError: the disk refused; do it again.
    """
    try:
        note = json.loads((folder / _NOTE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    histories = folder / "sequences.npz"
    # Another hash: it was done to the end, or the log was prepared anew meanwhile.
    if sha256(histories.read_bytes()) == note["sequences"]:
        sequences = Platform.open(folder).sequences
        gone = set(note["gone"])
        if kept := _held_out(folder, len(sequences)):
            places = [place for place, user in enumerate(sequences.users) if user in gone]
            with replacing(folder / "heldout.npz") as temporary, open(temporary, "wb") as file:
                np.savez(file, **{name: np.delete(one, places) for name, one in kept.items()})  # type: ignore[arg-type]
        if note["facts"] is not None:
            write_json(folder / "facts.json", note["facts"])
        without(sequences, gone).save(histories)
    try:
        (folder / _NOTE).unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error, folder / _NOTE) from error


def destroy(folder: Path) -> None:
    """Remove the secrets of rounds in `folder`.

    Raises:
        StorageError: one cannot be removed.
    """
    for path in folder.glob("*.secret"):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, path) from error


def _held_out(folder: Path, users: int) -> dict[str, NDArray[np.int32]]:
    """The held-out events by use, one a user; nothing where they are of other users."""
    path = folder / "heldout.npz"
    if not path.is_file():
        return {}
    with np.load(path, allow_pickle=False) as found:
        kept = {name: found[name] for name in found.files}
    return kept if all(len(value) == users for value in kept.values()) else {}
