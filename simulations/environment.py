"""What surrounds a command: where encoded catalogues are kept, and that nothing phones home."""

import os
from pathlib import Path

CACHE_VARIABLE = "FEDINTEREST_CACHE"


def cache_folder() -> Path:
    """Where encoded catalogues are kept between runs."""
    named = os.environ.get(CACHE_VARIABLE)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(named) if named else Path(base) / "fedinterest"


def no_telemetry() -> None:
    """Before Flower is imported: nothing is sent, looked up, or installed at a run's start."""
    for name, value in (
        ("FLWR_TELEMETRY_ENABLED", "0"),
        ("FLWR_DISABLE_UPDATE_CHECK", "1"),
        ("FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION", "1"),
    ):
        os.environ.setdefault(name, value)
