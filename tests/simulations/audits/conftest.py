"""Two finished runs in memory, for whoever changes them."""

import pytest

from tests.simulations.audits.made_record import Made, made_record


@pytest.fixture(scope="session")
def made() -> Made:
    return made_record()


@pytest.fixture(scope="session")
def other() -> Made:
    """Another run of the same platforms, under other keys."""
    return made_record(seed=1)
