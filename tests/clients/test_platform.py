"""A platform's folder: what it checks, in what order it pays, and what a crash costs."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from numpy.typing import NDArray

import clients.platform as platform_module
from clients.app import app as client_app
from clients.platform import Platform
from clients.platform_record import PlatformRecord, promise
from clients.policy import FILE as POLICY
from clients.policy import Policy
from clients.record import policy_sha256
from shared.adapters import Adapter, adapter_sha256, initial_adapter
from shared.catalogue import Catalogue
from shared.config.privacy import PrivacySettings
from shared.config.training import ModelSettings
from shared.errors import (
    AdapterError,
    BudgetExhausted,
    ConfigError,
    FedInterestError,
    LedgerError,
    PolicyRefusal,
    ProtocolError,
    RunError,
)
from shared.events import Sequences
from shared.model import trained_in
from shared.privacy.accountant import Charge, epsilon
from shared.privacy.ledger import Ledger, read_ledger
from shared.protocol import (
    PROTOCOL_VERSION,
    TRAIN,
    Refusal,
    TrainReply,
    TrainRequest,
    travelling,
    update_sha256,
)
from shared.training import local_round
from shared.transparency.code import code_sha256
from shared.transparency.journal import Journal, read
from shared.transparency.merkle import EMPTY
from shared.transparency.statement import Charge as Charged
from shared.transparency.statement import PlatformRound, parse_statement
from shared.whitening import Whitening, fit_whitening, moments

ITEMS, WIDTH, POPULATION = 25, 8, 60
LAYERS = 2
MODEL = ModelSettings(history_length=5, rank=11, layers=LAYERS)
PRIVACY = PrivacySettings(epsilon=4.0, sample_rate=0.3, clip_norm=0.5, steps_per_round=3)
ROUNDS = 2


def item_vectors(seed: int = 0) -> NDArray[np.float32]:
    drawn = np.random.default_rng(seed).normal(size=(ITEMS, LAYERS, WIDTH))
    return drawn.astype(np.float32)


def histories(users: int = 40, seed: int = 0) -> Sequences:
    generator = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(generator.integers(0, 9, users))])
    return Sequences(
        users=tuple(f"pseudonym-{number}" for number in range(users)),
        items=generator.integers(0, ITEMS, int(offsets[-1])).astype(np.int32),
        offsets=offsets.astype(np.int64),
    )


def a_record(**changes: Any) -> PlatformRecord:
    delta, noise_multiplier = promise(PRIVACY, POPULATION, ROUNDS)
    values: dict[str, Any] = {
        "name": "films",
        "kind": "film",
        "population": POPULATION,
        "epsilon": PRIVACY.epsilon,
        "delta": delta,
        "noise_multiplier": noise_multiplier,
        "steps": ROUNDS * PRIVACY.steps_per_round,
        "sample_rate": PRIVACY.sample_rate,
        "clip_norm": PRIVACY.clip_norm,
        "model": MODEL,
    }
    return PlatformRecord(**{**values, **changes})


def made(
    folder: Path,
    sequences: Sequences | None = None,
    vectors: NDArray[np.float32] | None = None,
    **changes: Any,
) -> Platform:
    catalogue = Catalogue(
        ids=tuple(f"i{number}" for number in range(ITEMS)),
        texts=tuple(f"Thing {number}" for number in range(ITEMS)),
        titles=tuple(f"Thing {number}" for number in range(ITEMS)),
        categories=tuple(("things", str(number % 3)) for number in range(ITEMS)),
    )
    return Platform.create(
        folder,
        a_record(**changes),
        catalogue,
        item_vectors() if vectors is None else vectors,
        histories() if sequences is None else sequences,
    )


def a_request(round_: int = 1, adapter: Adapter | None = None, **changes: Any) -> TrainRequest:
    settings = {
        "steps": PRIVACY.steps_per_round,
        "sample_rate": PRIVACY.sample_rate,
        "clip_norm": PRIVACY.clip_norm,
        "private": True,
        "learning_rate": 0.5,
        "targets_per_user": 3,
        "negatives": 20,
        "temperature": 0.2,
        "gce_q": 0.1,
        **MODEL.constants(),
        **changes,
    }
    base = fit_whitening([moments(item_vectors()[:, -1]), moments(item_vectors(7)[:, -1] + 1)])
    adapter = initial_adapter(MODEL, WIDTH) if adapter is None else adapter
    return TrainRequest(
        round=round_,
        adapter=adapter,
        trained=trained_in(list(adapter), round_),
        base=base.to_arrays(),  # type: ignore[arg-type]
        settings={name: value for name, value in settings.items() if value is not None},
    )


def alike(a: TrainReply | Adapter, b: TrainReply | Adapter) -> bool:
    first, second = (x.update if isinstance(x, TrainReply) else x for x in (a, b))
    return list(first) == list(second) and all(np.array_equal(first[n], second[n]) for n in first)


def steps_charged(platform: Platform) -> int:
    if not platform.ledger_path.exists():
        return 0
    return len(read_ledger(platform.ledger_path).entries)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each time that gradients began to be computed."""
    times: list[int] = []

    def spy(*args: Any) -> Adapter:
        times.append(1)
        return local_round(*args)

    monkeypatch.setattr(platform_module, "local_round", spy)
    return times


class Crashed(BaseException):
    """Not an Exception: nothing on the way may swallow it."""


# --- the folder ------------------------------------------------------------------------------


def test_a_folder_holds_what_was_put_in(tmp_path: Path) -> None:
    made(tmp_path / "films")
    platform = Platform.open(tmp_path / "films")
    assert platform.record == a_record()
    assert platform.name == "films"
    assert platform.catalogue.ids[-1] == f"i{ITEMS - 1}"
    assert platform.catalogue.categories[4] == ("things", "1")
    assert np.array_equal(platform.states, item_vectors())
    assert platform.sequences.users == histories().users
    assert np.array_equal(platform.sequences.items, histories().items)
    assert np.array_equal(platform.sequences.offsets, histories().offsets)
    assert platform.moments().count == ITEMS
    assert (tmp_path / "films").stat().st_mode & 0o077 == 0


def test_a_platform_of_nobody(tmp_path: Path) -> None:
    """No users: the reply is noise, and costs what every round costs."""
    platform = made(tmp_path / "films", histories(0))
    reply = platform.train(a_request())
    assert all(value.any() for value in reply.update.values())
    assert steps_charged(platform) == PRIVACY.steps_per_round


@pytest.mark.parametrize("content", [None, "", "[]", "3", "{}", '{"epsilon": "much"}', "{"])
def test_no_platform_s_folder(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "platform.json").write_text(content)
    with pytest.raises(RunError, match=r"platform\.json") as caught:
        Platform.open(tmp_path)
    assert caught.value.exit_code == 10


def test_a_typo_in_the_record(tmp_path: Path) -> None:
    made(tmp_path / "films")
    path = tmp_path / "films" / "platform.json"
    values = json.loads(path.read_text())
    values["clip_nrom"] = values.pop("clip_norm")
    path.write_text(json.dumps(values))
    with pytest.raises(ConfigError, match="Did you mean 'clip_norm'"):
        Platform.open(tmp_path / "films")


def test_the_ground_is_public_and_of_unit_length(tmp_path: Path) -> None:
    platform = made(tmp_path / "a")
    other = made(tmp_path / "b", histories(3, seed=9))
    whitening = fit_whitening([platform.moments()])
    ground = platform.ground(whitening)
    assert ground.vectors.dtype == ground.features.dtype == torch.float32
    assert torch.allclose(ground.vectors.norm(dim=1), torch.ones(ITEMS), atol=1e-5)
    assert torch.equal(other.ground(whitening).vectors, ground.vectors)
    assert torch.equal(other.ground(whitening).features, ground.features)


def test_the_promise_covers_exactly_the_run() -> None:
    delta, noise = promise(PRIVACY, POPULATION, ROUNDS)
    assert delta == pytest.approx(POPULATION**-1.1)
    steps = ROUNDS * PRIVACY.steps_per_round
    assert epsilon([Charge(PRIVACY.sample_rate, noise, steps)], delta) <= PRIVACY.epsilon
    less = round(noise - 0.001, 3)
    assert epsilon([Charge(PRIVACY.sample_rate, less, steps)], delta) > PRIVACY.epsilon
    assert promise(PRIVACY.replace(epsilon=math.inf), POPULATION, ROUNDS)[1] == 0.0


# --- a round ---------------------------------------------------------------------------------


def test_a_reply_is_an_update_and_public_constants(tmp_path: Path) -> None:
    platform, request = made(tmp_path / "films"), a_request(round_=5)
    reply = platform.train(request)
    assert (reply.platform, reply.round, reply.request_digest) == ("films", 5, request.digest)
    assert reply.constants == {
        "steps": PRIVACY.steps_per_round,
        "noise_multiplier": a_record().noise_multiplier,
        "clip_norm": PRIVACY.clip_norm,
        "sample_rate": PRIVACY.sample_rate,
    }
    for name, value in reply.update.items():
        assert value.shape == request.adapter[name].shape
        assert value.dtype == np.float32
        assert np.isfinite(value).all()
        assert value.any()
        assert len(np.unique(np.abs(value))) == 2  # two bits a number
    assert alike(TrainReply.from_records(reply.to_records()), reply.update)


def test_charges_are_on_disk_before_any_gradient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = made(tmp_path / "films")
    seen: list[int] = []

    def crash(*_: Any) -> Adapter:
        seen.append(len(read_ledger(platform.ledger_path).entries))
        secrets = list((platform.folder / "secrets").glob("*.secret"))
        assert len(secrets) == 1  # or the noise could not be drawn again
        assert secrets[0].stat().st_mode & 0o077 == 0
        raise Crashed

    monkeypatch.setattr(platform_module, "local_round", crash)
    with pytest.raises(Crashed):
        platform.train(a_request())
    assert seen == [PRIVACY.steps_per_round]
    record = read_ledger(platform.ledger_path)
    assert [entry.step for entry in record.entries] == list(range(PRIVACY.steps_per_round))
    for entry in record.entries:
        assert entry.round == 1
        assert entry.sample_rate == PRIVACY.sample_rate
        assert entry.noise_multiplier == a_record().noise_multiplier


def test_nothing_is_read_or_computed_when_the_ledger_refuses(
    tmp_path: Path, computed: list[int]
) -> None:
    platform = made(tmp_path / "films")
    record = platform.record
    held = Ledger.open(
        platform.ledger_path, platform="films", epsilon=record.epsilon, delta=record.delta
    )
    with held, pytest.raises(LedgerError, match="locked"):
        platform.train(a_request())
    assert computed == []
    platform.ledger_path.write_text("rubbish\n")
    with pytest.raises(LedgerError):
        platform.train(a_request())
    assert computed == []


def test_the_same_request_after_a_crash_is_the_same_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, request = tmp_path / "films", a_request()
    made(folder)
    lost: list[Adapter] = []

    def crash(*args: Any) -> Adapter:
        lost.append(local_round(*args))
        raise Crashed  # after the work, before the reply is on its way

    with monkeypatch.context() as patch:
        patch.setattr(platform_module, "local_round", crash)
        with pytest.raises(Crashed):
            Platform.open(folder).train(request)
    for _ in range(2):
        again = Platform.open(folder)
        assert alike(again.train(a_request()), travelling(lost[0], PROTOCOL_VERSION))
        assert steps_charged(again) == PRIVACY.steps_per_round


def test_a_crash_while_charging_is_paid_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, computed: list[int]
) -> None:
    folder = tmp_path / "films"
    made(folder)
    charge_many = Ledger.charge_many

    def crash(self: Ledger, *args: Any) -> tuple[int, ...]:
        charge_many(self, *args)
        raise Crashed

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "charge_many", crash)
        with pytest.raises(Crashed):
            Platform.open(folder).train(a_request())
    assert computed == []
    platform = Platform.open(folder)
    platform.train(a_request())
    assert steps_charged(platform) == PRIVACY.steps_per_round


OTHERS: dict[str, Callable[[], TrainRequest]] = {
    "round": lambda: a_request(round_=2),
    "adapter": lambda: a_request(
        adapter={n: v + np.float32(1e-3) for n, v in initial_adapter(MODEL, WIDTH).items()}
    ),
    "learning rate": lambda: a_request(learning_rate=0.25),
    "steps": lambda: a_request(steps=1),
    "a word that nobody reads": lambda: a_request(total_rounds=9),
}


@pytest.mark.parametrize("what", sorted(OTHERS))
def test_another_request_is_charged_again_under_other_noise(tmp_path: Path, what: str) -> None:
    platform = made(tmp_path / "films")
    first = platform.train(a_request())
    request = OTHERS[what]()
    second = platform.train(request)
    steps = int(request.settings["steps"])
    assert steps_charged(platform) == PRIVACY.steps_per_round + steps
    update = {name: value * 2 for name, value in second.update.items()}
    (trained,) = first.update.values()
    for other in (second.update, update):  # half the learning rate would be half the update
        (found,) = other.values()
        assert found.shape != trained.shape or np.abs(found - trained).max() > 1e-4
    if what == "round":  # another block, of as many numbers but one column
        return
    ours, theirs = (np.concatenate([v.ravel() for v in r.update.values()]) for r in (first, second))
    assert abs(np.corrcoef(ours, theirs)[0, 1]) < 0.6


@pytest.mark.parametrize("what", ["a user more", "a user less", "other vectors", "population"])
def test_the_same_request_on_other_data_is_charged_again(tmp_path: Path, what: str) -> None:
    """Two answers under one noise would show their difference bare."""
    folder = tmp_path / "films"
    made(folder)
    first = Platform.open(folder).train(a_request())
    if what == "a user more":
        made(folder, histories(41))
    elif what == "a user less":
        made(folder, histories(39))
    elif what == "other vectors":
        made(folder, vectors=item_vectors() + np.float32(1e-3) * item_vectors(1))
    else:
        made(folder, population=POPULATION + 1, delta=a_record().delta)
    platform = Platform.open(folder)
    second = platform.train(a_request())
    assert steps_charged(platform) == 2 * PRIVACY.steps_per_round
    ours, theirs = (np.concatenate([v.ravel() for v in r.update.values()]) for r in (first, second))
    assert abs(np.corrcoef(ours, theirs)[0, 1]) < 0.6


def test_a_forgotten_secret_is_paid_for_again(tmp_path: Path) -> None:
    platform = made(tmp_path / "films")
    first = platform.train(a_request())
    for path in (platform.folder / "secrets").iterdir():
        path.unlink()
    assert not alike(platform.train(a_request()), first)
    assert steps_charged(platform) == 2 * PRIVACY.steps_per_round


def secrets_of(platform: Platform) -> list[str]:
    return sorted(path.name[:7] for path in (platform.folder / "secrets").iterdir())


def test_a_round_s_secret_goes_once_the_next_round_is_paid_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = made(tmp_path / "films")
    first = platform.train(a_request(round_=1))
    assert secrets_of(platform) == ["000001-"]  # may be asked again

    def unpaid(self: Ledger, *_: Any) -> tuple[int, ...]:
        raise Crashed

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "charge_many", unpaid)
        with pytest.raises(Crashed):
            platform.train(a_request(round_=2))
    assert secrets_of(platform) == ["000001-", "000002-"]
    assert alike(platform.train(a_request(round_=1)), first)

    seen: list[list[str]] = []

    def spy(*args: Any) -> Adapter:
        seen.append(secrets_of(platform))
        return local_round(*args)

    monkeypatch.setattr(platform_module, "local_round", spy)
    second = platform.train(a_request(round_=2))
    assert seen == [["000002-"]]
    assert steps_charged(platform) == 2 * PRIVACY.steps_per_round
    assert alike(platform.train(a_request(round_=2)), second)  # its own is still there
    assert steps_charged(platform) == 2 * PRIVACY.steps_per_round
    with pytest.raises(BudgetExhausted):  # the same request as at first, but never for free again
        platform.train(a_request(round_=1))


def test_a_round_without_budget_forgets_nothing(tmp_path: Path) -> None:
    platform = made(tmp_path / "films")
    for round_ in range(1, ROUNDS + 1):
        platform.train(a_request(round_=round_))
    with pytest.raises(BudgetExhausted):
        platform.train(a_request(round_=ROUNDS + 1))
    assert f"{ROUNDS:06}-" in secrets_of(platform)


def test_the_budget_ends(tmp_path: Path, computed: list[int]) -> None:
    platform = made(tmp_path / "films")
    for round_ in range(1, ROUNDS + 1):
        platform.train(a_request(round_=round_))
    record = read_ledger(platform.ledger_path)
    spent = Charge(
        PRIVACY.sample_rate, platform.record.noise_multiplier, ROUNDS * PRIVACY.steps_per_round
    )
    with Ledger.open(
        platform.ledger_path,
        platform="films",
        epsilon=platform.record.epsilon,
        delta=platform.record.delta,
    ) as ledger:
        assert ledger.epsilon() == epsilon([spent], platform.record.delta)
        assert 0.9 * PRIVACY.epsilon < ledger.epsilon() <= PRIVACY.epsilon
    content = platform.ledger_path.read_bytes()
    with pytest.raises(BudgetExhausted, match="platform films, round 3") as caught:
        platform.train(a_request(round_=3))
    assert caught.value.exit_code == 8
    assert len(computed) == ROUNDS
    assert platform.ledger_path.read_bytes() == content
    assert len(record.entries) == ROUNDS * PRIVACY.steps_per_round
    platform.train(a_request(round_=2))  # what was paid for may be had again
    assert platform.ledger_path.read_bytes() == content


def test_a_round_of_too_many_steps_is_refused_whole(tmp_path: Path, computed: list[int]) -> None:
    platform = made(tmp_path / "films")
    with pytest.raises(BudgetExhausted):
        platform.train(a_request(steps=ROUNDS * PRIVACY.steps_per_round + 5))
    assert steps_charged(platform) == 0
    assert computed == []
    platform.train(a_request())


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"sample_rate": 0.31}, PolicyRefusal),
        ({"sample_rate": 0.29}, PolicyRefusal),
        ({"clip_norm": 0.6}, PolicyRefusal),
        ({"clip_norm": None}, PolicyRefusal),
        ({"private": False}, PolicyRefusal),
        ({"private": None}, PolicyRefusal),
        ({"model.history_length": 6}, PolicyRefusal),
        ({"model.decay": 0.61}, PolicyRefusal),
        ({"model.rank": None}, PolicyRefusal),
        ({"steps": 0}, PolicyRefusal),
        ({"steps": None}, PolicyRefusal),
        ({"targets_per_user": None}, ProtocolError),
        ({"targets_per_user": -3}, ProtocolError),
        ({"learning_rate": "fast"}, ProtocolError),
        ({"learning_rate": 0.0}, ProtocolError),
        ({"learning_rate": math.inf}, ProtocolError),
        ({"negatives": None}, ProtocolError),
        ({"temperature": 0.0}, ProtocolError),
        ({"temperature": math.nan}, ProtocolError),
        ({"gce_q": 1.5}, ProtocolError),
    ],
)
def test_a_request_for_something_else_costs_nothing(
    tmp_path: Path, computed: list[int], change: dict[str, Any], kind: type[FedInterestError]
) -> None:
    platform = made(tmp_path / "films")
    with pytest.raises(kind, match=next(iter(change)).removeprefix("model.")):
        platform.train(a_request(**change))
    assert computed == []
    assert steps_charged(platform) == 0
    assert not (platform.folder / "secrets").exists()


def test_the_coordinator_is_told_what_is_wrong_with_its_request(tmp_path: Path) -> None:
    """Over the real ClientApp: a reason it can act on, and nothing about the platform."""
    made(tmp_path / "films")
    TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1
    where = Context(
        run_id=1,
        node_id=2,
        node_config={"platform-folder": str(tmp_path / "films")},
        state=RecordDict(),
        run_config={},
    )
    for change, reason in (
        ({"learning_rate": -2.0}, "learning_rate = -2.0"),
        ({"temperature": None}, "'temperature'"),
    ):
        message = Message(a_request(**change).to_records(), 2, TRAIN)
        refusal = Refusal.from_records(client_app(message, where).content)
        assert (refusal.kind, refusal.code) == ("ProtocolError", 7)
        assert reason in refusal.message
        assert str(tmp_path) not in refusal.message


def misfit(what: str) -> TrainRequest:
    good = a_request()
    if what == "a wider adapter":
        return a_request(adapter=initial_adapter(MODEL, WIDTH + 1))
    if what == "an adapter with NaN":
        return a_request(adapter={n: v + np.float32(np.nan) for n, v in good.adapter.items()})
    if what == "no whitening":
        return dataclasses.replace(good, base={})
    if what == "two trained tensors":
        return dataclasses.replace(good, trained=list(good.adapter)[:2])
    base = {"whitening": np.eye(WIDTH + 1, dtype=np.float32)}
    return dataclasses.replace(good, base=base)


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ("a wider adapter", AdapterError),
        ("an adapter with NaN", AdapterError),
        ("no whitening", ProtocolError),
        ("a wider whitening", ProtocolError),
        ("two trained tensors", ProtocolError),
    ],
)
def test_tensors_that_do_not_fit_cost_nothing(
    tmp_path: Path, computed: list[int], what: str, kind: type[FedInterestError]
) -> None:
    platform = made(tmp_path / "films")
    with pytest.raises(kind):
        platform.train(misfit(what))
    assert computed == []
    assert steps_charged(platform) == 0


@pytest.mark.parametrize(
    "limits",
    [
        {"max_epsilon": 3.9},
        {"min_noise_multiplier": 100.0},
        {"max_steps_per_round": 2},
        {"max_clip_norm": 0.4},
        {"allowed_base": ["0" * 64]},
    ],
)
def test_the_partner_s_policy_has_the_last_word(
    tmp_path: Path, computed: list[int], limits: dict[str, Any]
) -> None:
    platform = made(tmp_path / "films")
    (platform.folder / POLICY).write_text(json.dumps(limits))
    with pytest.raises(PolicyRefusal, match=next(iter(limits)).split("_", 1)[1].split("_")[0]):
        platform.train(a_request())
    assert computed == []
    assert steps_charged(platform) == 0


# --- without privacy -------------------------------------------------------------------------


def test_epsilon_inf_adds_no_noise_and_keeps_no_ledger(tmp_path: Path) -> None:
    """Rate 1 and one step: no chance is left but the positions, from the stored secret."""
    open_ = {"epsilon": math.inf, "noise_multiplier": 0.0, "sample_rate": 1.0}
    platform = made(tmp_path / "films", **open_)
    assert not platform.record.private
    assert json.loads((tmp_path / "films" / "platform.json").read_text())["epsilon"] == "inf"
    request = a_request(private=False, sample_rate=1.0)
    reply = platform.train(request)
    assert reply.constants["noise_multiplier"] == 0.0
    assert all(value.any() for value in reply.update.values())
    assert not platform.ledger_path.exists()
    assert alike(platform.train(request), reply)
    nobody = made(tmp_path / "nobody", histories(0), **open_)
    assert not any(value.any() for value in nobody.train(request).update.values())
    for asked in (a_request(sample_rate=1.0), a_request(sample_rate=1.0, private=None)):
        with pytest.raises(PolicyRefusal, match="private = False"):
            platform.train(asked)


def test_a_policy_can_forbid_runs_without_privacy(tmp_path: Path, computed: list[int]) -> None:
    platform = made(tmp_path / "films", epsilon=math.inf, noise_multiplier=0.0)
    (platform.folder / POLICY).write_text('{"max_epsilon": 8.0}')
    with pytest.raises(PolicyRefusal):
        platform.train(a_request(private=False))
    assert computed == []


def test_a_private_record_without_noise_trains_nobody(tmp_path: Path, computed: list[int]) -> None:
    platform = made(tmp_path / "films", noise_multiplier=0.0)
    with pytest.raises(FedInterestError, match="noise_multiplier"):
        platform.train(a_request())
    assert computed == []


# --- randomness ------------------------------------------------------------------------------


def test_an_unsafe_seed_repeats_a_run_and_a_real_platform_does_not(tmp_path: Path) -> None:
    seeded = [made(tmp_path / f"s{n}", unsafe_seed=4).train(a_request()) for n in range(2)]
    assert alike(*seeded)
    assert not alike(made(tmp_path / "s5", unsafe_seed=5).train(a_request()), seeded[0])
    real = [made(tmp_path / f"r{n}").train(a_request()) for n in range(2)]
    assert not alike(*real)


def test_micro_batches_change_rounding_only(tmp_path: Path) -> None:
    whole, part = (
        made(tmp_path / str(size), unsafe_seed=4, micro_batch=size).train(a_request())
        for size in (256, 3)
    )
    for name, value in whole.update.items():
        np.testing.assert_allclose(part.update[name], value, rtol=0, atol=1e-4 * value.std())


# --- the record -------------------------------------------------------------------------------


def record_of(platform: Platform) -> list[PlatformRound]:
    found = [entry.statement for entry in read(platform.journal_path, platform.key.public)]
    assert all(isinstance(one, PlatformRound) for one in found)
    return found  # type: ignore[return-value]


def test_a_release_is_stated_and_signed_before_it_leaves(tmp_path: Path) -> None:
    platform, request = made(tmp_path / "films", encoder="e" * 64), a_request()
    reply = platform.train(request)
    (said,) = record_of(platform)
    assert reply.envelope is not None
    assert reply.envelope.is_signed_by(platform.key.public)
    assert parse_statement(reply.envelope.payload) == said
    ledger = read_ledger(platform.ledger_path)
    steps = PRIVACY.steps_per_round
    assert said == PlatformRound(
        platform="films",
        index=0,
        root=EMPTY.hex(),
        round=1,
        request=request.digest,
        adapter_in=adapter_sha256(request.adapter),
        update=update_sha256(reply.update, PROTOCOL_VERSION),
        base=Whitening.from_arrays(request.base).sha256,
        encoder="e" * 64,
        code=code_sha256("shared", "clients"),
        policy=policy_sha256(Policy()),
        steps=steps,
        sample_rate=PRIVACY.sample_rate,
        noise_multiplier=a_record().noise_multiplier,
        clip_norm=PRIVACY.clip_norm,
        epsilon=PRIVACY.epsilon,
        delta=a_record().delta,
        unsafe_seed=False,
        charge=Charged(first=0, entries=steps, head=ledger.head),
    )
    platform.train(a_request(round_=2))
    second = record_of(platform)[1]
    assert second.charge == Charged(
        first=steps, entries=2 * steps, head=read_ledger(platform.ledger_path).head
    )
    assert second.index == 1
    assert (platform.folder / "signing.key").stat().st_mode & 0o077 == 0
    assert (
        update_sha256(TrainReply.from_records(reply.to_records()).update, PROTOCOL_VERSION)
        == said.update
    )


def test_the_same_release_asked_for_again_has_the_same_statement(tmp_path: Path) -> None:
    folder = tmp_path / "films"
    made(folder)
    first = Platform.open(folder).train(a_request())
    again = Platform.open(folder).train(a_request())
    assert again.envelope == first.envelope
    assert len(record_of(Platform.open(folder))) == 1


def test_another_release_for_the_same_request_is_stated_as_well(tmp_path: Path) -> None:
    """The secret is lost: other noise, another charge, another statement."""
    platform = made(tmp_path / "films")
    platform.train(a_request())
    for path in (platform.folder / "secrets").iterdir():
        path.unlink()
    platform.train(a_request())
    first, second = record_of(platform)
    assert first.request == second.request
    assert first.update != second.update
    assert first.charge is not None
    assert second.charge is not None
    assert second.charge.first == first.charge.entries


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_while_stating_is_stated_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    folder = tmp_path / "films"
    made(folder)
    append = Journal.append

    def crash(self: Journal, *args: Any) -> Any:
        if when == "after":
            append(self, *args)
        raise Crashed

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", crash)
        with pytest.raises(Crashed):
            Platform.open(folder).train(a_request())
    platform = Platform.open(folder)
    reply = platform.train(a_request())
    (said,) = record_of(platform)
    assert said.update == update_sha256(reply.update, PROTOCOL_VERSION)
    assert steps_charged(platform) == PRIVACY.steps_per_round


def test_nothing_leaves_when_it_cannot_be_stated(tmp_path: Path) -> None:
    platform = made(tmp_path / "films")
    platform.train(a_request())
    content = platform.journal_path.read_bytes()
    platform.journal_path.write_bytes(content[:-9] + b"rubbish\n")
    with pytest.raises(RunError, match="a log as it was signed"):
        platform.train(a_request(round_=2))


def test_a_charge_that_is_not_on_disk_is_no_charge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, computed: list[int]
) -> None:
    platform = made(tmp_path / "films")
    monkeypatch.setattr(Ledger, "charge_many", lambda *_: ())
    with pytest.raises(LedgerError, match="this round's charge"):
        platform.train(a_request())
    assert computed == []


def test_without_privacy_the_statement_says_so(tmp_path: Path) -> None:
    platform = made(tmp_path / "films", epsilon=math.inf, noise_multiplier=0.0)
    reply = platform.train(a_request(private=False))
    (said,) = record_of(platform)
    assert (said.private, said.charge, said.epsilon) == (False, None, math.inf)
    assert reply.envelope is not None
    assert b"NOT PRIVATE" in reply.envelope.payload


def test_with_a_seed_everything_follows_from_it_and_says_so(tmp_path: Path) -> None:
    first, second = (made(tmp_path / name, unsafe_seed=5) for name in ("a", "b"))
    assert first.train(a_request()).envelope == second.train(a_request()).envelope
    assert record_of(first)[0].unsafe_seed
    assert not (first.folder / "signing.key").exists()


def test_a_policy_s_hash_changes_with_every_limit() -> None:
    changes = [{}, {"max_epsilon": 8.0}, {"max_steps_per_round": 2}, {"allowed_base": ["a" * 64]}]
    assert len({policy_sha256(Policy(**change)) for change in changes}) == len(changes)
    assert policy_sha256(Policy(max_epsilon=math.inf)) == policy_sha256(Policy())
