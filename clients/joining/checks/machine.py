"""Checks of the machine and of the partner's folder."""

import importlib.metadata
import os
import shutil
import stat
import sys
from pathlib import Path

from clients.joining.checks.found import Found
from clients.node.control import PIDS
from clients.node.up import listens
from shared.errors import ConfigError, StorageError
from shared.processes import read_status

MIN_DISK_MIB = 1024
MIN_MEMORY_MIB = 1024
_PACKAGES = ("torch", "flwr", "transformers", "opacus", "dp-accounting", "cryptography", "polars")
_FLOWER = ((1, 41), (1, 43))


def settings(found: Found) -> str:
    """client.toml is valid."""
    own = found.home.settings.platform
    unsafe = "" if found.settings.unsafe.seed is None else "; UNSAFE: a seed is set"
    return f"{own.name} ({own.kind}), population {own.population:,}{unsafe}"


def permissions(found: Found) -> str:
    """Nobody else can read the keys."""
    open_to_others = []
    for path in (found.folder.path, found.folder.keys, *found.folder.keys.glob("*")):
        secret = path.is_dir() or path.suffix in (".key", ".secret")
        if secret and stat.S_IMODE(path.stat().st_mode) & 0o077:
            open_to_others.append(path.name)
    if open_to_others:
        raise ConfigError(
            expected="files that only their owner can read",
            got=", ".join(sorted(open_to_others)),
            where=str(found.folder.path),
            remedy=f"chmod -R go= {found.folder.path}",
        )
    return "private"


def disk(found: Found) -> str:
    """There is room for what must be written."""
    free = shutil.disk_usage(found.folder.path).free // 1024**2
    if free < MIN_DISK_MIB:
        raise StorageError(
            expected=f"{MIN_DISK_MIB} MiB free",
            got=f"{free} MiB",
            where=str(found.folder.path),
            remedy="Free some space: a ledger that cannot be written stops training.",
        )
    return f"{free:,} MiB free"


def memory(found: Found) -> str:
    """There is memory to train in."""
    text = Path("/proc/meminfo").read_text(encoding="ascii")
    rows = dict(line.split(":", 1) for line in text.splitlines())
    free = int(rows["MemAvailable"].split()[0]) // 1024
    wanted = max(MIN_MEMORY_MIB, found.policy.max_memory_mib or 0)
    if free < wanted:
        raise ConfigError(
            expected=f"{wanted} MiB of memory",
            got=f"{free} MiB",
            where="policy, max_memory_mib",
            remedy="Use a larger machine, or lower policy.max_memory_mib.",
        )
    return f"{free:,} MiB available"


def ports(found: Found) -> str:
    """The operations port is free."""
    port = found.settings.operations.port
    running = read_status(found.folder.state / PIDS) is not None
    if port and not running and listens(port):
        raise ConfigError(
            expected=f"a free port {port} on 127.0.0.1",
            got="one that is taken",
            where="operations.port",
            remedy="Choose another, or 0 for any.",
        )
    return "in use by this platform" if running else "free"


def python(_: Found) -> str:
    """Python and the system are such as it needs."""
    if not (3, 11) <= sys.version_info[:2] < (3, 14):
        raise ConfigError(
            expected="Python 3.11, 3.12 or 3.13",
            got=sys.version.split()[0],
            where="python",
            remedy="Install one of them.",
        )
    if not Path("/proc/self/stat").is_file() or os.name != "posix":
        raise ConfigError(expected="Linux", got=sys.platform, where="python")
    return sys.version.split()[0]


def packages(_: Found) -> str:
    """All packages are there, and Flower's version is one that is known."""
    missing = []
    for name in _PACKAGES:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        raise ConfigError(
            expected="all packages that fedinterest needs",
            got=f"no {', '.join(missing)}",
            where="packages",
            remedy="Install it anew: pip install fedinterest.",
        )
    flower = importlib.metadata.version("flwr")
    number = tuple(int(part) for part in flower.split(".")[:2])
    if not _FLOWER[0] <= number < _FLOWER[1]:
        raise ConfigError(
            expected="flwr 1.41 or 1.42",
            got=flower,
            where="packages",
            remedy="pip install 'flwr>=1.41,<1.43'",
        )
    return f"fedinterest {importlib.metadata.version('fedinterest')}, flwr {flower}"
