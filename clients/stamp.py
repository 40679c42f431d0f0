"""What tells a platform's files from their successors, without reading them.

Files are replaced and never written into (`shared.files`), so that a changed one is another file.
"""

from collections.abc import Iterable
from pathlib import Path

FILES = ("platform.json", "catalogue.json", "states.npy", "sequences.npz")
"""What a platform is opened from; see `clients.platform`."""

Stamp = tuple[tuple[str, int, int, int], ...]


def stamp(paths: Iterable[Path]) -> Stamp | None:
    """Of these files in this order; None where one is missing."""
    try:
        found = [(path.name, path.stat()) for path in paths]
    except OSError:
        return None
    return tuple((name, one.st_ino, one.st_mtime_ns, one.st_size) for name, one in found)
