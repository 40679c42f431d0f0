"""Platforms that stay open between messages, as long as their files are the same.

Reading a catalogue's states, and whitening them, takes longer than a small round.  A file that was
replaced (`forget`, a new promise) is another file, and the platform is opened afresh.
"""

from dataclasses import dataclass, field
from pathlib import Path

from clients.platform import Platform

_FILES = ("platform.json", "catalogue.json", "states.npy", "sequences.npz")
_MOST = 8

Stamp = tuple[tuple[int, int, int], ...]


@dataclass
class OpenPlatforms:
    """The last few platforms of this process, by folder."""

    _known: dict[Path, tuple[Stamp, Platform]] = field(default_factory=dict)

    def open(self, folder: Path) -> Platform:
        """The platform in `folder`: the one from before where no file has changed.

        Raises:
            RunError: it is no platform's folder.
        """
        stamp = _stamp(folder)
        known = self._known.pop(folder, None)
        if known is None or stamp is None or known[0] != stamp:
            platform = Platform.open(folder)
            if stamp is None or _stamp(folder) != stamp:
                return platform  # it is being written at this moment
            known = (stamp, platform)
        self._known[folder] = known
        while len(self._known) > _MOST:
            del self._known[next(iter(self._known))]
        return known[1]


def _stamp(folder: Path) -> Stamp | None:
    """What tells a file from its successor; None where one is missing."""
    try:
        found = [(folder / name).stat() for name in _FILES]
    except OSError:
        return None
    return tuple((one.st_ino, one.st_mtime_ns, one.st_size) for one in found)
