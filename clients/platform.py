"""One platform's private folder: what its client trains on, and what it has spent.

    folder/
    ├── platform.json         name, population, privacy promise, settings
    ├── catalogue.json        public items
    ├── states.npy            (V, H, D) float32 text states by layer, not whitened
    ├── sequences.npz         training histories under pseudonyms
    ├── delivered.safetensors the finished adapter (`clients.delivered`)
    ├── released/             its own updates, as they left (`clients.released`)
    ├── secrets/              the round's secret; those of earlier rounds are removed
    ├── policy.json           what the partner permits (optional)
    ├── signing.key           what its statements are signed with
    ├── record/NAME.jsonl     its signed statements of what it released (see `journals`)
    └── ledger -> see `ledger`  the write-ahead record of spending

Only `moments` and `train` produce something that leaves.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.delivered import FILE as DELIVERED
from clients.delivered import keep_delivered
from clients.platform_record import PlatformRecord
from clients.policy import Policy
from clients.record import charge_of, policy_sha256, stated
from clients.released import Released
from clients.train_plan import interpolation, plan_of
from shared.adapters import Adapter, adapter_sha256
from shared.catalogue import Catalogue
from shared.config.training import Interpolation
from shared.errors import RunError
from shared.events import Sequences
from shared.files import replacing, write_json
from shared.ground import Ground
from shared.model import InterestModel
from shared.privacy.ledger import Ledger
from shared.privacy.randomness import Randomness, StoredSecrets, UnsafeSeed
from shared.protocol import (
    AdapterDelivery,
    AdapterReceipt,
    TrainReply,
    TrainRequest,
    arrays_sha256,
    travelling,
    update_sha256,
)
from shared.transparency.code import PLATFORM_CODE, code_sha256
from shared.transparency.keys import SigningKey
from shared.transparency.statement import Charge, PlatformRound
from shared.whitening import CatalogueMoments, Whitening, moments


def local_round(*arguments: Any) -> Adapter:
    """`shared.training.local_round`, imported when a round is trained: Opacus takes seconds."""
    from shared import training

    return training.local_round(*arguments)


@dataclass(frozen=True)
class Platform:
    """One platform, opened.

    Args:
        folder: see the module.
        record: `platform.json`.
    """

    folder: Path
    record: PlatformRecord

    @classmethod
    def open(cls, folder: Path) -> "Platform":
        """Open a platform's folder.

        Raises:
            RunError: it is no platform's folder.
        """
        path = folder / "platform.json"
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            values["epsilon"] = float(values["epsilon"])  # JSON has no infinity: "inf"
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(
                expected="a platform's folder with platform.json",
                got=type(error).__name__,
                where=str(path),
            ) from error
        return cls(folder, PlatformRecord.load(values, where=str(path)))

    @classmethod
    def create(
        cls,
        folder: Path,
        record: PlatformRecord,
        catalogue: Catalogue,
        states: NDArray[np.float32],
        sequences: Sequences,
    ) -> "Platform":
        """Write a platform's folder; `platform.json` last, so that a half-made one is none."""
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        shutil.rmtree(folder / "released", ignore_errors=True)  # of another promise, another run
        (folder / DELIVERED).unlink(missing_ok=True)
        with replacing(folder / "states.npy") as temporary, open(temporary, "wb") as file:
            np.save(file, states)
        sequences.save(folder / "sequences.npz")
        catalogue.save(folder / "catalogue.json")
        values = record.model_dump(mode="json")
        values["epsilon"] = record.epsilon if record.private else "inf"
        write_json(folder / "platform.json", values)
        return cls.open(folder)

    @property
    def name(self) -> str:
        """The platform's name in the federation."""
        return self.record.name

    @cached_property
    def catalogue(self) -> Catalogue:
        """The public items."""
        return Catalogue.load(self.folder / "catalogue.json")

    @cached_property
    def states(self) -> NDArray[np.float32]:
        """(V, H, D) text states by layer, as encoded."""
        found: NDArray[np.float32] = np.load(self.folder / "states.npy", allow_pickle=False)
        return found

    @cached_property
    def sequences(self) -> Sequences:
        """Training histories."""
        return Sequences.load(self.folder / "sequences.npz")

    @cached_property
    def _moments(self) -> CatalogueMoments:
        return moments(self.states[:, -1])

    def moments(self) -> CatalogueMoments:
        """Statistics of the public catalogue: what the shared whitening is fitted on."""
        return self._moments

    def ground(self, whitening: Whitening) -> Ground:
        """The public side of training and scoring; the last one is remembered."""
        key = whitening.sha256
        if key not in self._grounds:
            self._grounds.clear()
            self._grounds[key] = Ground.of(self.states, whitening)
        return self._grounds[key]

    @cached_property
    def _grounds(self) -> dict[str, Ground]:
        return {}

    @property
    def released(self) -> Released:
        """Its own updates."""
        return Released(self.folder / "released")

    def own_adapter(self, adapter: Adapter, round_: int, parts: Interpolation) -> Adapter:
        """The platform's own model after round `round_`, of which `adapter` is the shared part.

        Args:
            parts: `PublicSettings.interpolation`.

        Raises:
            RunError, AdapterError: the released updates are damaged, or another model's.
        """
        return self.released.own(adapter, parts, through=round_)

    @property
    def ledger_path(self) -> Path:
        """Where the spending is recorded."""
        return (self.folder / self.record.ledger).resolve()

    @property
    def journal_path(self) -> Path:
        """Where its releases are stated."""
        return (self.folder / self.record.journals / f"{self.name}.jsonl").resolve()

    @property
    def key(self) -> SigningKey:
        """What its statements are signed with; made at the first use."""
        if self.record.unsafe_seed is not None:
            return SigningKey.unsafe(self.record.unsafe_seed, self.name)
        return SigningKey.kept(self.folder / "signing.key")

    @property
    def _randomness(self) -> Randomness:
        if self.record.unsafe_seed is not None:
            return UnsafeSeed(self.record.unsafe_seed)
        return StoredSecrets(self.folder / "secrets")

    def train(self, request: TrainRequest) -> TrainReply:
        """Answer a round: check, charge, train, state.

        Nothing is computed on private data before its charge is on disk, and nothing leaves
        before its signed statement is.

        Raises:
            PolicyRefusal: the request asks for more than was promised.
            ProtocolError: a constant of the request, or its whitening, is missing or bad.
            BudgetExhausted: the promise does not cover it.
            AdapterError: the adapter does not fit the base model.
        """
        record = self.record
        policy = Policy.read(self.folder)
        policy.check(request, epsilon=record.epsilon, noise_multiplier=record.noise_multiplier)
        plan = plan_of(request, record)
        model = InterestModel(record.model, self.states.shape[2]).load(request.adapter)
        model.block(plan.trained)  # refused before anything is charged
        parts = interpolation(request, self.name)
        start = self.own_adapter(request.adapter, request.round - 1, parts)
        model.load(start)
        whitening = Whitening.from_arrays(request.base)
        ground = self.ground(whitening)
        randomness = self._randomness
        secret = randomness.open(
            platform=self.name,
            round=request.round,
            request=request.digest,
            data=self._data_digest(start),
        )
        charge: Charge | None = None
        if plan.private:
            with Ledger.open(
                self.ledger_path, platform=self.name, epsilon=record.epsilon, delta=record.delta
            ) as ledger:
                ledger.charge_many(
                    request.round,
                    range(plan.steps),
                    secret.charge_key,
                    plan.sample_rate,
                    plan.noise_multiplier,
                )
                charge = charge_of(self.ledger_path, secret.charge_key)
        # Who asks for this round has done with the earlier ones.  Not sooner: a round that cannot
        # be paid for must not cost the last one its free replay.
        randomness.forget_before(request.round)
        moved = local_round(model, ground, self.sequences, plan, secret)
        update = travelling(moved, request.protocol_version)
        self.released.keep(request.round, update)
        release = PlatformRound(
            platform=self.name,
            index=0,
            root="",
            round=request.round,
            request=request.digest,
            adapter_in=adapter_sha256(request.adapter),
            update=update_sha256(update, request.protocol_version),
            base=whitening.sha256,
            encoder=record.encoder,
            code=code_sha256(*PLATFORM_CODE),
            policy=policy_sha256(policy),
            steps=plan.steps,
            sample_rate=plan.sample_rate,
            noise_multiplier=plan.noise_multiplier,
            clip_norm=plan.clip_norm,
            epsilon=record.epsilon,
            delta=record.delta,
            unsafe_seed=secret.unsafe,
            charge=charge,
        )
        return TrainReply(
            platform=self.name,
            round=request.round,
            request_digest=request.digest,
            update=update,
            envelope=stated(self.journal_path, self.key, release),
            constants={
                "steps": plan.steps,
                "noise_multiplier": plan.noise_multiplier,
                "clip_norm": plan.clip_norm,
                "sample_rate": plan.sample_rate,
            },
            version=request.protocol_version,
        )

    def receive(self, delivery: AdapterDelivery) -> AdapterReceipt:
        """Keep a finished adapter, for recommendations.

        Raises:
            AdapterError: it does not fit the base model.
            ProtocolError: its whitening is another encoder's.
            StorageError: the disk refused.
        """
        InterestModel(self.record.model, self.states.shape[2]).load(delivery.adapter)
        self.ground(Whitening.from_arrays(delivery.base))
        keep_delivered(self.folder, delivery)
        return AdapterReceipt(
            platform=self.name,
            adapter=arrays_sha256(delivery.adapter),
            version=delivery.version,
        )

    def _data_digest(self, start: Adapter) -> str:
        """All of the platform's own that an answer depends on; see `shared.privacy.randomness`.

        The public side is in it: two answers on other item vectors under one noise would show
        their difference bare, just as two answers on other events.
        """
        return hashlib.sha256(f"{self._data_sha256} {adapter_sha256(start)}".encode()).hexdigest()

    @cached_property
    def _data_sha256(self) -> str:
        """Of the record and of the arrays in memory: what was read is what is hashed."""
        sequences = self.sequences
        digest = hashlib.sha256()
        for content in (
            self.record.model_dump_json().encode(),
            json.dumps(sequences.users).encode(),
            sequences.items.tobytes(),
            sequences.offsets.tobytes(),
            self.states.tobytes(),
        ):
            digest.update(len(content).to_bytes(8, "little"))
            digest.update(content)
        return digest.hexdigest()
