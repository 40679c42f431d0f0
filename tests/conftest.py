"""What holds for every test: nobody waits for the disk, and nginx is where it is needed."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import ConfigError
from shared.nginx import find_nginx


def _written(descriptor: int) -> None:
    """`os.fsync` without the wait; it still refuses what is no open file."""
    os.fstat(descriptor)


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main() -> Iterator[None]:
    """`_written` for `os.fsync`, in this process.

    A file that is not on the disk yet is lost when the power goes, and no test cuts it.  Tests that
    count these calls, or let them fail, replace them as before; the programs that tests start wait
    for the disk as ever.  A suite that waits ten thousand times spends minutes on it.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", _written)
        return (yield)


@pytest.fixture(scope="session")
def nginx() -> Path:
    """The proxy that deployments use; where it is not installed, their tests skip."""
    try:
        return find_nginx()
    except ConfigError as error:
        pytest.skip(f"no nginx: {error.remedy}")
