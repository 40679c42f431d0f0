"""A tiny platform on disk, and a throw-away PostgreSQL."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clients.sources.ingest import Ingested, ingest
from shared.config.federation import PlatformSettings

SECRET = b"0123456789abcdef0123456789abcdef"
NOW = 1_700_000_000.0
ITEMS = 'id,name,kind\na,Apple tart,food > sweet\nb,Blue kettle,home\nc,"Cord, red",\n'


@pytest.fixture
def platform(tmp_path: Path) -> Callable[..., Ingested]:
    """platform(log text, events={...}, items={...}, cleaning={...}) -> Ingested."""

    def read(
        log: str | bytes | None = None,
        *,
        catalogue: str | bytes = ITEMS,
        events: dict[str, Any] | None = None,
        items: dict[str, Any] | None = None,
        cleaning: dict[str, Any] | None = None,
        name: str = "log.csv",
    ) -> Ingested:
        if log is not None:
            (tmp_path / name).write_bytes(log.encode() if isinstance(log, str) else log)
        catalogue = catalogue.encode() if isinstance(catalogue, str) else catalogue
        (tmp_path / "items.csv").write_bytes(catalogue)
        settings = PlatformSettings.load(
            {
                "events": {"path": tmp_path / name, "user": "u", "item": "i", **(events or {})},
                "items": {"path": tmp_path / "items.csv", "item": "id", "title": "name"}
                | (items or {}),
                "cleaning": cleaning or {},
            },
            where="test",
        )
        return ingest(settings, SECRET, NOW)

    return read


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """SQLAlchemy URL of a fresh cluster on a Unix socket; skips where no server is installed."""
    places = [os.path.dirname(shutil.which("initdb") or ""), *_installed()]
    binaries = next((Path(p) for p in places if p and (Path(p) / "pg_ctl").exists()), None)
    if binaries is None:
        pytest.skip("no PostgreSQL server (initdb, pg_ctl) in PATH or /usr/lib/postgresql")
    account: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        try:
            entry = next(
                pwd.getpwnam(name) for name in ("postgres", "nobody") if _account_exists(name)
            )
        except StopIteration:
            pytest.skip("running as root, and there is no unprivileged account for PostgreSQL")
        account = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # short: a socket's path is bounded
    if account:
        os.chown(folder, account["user"], account["group"])
    data = folder / "data"

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [str(binaries / program), *arguments],
            check=True,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
            **account,
        )

    try:
        run("initdb", "-D", str(data), "-U", "reader", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
        run("pg_ctl", "-D", str(data), "-w", "-o", options, "-l", str(folder / "log"), "start")
    except (subprocess.SubprocessError, OSError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"PostgreSQL would not start here: {error}")
    try:
        yield f"postgresql+psycopg://reader@/postgres?host={folder}"
    finally:
        run("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


def _installed() -> list[str]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return [str(path) for path in found]


def _account_exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
