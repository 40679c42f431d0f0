"""A hostile coordinator asks a real partner through a real SuperLink and SuperNode.

Each line of `REFUSED` is a scenario: what is asked, and how the refusal is called.  Nothing is
charged for any of them, each is on the partner's record, and a good request is answered after all.
What a platform answers but on its own terms is told below them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.common.serde import run_from_proto
from flwr.proto.runtime_pb2 import PullTaskInputRequest
from flwr.supercore.task_identity import TaskIdentity

from clients.home import Home
from clients.node.refusals import Refusals
from clients.platform import Platform
from server.running.control import Control
from server.running.superlink import SuperLink
from shared.privacy.ledger import Ledger
from shared.protocol import TRAIN, Refusal, TrainReply, TrainRequest, kind_of
from tests.clients.node.test_executor import node
from tests.clients.node.test_gate import request_of
from tests.clients.partners import wait_for

Asked = tuple[str, RecordDict]


def settings(**changes: Any) -> Callable[[TrainRequest], Asked]:
    def made(request: TrainRequest) -> Asked:
        names = {name.replace("__", "."): value for name, value in changes.items()}
        return TRAIN, replace(request, settings={**request.settings, **names}).to_records()

    return made


def without(name: str) -> Callable[[TrainRequest], Asked]:
    def made(request: TrainRequest) -> Asked:
        kept = {key: value for key, value in request.settings.items() if key != name}
        return TRAIN, replace(request, settings=kept).to_records()

    return made


def adapter(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[TrainRequest], Asked]:
    def made(request: TrainRequest) -> Asked:
        changed = {name: change(value) for name, value in request.adapter.items()}
        return TRAIN, replace(request, adapter=changed).to_records()

    return made


def other_tensors(request: TrainRequest) -> Asked:
    return TRAIN, replace(request, trained=list(request.adapter)).to_records()


def another_base(request: TrainRequest) -> Asked:
    base = {name: value[..., :4] for name, value in request.base.items()}
    return TRAIN, replace(request, base=base).to_records()


def head(**changes: Any) -> Callable[[TrainRequest], Asked]:
    def made(request: TrainRequest) -> Asked:
        records = request.to_records()
        for name, value in changes.items():
            records["fedinterest"][name] = value  # type: ignore[index]
        return TRAIN, records

    return made


def more(request: TrainRequest) -> Asked:
    records = request.to_records()
    records["code"] = ConfigRecord({"run": "open('events.csv').read()"})
    return TRAIN, records


def of_kind(kind: str) -> Callable[[TrainRequest], Asked]:
    return lambda request: (kind, request.to_records())


REFUSED: dict[str, tuple[Callable[[TrainRequest], Asked], str]] = {
    "a higher clipping bound": (settings(clip_norm=1e6), "PolicyRefusal"),
    "a lower clipping bound": (settings(clip_norm=1e-9), "PolicyRefusal"),
    "every user in every step": (settings(sample_rate=1.0), "PolicyRefusal"),
    "a run without privacy": (settings(private=False), "PolicyRefusal"),
    "more steps than the promise has": (settings(steps=5000), "BudgetExhausted"),
    "no steps": (settings(steps=0), "PolicyRefusal"),
    "another model": (settings(model__layers=1), "PolicyRefusal"),
    "a wider adapter": (settings(model__rank=64), "PolicyRefusal"),
    "no bound at all": (without("clip_norm"), "PolicyRefusal"),
    "a learning rate that is no number": (settings(learning_rate=float("nan")), "ProtocolError"),
    "a word for a number": (settings(sample_rate="all"), "PolicyRefusal"),
    "all tensors at once": (other_tensors, "ProtocolError"),
    "an adapter with NaN": (adapter(lambda value: value * np.float32(np.nan)), "ProtocolError"),
    "an adapter of other shapes": (adapter(lambda value: value[:1]), "AdapterError"),
    "a wrong base": (another_base, "ProtocolError"),
    "a protocol from the future": (head(version=99), "ProtocolError"),
    "round 0": (head(round=0), "ProtocolError"),
    "an extra field": (head(metrics="all"), "ProtocolError"),
    "an extra part, with code": (more, "ProtocolError"),
    "metrics": (of_kind("evaluate"), "ProtocolError"),
    "the events": (of_kind("query.events"), "ProtocolError"),
}


@contextmanager
def conversation(control: Control, logs: Path) -> Iterator[Callable[[str, RecordDict], RecordDict]]:
    """Ask the only node of a run, as often as wanted."""
    run = control.start_run()
    TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = run, 1, 1
    grid = control.claim(run)
    try:
        grid.set_run(run_from_proto(grid.runtime.PullTaskInput(PullTaskInputRequest()).run))
        (number,) = wait_for(lambda: list(grid.get_node_ids()), "a node", logs)

        def ask(kind: str, content: RecordDict) -> RecordDict:
            (reply,) = grid.send_and_receive([Message(content, number, kind)], timeout=60)
            assert not reply.has_error(), reply.error
            return reply.content

        yield ask
    finally:
        grid.close()
        control.stop_run(run)


def charges(home: Home) -> int:
    path = home.folder.ledgers / "shop.jsonl"
    return len(path.read_text().splitlines()) - 1 if path.is_file() else 0


def test_a_hostile_coordinator_gets_nothing_that_was_not_promised(
    home: Home, superlink: SuperLink, control: Control
) -> None:
    control.admit({home.name: home.keys.node_public()})
    refusals, logs = Refusals(home.folder.state / "refusals.jsonl"), home.folder.log
    good = request_of(home)
    with node(home, superlink), conversation(control, logs) as ask:
        found = {}
        for scenario, (make, _) in REFUSED.items():
            content = ask(*make(good))
            assert kind_of(content) == "refusal", scenario
            refusal = Refusal.from_records(content)
            found[scenario] = refusal.kind
            assert charges(home) == 0, scenario
        assert found == {scenario: kind for scenario, (_, kind) in REFUSED.items()}
        assert len(refusals.lines()) == len(REFUSED)

        # Less noise can be asked for, and is not given: it is the platform's own affair.
        promised = Platform.open(home.folder.platform).record.noise_multiplier
        kind, content = settings(noise_multiplier=0.01)(good)
        first = TrainReply.from_records(ask(kind, content))
        assert first.constants["noise_multiplier"] == promised
        steps = charges(home)
        assert steps == good.settings["steps"]

        # The same request again: the same answer, from the same noise, for nothing.
        again = TrainReply.from_records(ask(kind, content))
        assert all(np.array_equal(again.update[name], first.update[name]) for name in first.update)
        assert charges(home) == steps

        # The same round under another adapter: fresh noise, and charged.
        moved = adapter(lambda value: value + np.float32(0.01))(good)
        assert kind_of(ask(*moved)) == "train-reply"
        assert charges(home) == 2 * steps

        # Until the promise is used up.
        assert kind_of(ask(TRAIN, request_of(home, 2).to_records())) == "train-reply"
        refusal = Refusal.from_records(ask(TRAIN, request_of(home, 3).to_records()))
        assert refusal.kind == "BudgetExhausted"
        assert charges(home) == 3 * steps
    record = Platform.open(home.folder.platform).record
    path = home.folder.ledgers / "shop.jsonl"
    with Ledger.open(path, platform="shop", epsilon=record.epsilon, delta=record.delta) as ledger:
        assert 0 < ledger.epsilon() <= record.epsilon  # whole, after all that
