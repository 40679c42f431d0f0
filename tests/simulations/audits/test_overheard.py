"""An auditor hears the noised update, and only where the reply is made of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from clients import platform as platforms
from shared.protocol import PROTOCOL_VERSION, travelling
from simulations.audits.checks.site import histories, request, site
from simulations.audits.overheard import overhearing


def test_what_a_reply_is_made_of(tmp_path: Path) -> None:
    asked = request()
    installed = platforms.travelling
    with overhearing() as heard:
        first = site(tmp_path / "a", histories(9, 0), unsafe_seed=1).train(asked)
        second = site(tmp_path / "b", histories(9, 1), unsafe_seed=2).train(asked)
        other = {name: value + 1 for name, value in second.update.items()}
        assert heard.of(replace(second, update=other)) is None
        found = heard.of(second)
        assert found is not None
        assert heard.of(first) is None  # what came before is forgotten
        assert heard.of(second) is None
    assert platforms.travelling is installed
    for name, value in travelling(found, PROTOCOL_VERSION).items():
        assert np.array_equal(value, second.update[name])
        assert len(np.unique(found[name])) > len(np.unique(value)) == 4
