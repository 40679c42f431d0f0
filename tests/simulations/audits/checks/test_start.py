"""The check of where a round starts sees both parts of a platform's own model."""

from dataclasses import replace

import pytest

from clients import released
from shared.adapters import Adapter
from shared.config.training import Interpolation
from simulations.audits.checks import Cause
from simulations.audits.checks.start import CHECK


@pytest.mark.parametrize("changed", [{"shared": 1.0}, {"own": 0.6}, {"shared": 0.25}])
def test_another_part_is_seen(monkeypatch: pytest.MonkeyPatch, changed: dict[str, float]) -> None:
    """The last change is none: 1/4 is what the check asks for."""
    installed = released.interpolated

    def other(adapter: Adapter, total: Adapter, parts: Interpolation) -> Adapter:
        return installed(adapter, total, replace(parts, **changed))

    monkeypatch.setattr(released, "interpolated", other)
    found = CHECK.run(0)
    assert found.cause == (None if changed == {"shared": 0.25} else Cause.STARTS_ELSEWHERE)
