"""The finished adapter, as a platform keeps it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clients.delivered import FILE, keep_delivered, read_delivered
from shared.errors import AdapterError, ProtocolError, RunError
from shared.protocol import AdapterDelivery, arrays_sha256
from simulations.audits.checks.site import histories, request, site


def delivery() -> AdapterDelivery:
    asked = request()
    rng = np.random.default_rng(0)
    adapter = {
        name: rng.normal(size=value.shape).astype(np.float32)
        for name, value in asked.adapter.items()
    }
    return AdapterDelivery(round=2, adapter=adapter, base=asked.base)


def test_it_is_kept_and_read(tmp_path: Path) -> None:
    assert read_delivered(tmp_path) is None
    films = site(tmp_path, histories(4, 0))
    sent = delivery()
    receipt = films.receive(sent)
    assert (receipt.platform, receipt.adapter) == ("films", arrays_sha256(sent.adapter))
    found = read_delivered(tmp_path)
    assert found is not None
    assert found.round == 2
    for mine, theirs in ((found.adapter, sent.adapter), (found.base, sent.base)):
        assert list(mine) == list(theirs)
        assert all(np.array_equal(mine[name], theirs[name]) for name in mine)
    site(tmp_path, histories(4, 0))  # made anew, for another promise
    assert read_delivered(tmp_path) is None


def test_what_does_not_fit_is_refused_and_the_old_one_stays(tmp_path: Path) -> None:
    films = site(tmp_path, histories(4, 0))
    films.receive(delivery())
    name = next(iter(delivery().adapter))
    for wrong, error in (
        (replace(delivery(), adapter={name: delivery().adapter[name]}), AdapterError),
        (replace(delivery(), base={}), ProtocolError),
    ):
        with pytest.raises(error):
            films.receive(wrong)
    found = read_delivered(tmp_path)
    assert found is not None
    assert arrays_sha256(found.adapter) == arrays_sha256(delivery().adapter)


@pytest.mark.parametrize("at", [0, 40, -1])
def test_damage_is_noticed(tmp_path: Path, at: int) -> None:
    keep_delivered(tmp_path, delivery())
    content = bytearray((tmp_path / FILE).read_bytes())
    content[at] ^= 1
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(RunError, match="as it was delivered"):
        read_delivered(tmp_path)
