"""Who is given the finished adapter, and in which version a federation speaks."""

import logging

import numpy as np
import pytest

from server.rounds import checkpoint as checkpoints
from shared.protocol import OLDEST_VERSION, PROTOCOL_VERSION, AdapterReceipt
from tests.server.conftest import ToyFederation


def test_every_platform_is_given_what_the_checkpoint_holds(federation: ToyFederation) -> None:
    federation.run()
    last = checkpoints.latest(federation.folder / "checkpoints")
    assert last is not None
    assert federation.delivered.keys() == {"shop", "films", "news"}
    for delivery in federation.delivered.values():
        assert delivery.round == last.round == 3
        assert all(
            np.array_equal(delivery.adapter[name], last.adapter[name]) for name in last.adapter
        )
        assert all(np.array_equal(delivery.base[name], last.base[name]) for name in last.base)
    federation.delivered.clear()
    federation.run()  # nothing is left to train: who was away gets it now
    assert federation.delivered.keys() == {"shop", "films", "news"}


def test_one_platform_of_the_version_before(federation: ToyFederation) -> None:
    federation.versions["films"] = OLDEST_VERSION
    federation.run()
    assert {request.protocol_version for _, request in federation.requests} == {OLDEST_VERSION}
    assert federation.delivered.keys() == {"shop", "films", "news"}
    assert {one.version for one in federation.delivered.values()} == {OLDEST_VERSION}
    last = checkpoints.latest(federation.folder / "checkpoints")
    assert last is not None
    assert last.round == 3


def test_a_wrong_receipt_changes_nothing_and_is_named(
    federation: ToyFederation, caplog: pytest.LogCaptureFixture
) -> None:
    federation.receipts["films"] = AdapterReceipt(platform="films", adapter="0" * 64)
    federation.receipts["news"] = AdapterReceipt(platform="shop", adapter="0" * 64)
    with caplog.at_level(logging.WARNING, "fedinterest.server"):
        federation.run()
    told = [record.getMessage() for record in caplog.records]
    assert [line.split()[0] for line in told] == ["films", "news"]
    assert all("another adapter" in line for line in told)
    assert {request.protocol_version for _, request in federation.requests} == {PROTOCOL_VERSION}
