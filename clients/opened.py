"""Platforms that stay open between messages, as long as their files are the same.

Reading a catalogue's states, and whitening them, takes longer than a small round.  A file that was
replaced (`forget`, a new promise) is another file, and the platform is opened afresh.
"""

from dataclasses import dataclass, field
from pathlib import Path

from clients.platform import Platform
from clients.stamp import FILES, Stamp, stamp

_MOST = 8


@dataclass
class OpenPlatforms:
    """The last few platforms of this process, by folder."""

    _known: dict[Path, tuple[Stamp, Platform]] = field(default_factory=dict)

    def open(self, folder: Path) -> Platform:
        """The platform in `folder`: the one from before where no file has changed.

        Raises:
            RunError: it is no platform's folder.
        """
        files = [folder / name for name in FILES]
        now = stamp(files)
        known = self._known.pop(folder, None)
        if known is None or now is None or known[0] != now:
            platform = Platform.open(folder)
            if now is None or stamp(files) != now:
                return platform  # it is being written at this moment
            known = (now, platform)
        self._known[folder] = known
        while len(self._known) > _MOST:
            del self._known[next(iter(self._known))]
        return known[1]
