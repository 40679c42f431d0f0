"""What a platform has released so far, round by round, and what that makes of the shared adapter.

    folder/
    └── 0001.safetensors, 0002.safetensors, ...   the update of each round, as it travelled: codes
                                                  (`shared.protocol.grid`), level and shape of each
                                                  tensor, or the numbers themselves

The platform's own model in round r is a part of the shared adapter and a part of the sum of what
the platform itself released in earlier rounds.  Its gradients are taken there, and there its users
are served: the platform goes as far along its own users' wishes as it would alone, and is carried
along by everybody else's (docs/decisions/0012-each-platform-keeps-what-it-released.md).

Privacy: everything here has been released already, clipped and noised.  To read it again costs
nothing (post-processing), and a round that starts from it depends on the users only through earlier
releases, which is what adaptive composition allows.  It must therefore never hold anything but
what left: no exact sums, nothing from before the noise.

A round that is asked again is answered from the rounds before it, whatever came after.

Shapes: `D` width, `R` columns of a block.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from shared.adapters import Adapter
from shared.config.training import Interpolation
from shared.errors import AdapterError, RunError
from shared.files import write_bytes
from shared.protocol.grid import from_codes, on_grid, to_codes

_CODES, _LEVEL, _SHAPE = ".codes", ".level", ".shape"


@dataclass(frozen=True)
class Released:
    """One platform's released updates.

    Args:
        folder: made when the first is kept.
    """

    folder: Path

    def keep(self, round_: int, update: Adapter) -> None:
        """Keep the update of a round; the same round's earlier one is replaced.

        Raises:
            StorageError: the disk refused.
        """
        write_bytes(self._path(round_), save(_packed(update)))

    def total(self, through: int) -> Adapter:
        """Name -> float32 sum of the updates of rounds 1 to `through`; rounds that are not here
        count nothing.

        Raises:
            RunError: a file is damaged.
        """
        found: Adapter = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            if path.stem.isdecimal() and int(path.stem) <= through:
                for name, value in self.update(int(path.stem)).items():
                    found[name] = found.get(name, np.float32(0)) + value
        return found

    def update(self, round_: int) -> Adapter:
        """Name -> float32 update of a round that was kept, with the numbers that travelled.

        Raises:
            RunError: the file is missing or damaged.
        """
        path = self._path(round_)
        try:
            update = _unpacked(load(path.read_bytes()))
            if not all(np.isfinite(value).all() for value in update.values()):
                raise ValueError("not finite")
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise RunError(
                expected="an update as it was released",
                got=type(error).__name__,
                where=str(path),
                remedy="Remove the file: the platform's model then goes on without that round.",
            ) from error
        return update

    def own(self, adapter: Adapter, parts: Interpolation, *, through: int) -> Adapter:
        """The platform's own model: `interpolated` with `total(through)`.

        Raises:
            RunError: a file is damaged.
            AdapterError: the updates are of another base model.
        """
        total = self.total(through)
        for name, value in total.items():
            if name not in adapter or adapter[name].shape != value.shape:
                raise AdapterError(
                    expected=f"updates of {len(adapter)} tensors like the adapter's",
                    got=f"{name} of shape {value.shape}",
                    where=str(self.folder),
                    remedy="Move the folder away: its updates are another model's.",
                )
        return interpolated(adapter, total, parts)

    def _path(self, round_: int) -> Path:
        return self.folder / f"{round_:04d}.safetensors"


def interpolated(adapter: Adapter, total: Adapter, parts: Interpolation) -> Adapter:
    """`parts.shared` of the shared adapter and `parts.own` of the sum of a platform's releases.

    Who has released nothing has the shared adapter.
    """
    if not total:
        return adapter
    own = {name: np.float32(parts.shared) * value for name, value in adapter.items()}
    for name, value in total.items():
        own[name] = (own[name] + np.float32(parts.own) * value).astype(np.float32)
    return own


def _packed(update: Adapter) -> dict[str, NDArray[np.generic]]:
    """Codes of what lies on a grid, half precision of what came before there was one."""
    found: dict[str, NDArray[np.generic]] = {}
    for name, value in update.items():
        if on_grid(value) is value:
            codes, level = to_codes(value)
            found[name + _CODES] = np.frombuffer(codes, np.uint8)
            found[name + _LEVEL] = np.array([level], np.float32)
            found[name + _SHAPE] = np.array(value.shape, np.int64)
        else:
            with np.errstate(over="ignore"):  # an infinite one is refused when it is read
                found[name] = value.astype(np.float16)
    return found


def _unpacked(stored: dict[str, NDArray[np.generic]]) -> Adapter:
    found: Adapter = {}
    for name, value in stored.items():
        if name.endswith(_CODES):
            own = name.removesuffix(_CODES)
            shape = tuple(int(size) for size in stored[own + _SHAPE])
            found[own] = from_codes(value.tobytes(), float(stored[own + _LEVEL][0]), shape)
        elif not name.endswith((_LEVEL, _SHAPE)):
            found[name] = value.astype(np.float32)
    return found
