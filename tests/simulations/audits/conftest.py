"""Two finished runs in memory, for whoever changes them; and real ones on disk."""

from pathlib import Path

import pytest

from tests.simulations.audits.made_record import Made, made_record
from tests.simulations.audits.runs import audited, call, federation, simulated


@pytest.fixture(scope="session")
def made() -> Made:
    return made_record()


@pytest.fixture(scope="session")
def other() -> Made:
    """Another run of the same platforms, under other keys."""
    return made_record(seed=1)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`first`, with canaries and attacks; `seeded`; and `open`, which is not private.

    Not to be changed, but for what `audit report` writes into them.  `cache` beside them is what
    FEDINTEREST_CACHE has to be.
    """
    toml = federation(
        tmp_path_factory.mktemp("runs") / "federation",
        ("rank = 8", "rank = 32"),
        ("rounds = 4", "rounds = 8\nlearning_rate = 20.0"),
    )
    folder = toml.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDINTEREST_CACHE", str(folder / "cache"))
        simulated(
            toml,
            first=(),
            seeded=("--seed", "3", "--rounds", "1"),
            open=("--epsilon", "inf", "--rounds", "1"),
        )
        audited(folder / "cache")
        first = folder / "first"
        assert call("audit", "attack", first, "--seed", "1").exit_code == 0
        few = ("--canaries", "60", "--simulations", "5")
        assert call("audit", "canary", first, *few).exit_code == 0
    return folder
