"""Who is asked again, whose key counts, and how long anybody is waited for."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pytest
from flwr.app import Error, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from server.rounds.rollcall import Roll, call_roll
from shared.errors import PolicyRefusal
from shared.protocol import CatalogueReply, Refusal
from shared.transparency.keys import SigningKey

PLATFORMS = ("films", "shop")


def key(name: str, seed: int = 0) -> str:
    return SigningKey.unsafe(seed, name).public.hex


@dataclass
class Nodes:
    """A grid of nodes that say a name, say nothing (None) or fail ("")."""

    names: dict[int, str | None]
    keys: dict[str, str] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)
    patience: list[float] = field(default_factory=list)
    now: float = 0.0
    owner_of: dict[int, str] = field(default_factory=dict)
    refusing: dict[int, str] = field(default_factory=dict)

    def owners(self) -> dict[int, str]:
        return self.owner_of

    def get_node_ids(self) -> Iterable[int]:
        return list(self.names)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float) -> list[Message]:
        replies = []
        for message in messages:
            node = message.metadata.dst_node_id
            self.asked.append(node)
            name = self.names[node]
            if name is None:
                continue
            if name == "":
                reply = Message(Error(code=2, reason=""), reply_to=message)
            elif (said := self.refusing.get(node)) is not None:
                error = PolicyRefusal(expected="less", got="more", where="policy")
                refusal = Refusal.of(error, platform=said, public=True)
                reply = Message(refusal.to_records(), reply_to=message)
            else:
                reply = Message(self._catalogue(name), reply_to=message)
            reply.metadata.__dict__["_src_node_id"] = node
            replies.append(reply)
        self.patience.append(timeout)
        self.now += timeout if len(replies) < len(self.asked[-1:]) else 0.1
        return replies

    def _catalogue(self, name: str) -> RecordDict:
        reply = CatalogueReply(
            platform=name,
            count=9,
            mean=np.zeros(2),
            covariance=np.eye(2),
            key=self.keys.get(name, key(name)),
        )
        return reply.to_records()

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def call(self, timeout_s: float, known: Roll | None = None, **more: object) -> Roll:
        return call_roll(
            self,  # type: ignore[arg-type]
            PLATFORMS,
            quorum=2,
            timeout_s=timeout_s,
            known=known,
            clock=lambda: self.now,
            sleep=self.sleep,
            **more,  # type: ignore[arg-type]
        )


@pytest.fixture(autouse=True)
def _identity() -> None:
    TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1


def test_who_has_answered_is_not_asked_again_unless_it_was_away() -> None:
    nodes = Nodes({11: "films", 12: "shop"})
    roll = nodes.call(100)
    assert roll.nodes == {"films": 11, "shop": 12}
    del nodes.names[12]
    roll = nodes.call(0, roll)
    assert roll.nodes == {"films": 11}
    assert nodes.asked == [11, 12]
    nodes.names[12] = "shop"
    roll = nodes.call(0, roll)
    assert roll.nodes == {"films": 11, "shop": 12}
    assert nodes.asked == [11, 12, 12]


def test_a_stranger_is_asked_once_and_waited_for_never() -> None:
    """A partner that was enrolled after the run began; the run's own partner is still to come."""
    nodes = Nodes({11: "films", 99: "garden"})
    roll = nodes.call(30)
    assert nodes.now == pytest.approx(30, abs=1)  # "shop" was waited for, to the end
    assert roll.nodes == {"films": 11}
    assert nodes.asked == [11, 99]
    assert "garden" in roll.problems["node 99"]


def test_one_that_does_not_answer_or_fails_is_asked_again() -> None:
    nodes = Nodes({11: "films", 12: None, 13: ""})
    roll = nodes.call(100)
    assert nodes.asked.count(11) == 1
    assert nodes.asked.count(12) > 1
    assert nodes.asked.count(13) > 1
    assert max(nodes.patience) <= 60
    assert roll.nodes == {"films": 11}
    assert nodes.now == pytest.approx(100, abs=2)


def test_with_an_enrolled_key_no_other_passes_for_the_platform() -> None:
    nodes = Nodes({11: "films", 12: "shop"}, keys={"shop": key("shop", seed=1)})
    roll = nodes.call(0, keys={"shop": key("shop")})
    assert roll.nodes == {"films": 11}
    assert f"got key {key('shop', 1)[:12]}" in roll.problems["node 12"]


def test_a_partners_node_speaks_for_nobody_else() -> None:
    """Not even with the other's key, which is public: who was first would keep the other out."""
    owners = {11: "films", 12: "garden", 13: "shop"}
    nodes = Nodes({11: "films", 12: "shop", 13: "shop"}, owner_of=owners)
    roll = nodes.call(30)
    assert roll.nodes == {"films": 11, "shop": 13}
    assert roll.problems == {
        "garden": "expected garden, whose node it is, got 'shop' (set-up)",
    }
    nodes = Nodes({11: "shop", 12: "shop"}, owner_of={11: "films", 12: "shop"})
    roll = nodes.call(0)
    assert roll.nodes == {"shop": 12}
    assert roll.problems == {"films": "expected films, whose node it is, got 'shop' (set-up)"}


def test_a_liar_who_is_not_in_the_run_does_not_end_the_wait() -> None:
    """The run's own partner is still to come."""
    nodes = Nodes({11: "films", 12: "shop"}, owner_of={11: "films", 12: "garden"})
    roll = nodes.call(30)
    assert nodes.now == pytest.approx(30, abs=1)
    assert roll.nodes == {"films": 11}
    assert nodes.asked == [11, 12]


def test_a_refusal_is_held_against_whose_node_it_is() -> None:
    nodes = Nodes(
        {11: "films", 12: "shop"},
        owner_of={11: "films", 12: "shop"},
        refusing={12: "films"},
    )
    roll = nodes.call(0)
    assert roll.nodes == {"films": 11}
    assert list(roll.problems) == ["shop"]
