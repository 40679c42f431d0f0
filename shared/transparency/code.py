"""Which code ran: one hash over the installed source of some of the house's floors."""

from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from shared.errors import RunError

ROOT = Path(__file__).resolve().parents[2]
PLATFORM_CODE = ("shared", "clients")
COORDINATOR_CODE = ("shared", "server")


@lru_cache(maxsize=8)
def code_sha256(*packages: str, root: Path = ROOT) -> str:
    """Hex SHA-256 over the `.py` files of `packages`: paths and contents, in the order of paths.

    Computed once a process: it speaks of the files as they were when this was first called.

    Raises:
        RunError: a package has no source here.
    """
    digest = sha256()
    for package in sorted(packages):
        files = sorted((root / package).rglob("*.py"))
        if not files:
            raise RunError(
                expected=f"the source of {package}", got="none", where=str(root / package)
            )
        for file in sorted(files, key=lambda path: path.relative_to(root).as_posix()):
            for field in (file.relative_to(root).as_posix().encode(), file.read_bytes()):
                digest.update(len(field).to_bytes(8, "little") + field)
    return digest.hexdigest()
