"""What a platform has released, and its own model made of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients import platform as platforms
from clients.released import Released
from shared.config.federation import Member, PublicSettings
from shared.config.training import OWN, SHARED, Interpolation, TrainingSettings
from shared.errors import AdapterError, ProtocolError, RunError
from shared.protocol import OLDEST_VERSION, PROTOCOL_VERSION, TrainRequest, travelling
from simulations.audits.checks.site import histories, request, site

A, B, C = "blocks.000.lora_B", "blocks.001.lora_B", "blocks.002.lora_B"
HALF = Interpolation(shared=0.5, own=0.5)


def block(value: float) -> np.ndarray:
    return np.full((2, 3), value, np.float32)


def test_the_sum_of_rounds(tmp_path: Path) -> None:
    released = Released(tmp_path / "released")
    assert released.total(9) == {}
    for round_, update in ((1, {A: block(1)}), (2, {B: block(10)}), (3, {A: block(4)})):
        released.keep(round_, update)
    assert {name: float(value[0, 0]) for name, value in released.total(2).items()} == {A: 1, B: 10}
    assert {name: float(value[0, 0]) for name, value in released.total(3).items()} == {A: 5, B: 10}
    released.keep(1, {A: block(2)})  # the round was answered anew
    assert float(released.total(1)[A][0, 0]) == 2
    shared = {A: block(100), B: block(0)}
    own = released.own(shared, Interpolation(shared=0.25, own=0.5), through=3)
    assert (own[A] == 28).all()
    assert (own[B] == 5).all()
    assert (shared[A] == 100).all()
    own = released.own({**shared, C: block(8)}, Interpolation(shared=0.25, own=0.5), through=1)
    assert [float(value[0, 0]) for value in own.values()] == [26, 0, 2]


def test_who_has_nothing_of_its_own_has_the_shared_adapter(tmp_path: Path) -> None:
    released, shared = Released(tmp_path), {A: block(100)}
    assert released.own(shared, Interpolation(shared=0.25, own=0.5), through=3) is shared
    released.keep(1, {A: block(2)})
    assert released.own(shared, Interpolation(shared=0.25, own=0.5), through=0) is shared
    own = released.own(shared, Interpolation(shared=0.25, own=0.0), through=3)
    assert (own[A] == 25).all()


@settings(max_examples=50)
@given(
    values=st.lists(st.floats(-60000, 60000, width=32), min_size=1, max_size=6),
    version=st.sampled_from([OLDEST_VERSION, PROTOCOL_VERSION]),
)
def test_it_is_kept_as_it_travelled(values: list[float], version: int) -> None:
    import tempfile

    update = {A: np.array([values], np.float32)}
    with tempfile.TemporaryDirectory() as folder:
        released = Released(Path(folder))
        released.keep(7, travelling(update, version))
        assert np.array_equal(released.total(7)[A], travelling(update, version)[A])


def test_damage_is_named(tmp_path: Path) -> None:
    released = Released(tmp_path)
    released.keep(1, {A: block(1)})
    with pytest.raises(AdapterError, match="another model"):
        released.own({A: np.zeros((5, 3), np.float32)}, HALF, through=1)
    with pytest.raises(AdapterError, match="another model"):
        released.own({B: block(0)}, HALF, through=1)
    path = tmp_path / "0001.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(RunError, match="as it was released"):
        released.total(1)
    released.keep(1, {A: block(float("inf"))})
    with pytest.raises(RunError, match="as it was released"):
        released.total(1)


def parts_of(federation: PublicSettings, name: str) -> tuple[float, float]:
    parts = federation.interpolation(name)
    return parts.shared, parts.own


def test_what_a_platforms_model_is_made_of() -> None:
    """Worked by hand: alone is the root of the share of users, half of the weights are each's."""
    members = {
        "one": Member(population=9000, weight=1.0),
        "two": Member(population=1000, weight=1.0),
        "three": Member(population=6000, weight=2.0),
    }
    federation = PublicSettings(platforms=members)
    assert parts_of(federation, "one") == (0.25, pytest.approx(0.75 - 0.25 / 4))
    assert parts_of(federation, "two") == (0.25, pytest.approx(0.25 - 0.25 / 4))
    half = federation.replace(training=TrainingSettings(own=0.5))
    assert parts_of(half, "one") == (0.625, pytest.approx((0.75 + 0.25) / 2 - 0.625 / 4))
    all_of_it = federation.replace(training=TrainingSettings(others=1.0))
    assert parts_of(all_of_it, "one") == (1.0, pytest.approx(0.75 - 1 / 4))
    assert parts_of(all_of_it, "two") == (1.0, 0.0)  # 0.25 alone, 0.25 with the others
    shared = federation.replace(training=TrainingSettings(own=0.0))
    assert parts_of(shared, "one") == (1.0, 0.0)
    heavy = {**members, "two": Member(population=1000, weight=30.0)}
    assert PublicSettings(platforms=heavy).interpolation("two").own == pytest.approx(
        0.25 - 0.25 * 10 / 11
    )
    heavier = {**members, "two": Member(population=10, weight=30.0)}
    assert PublicSettings(platforms=heavier).interpolation("two").own == 0.0


@pytest.mark.parametrize("own", [0.0, 0.3, 1.0])
def test_a_federation_of_one_has_one_model(own: float) -> None:
    """Its releases are the shared adapter: whatever the parts, they make it up."""
    members = {"one": Member(population=9000, weight=3.0)}
    federation = PublicSettings(platforms=members, training=TrainingSettings(own=own))
    assert sum(parts_of(federation, "one")) == pytest.approx(1.0)


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, np.ndarray]]:
    """What each training started from."""
    found = []
    installed = platforms.local_round

    def watching(model, *rest):  # type: ignore[no-untyped-def]
        found.append(
            {name: model.block(name).lora_B.weight.detach().numpy().copy() for name in model.names}
        )
        return installed(model, *rest)

    monkeypatch.setattr(platforms, "local_round", watching)
    return found


def asked(round_: int, weight: object = 0.25, shared: object = 0.5) -> TrainRequest:
    found = request(round_, **{SHARED: shared, f"{OWN}films": weight})
    adapter = {name: value + np.float32(round_) for name, value in found.adapter.items()}
    return replace(found, adapter=adapter)


def test_a_round_starts_from_the_own_model(
    tmp_path: Path, starts: list[dict[str, np.ndarray]]
) -> None:
    shop = site(tmp_path / "own", histories(9, 0), steps=100, epsilon=1e4)
    updates = [shop.train(asked(round_)).update for round_ in (1, 2, 3)]
    (first,), (second,) = updates[0], updates[1]
    assert first != second
    for name in starts[2]:
        moved = {first: updates[0], second: updates[1]}[name][name]
        expected = np.float32(0.5) * np.float32(3) + np.float32(0.25) * moved
        np.testing.assert_allclose(starts[2][name], expected, rtol=1e-6)
    # another user, the same releases: the same start
    other = site(tmp_path / "other", histories(10, 1), steps=100, epsilon=1e4)
    for path in (tmp_path / "own" / "released").iterdir():
        other.released.folder.mkdir(exist_ok=True)
        (other.released.folder / path.name).write_bytes(path.read_bytes())
    other.train(asked(3))
    assert all(np.array_equal(starts[2][name], starts[3][name]) for name in starts[2])


def test_the_same_request_has_the_same_answer_whatever_came_after(tmp_path: Path) -> None:
    shop = site(tmp_path, histories(9, 0), steps=100, epsilon=1e4, unsafe_seed=3)
    answers = {}
    for round_ in (1, 2, 3, 2, 1, 3):
        update = shop.train(asked(round_)).update
        answers.setdefault(round_, []).append(next(iter(update.values())))
    assert all(np.array_equal(*pair) for pair in answers.values())


def test_another_start_has_other_noise(tmp_path: Path) -> None:
    """Two answers from two starts under one noise would show their difference bare."""
    shop = site(tmp_path, [], steps=100, epsilon=1e4)  # nobody: an update is noise alone
    shop.train(asked(1))
    once = shop.train(asked(3))
    assert np.array_equal(*(one.update[A] for one in (once, shop.train(asked(3)))))
    shop.released.keep(1, {name: value + 1 for name, value in shop.released.total(1).items()})
    assert not np.isclose(once.update[A], shop.train(asked(3)).update[A]).any()


def test_an_older_coordinator_says_nothing_of_it(
    tmp_path: Path, starts: list[dict[str, np.ndarray]]
) -> None:
    """Then all of the shared adapter is meant, and nothing beside it."""
    shop = site(tmp_path, histories(9, 0), steps=100, epsilon=1e4)
    for round_ in (1, 2):
        found = asked(round_)
        known = {k: v for k, v in found.settings.items() if not k.startswith((OWN, SHARED))}
        shop.train(replace(found, settings=known))
    assert all(np.array_equal(value, np.full_like(value, 2)) for value in starts[1].values())


@pytest.mark.parametrize("weight", [-0.1, 1.5, float("nan"), "x", 1, True])
def test_other_weights_are_refused_before_a_charge(tmp_path: Path, weight: object) -> None:
    shop = site(tmp_path, histories(4, 0))
    with pytest.raises(ProtocolError, match=r"own.films from 0 to 1"):
        shop.train(asked(1, weight))
    with pytest.raises(ProtocolError, match=r"shared_weight from 0 to 1"):
        shop.train(asked(1, shared=weight))
    assert not shop.ledger_path.exists()
    assert not shop.released.folder.exists()


def test_a_new_promise_begins_without_it(tmp_path: Path) -> None:
    shop = site(tmp_path, histories(4, 0))
    shop.train(asked(1))
    assert shop.released.total(1)
    assert not site(tmp_path, histories(4, 0)).released.total(1)
