"""A federation of toy platforms: real messages, real ServerApp, arithmetic instead of training."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from server.app import train
from server.rounds.log import Event, RoundLog, listening
from shared.adapters import adapter_sha256
from shared.protocol import (
    CONSTANTS,
    PROTOCOL_VERSION,
    AdapterDelivery,
    AdapterReceipt,
    CatalogueReply,
    TrainReply,
    TrainRequest,
    arrays_sha256,
    update_sha256,
)
from shared.transparency.envelope import STATEMENT, Envelope
from shared.transparency.keys import SigningKey
from shared.transparency.statement import Charge, PlatformRound
from shared.whitening import Whitening
from simulations.engines.inprocess import InProcessGrid

WIDTH = 4
Answer = Callable[[TrainRequest], RecordDict]


@dataclass
class ToyFederation:
    """Platforms that pull the adapter half-way to a target of their own.

    `answers[name]` replaces a platform's training; `names[folder]` what it calls itself.
    """

    folder: Path
    answers: dict[str, Answer] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    requests: list[tuple[str, TrainRequest]] = field(default_factory=list)
    broken_catalogues: set[str] = field(default_factory=set)
    key_seeds: dict[str, int] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    delivered: dict[str, AdapterDelivery] = field(default_factory=dict)
    receipts: dict[str, AdapterReceipt] = field(default_factory=dict)

    def key(self, name: str) -> SigningKey:
        return SigningKey.unsafe(self.key_seeds.get(name, 0), name)

    def settings(self, **changes: object) -> dict[str, object]:
        source = {"path": "nowhere.csv"}
        platform = {"population": 100, "events": source, "items": source}
        values: dict[str, object] = {
            "platforms": {name: dict(platform) for name in ("shop", "films", "news")},
            "training": {"rounds": 3},
            "privacy": {"sample_rate": 0.1, "steps_per_round": 2},
            "server": {"round_timeout_s": 0.25},  # nobody is late here, who is missing stays away
        }
        for key, value in changes.items():
            section, name = key.split("__")
            values[section] = {**values[section], name: value}  # type: ignore[dict-item]
        return values

    def write(self, **changes: object) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.settings(**changes))
        (self.folder / "federation.json").write_text(text)

    def app(self) -> ClientApp:
        app = ClientApp()

        @app.query("catalogue")
        def catalogue(message: Message, context: Context) -> Message:
            name = self._name(context)
            rng = np.random.default_rng(len(name))
            points = rng.normal(size=(50, WIDTH))
            covariance = np.cov(points.T)
            if name in self.broken_catalogues:
                covariance[0, 1] += 1.0  # not symmetric
            reply = CatalogueReply(
                platform=name,
                count=50,
                mean=points.mean(0),
                covariance=covariance,
                key=self.key(name).public.hex,
                version=self.versions.get(name, PROTOCOL_VERSION),
            )
            return Message(reply.to_records(), reply_to=message)

        @app.query("adapter")
        def adapter(message: Message, context: Context) -> Message:
            name, delivery = self._name(context), AdapterDelivery.from_records(message.content)
            self.delivered[name] = delivery
            receipt = AdapterReceipt(platform=name, adapter=arrays_sha256(delivery.adapter))
            return Message(self.receipts.get(name, receipt).to_records(), reply_to=message)

        @app.train()
        def train_(message: Message, context: Context) -> Message:
            name = self._name(context)
            request = TrainRequest.from_records(message.content)
            self.requests.append((name, request))
            answer = self.answers.get(name, lambda asked: self.good(name, asked).to_records())
            return Message(answer(request), reply_to=message)

        return app

    def _name(self, context: Context) -> str:
        folder = Path(str(context.node_config["platform-folder"])).name
        return self.names.get(folder, folder)

    def good(self, name: str, request: TrainRequest, **changes: object) -> TrainReply:
        target = np.float32(len(name))
        values = {
            "platform": name,
            "round": request.round,
            "request_digest": request.digest,
            "version": request.protocol_version,
            "update": {
                key: (target - old) / 2
                for key, old in request.adapter.items()
                if key in request.trained
            },
            "constants": {
                "steps": 2,
                "noise_multiplier": 1.0,
                "clip_norm": 2.0,
                "sample_rate": 0.1,
            },
        }
        reply = TrainReply(**{**values, **changes})  # type: ignore[arg-type]
        if "envelope" in changes:
            return reply
        return replace(reply, envelope=self.sign(name, self.statement(request, reply)))

    def statement(
        self, request: TrainRequest, reply: TrainReply, /, **changes: object
    ) -> PlatformRound:
        values = {
            "platform": reply.platform,
            "index": 0,
            "root": "0" * 64,
            "round": reply.round,
            "request": reply.request_digest,
            "adapter_in": adapter_sha256(request.adapter),
            "update": update_sha256(reply.update, reply.version),
            "base": Whitening.from_arrays(request.base).sha256,
            "encoder": "",
            "code": "1" * 64,
            "policy": "2" * 64,
            **{name: reply.constants.get(name, 0) for name in CONSTANTS},
            "epsilon": 8.0,
            "delta": 1e-3,
            "unsafe_seed": True,
            "charge": Charge(first=0, entries=2, head="3" * 64),
        }
        return PlatformRound(**{**values, **changes})  # type: ignore[arg-type]

    def sign(self, name: str, statement: PlatformRound) -> Envelope:
        return Envelope.signed(STATEMENT, statement.to_payload(), self.key(name))

    def run(self, nodes: tuple[str, ...] = ("shop", "films", "news")) -> None:
        folders = {name: self.folder / "platforms" / name for name in nodes}
        grid = InProcessGrid(self.app(), folders, run_folder=self.folder, threads=1)
        with listening(self.events.append):
            train(self.folder, grid)

    def lines(self) -> list[dict[str, object]]:
        return RoundLog(self.folder / "rounds.jsonl").lines()

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events if event.kind not in ("asked", "answered")]


@pytest.fixture
def federation(tmp_path: Path) -> ToyFederation:
    made = ToyFederation(tmp_path / "run")
    made.write()
    return made
