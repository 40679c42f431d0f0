"""The interest model against plain loops; sizes are read from the model, not assumed."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.adapters import Adapter, extract, initial_adapter
from shared.config.training import ModelSettings
from shared.errors import AdapterError
from shared.ground import Ground
from shared.model import (
    InterestModel,
    block_columns,
    padded,
    recency_weights,
    trained_in,
)
from shared.protocol import PROTOCOL_VERSION, TrainReply, travelling
from shared.records import size_in_bytes

ITEMS, WIDTH = 30, 12
SETTINGS = ModelSettings(history_length=6, rank=10, layers=2)

rows = st.lists(st.integers(0, ITEMS - 1), max_size=9)


def unit_vectors(seed: int = 0) -> torch.Tensor:
    drawn = torch.randn((ITEMS, WIDTH), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=1)


def random_adapter(seed: int, settings_: ModelSettings = SETTINGS) -> Adapter:
    generator = np.random.default_rng(seed)
    return {
        name: generator.normal(size=value.shape).astype(np.float32)
        for name, value in initial_adapter(settings_, WIDTH).items()
    }


def ground(seed: int = 0) -> Ground:
    features = torch.randn((ITEMS, 2 * WIDTH), generator=torch.Generator().manual_seed(seed + 7))
    return Ground(vectors=unit_vectors(seed), features=torch.nn.functional.normalize(features))


def interests(model: InterestModel, histories: list[list[int]]) -> torch.Tensor:
    items, present = padded([np.array(history, np.int32) for history in histories])
    return model.interests(model.items(ground()), items, present).detach()


# --- reading a history -----------------------------------------------------------------------


def test_recency_weights_pinned() -> None:
    present = torch.tensor([[True, True, True], [True, False, False], [False, False, False]])
    found = recency_weights(present, 0.5)
    assert found.dtype == torch.float32
    assert found[0].tolist() == pytest.approx([4 / 7, 2 / 7, 1 / 7])
    assert found[1].tolist() == [1.0, 0.0, 0.0]
    assert found[2].tolist() == [0.0, 0.0, 0.0]


@given(size=st.integers(1, 60), decay=st.floats(0.01, 1.0))
def test_recency_weights_are_shares(size: int, decay: float) -> None:
    found = recency_weights(torch.ones(size, dtype=torch.bool), decay).tolist()
    slow = [decay**back for back in range(size)]
    assert found == pytest.approx([weight / sum(slow) for weight in slow], rel=1e-6)


@given(histories=st.lists(rows, max_size=5))
def test_padded_is_newest_first(histories: list[list[int]]) -> None:
    items, present = padded([np.array(history, np.int32) for history in histories])
    assert items.dtype == torch.int64
    assert present.dtype == torch.bool
    assert items.shape == present.shape
    assert len(items) == len(histories)
    for row, history in enumerate(histories):
        assert items[row][present[row]].tolist() == history[::-1]
        assert present[row].tolist() == sorted(present[row].tolist(), reverse=True)
        assert (items[row][~present[row]] == 0).all()


# --- the interest ----------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(history=rows)
def test_round_zero_is_the_recency_weighted_mean(history: list[int]) -> None:
    model = InterestModel(SETTINGS, WIDTH)
    found = interests(model, [history])[0].numpy()
    vectors = unit_vectors().double().numpy()
    want, total = np.zeros(WIDTH), 0.0
    for back, item in enumerate(reversed(history)):
        want += SETTINGS.decay**back * vectors[item]
        total += SETTINGS.decay**back
    np.testing.assert_allclose(found, want / np.linalg.norm(want) if history else want, atol=1e-6)


def test_round_zero_adds_exactly_nothing() -> None:
    model = InterestModel(SETTINGS, WIDTH)
    assert torch.equal(model.items(ground()), ground().vectors)
    assert initial_adapter(SETTINGS, WIDTH)
    assert not any(value.any() for value in initial_adapter(SETTINGS, WIDTH).values())


def test_a_history_is_read_alike_alone_and_in_company() -> None:
    model = InterestModel(SETTINGS, WIDTH).load(random_adapter(1))
    histories = [[3], [], [1, 2, 3, 4, 5, 6], [29, 0], [7, 7, 7]]
    together = interests(model, histories)
    assert torch.isfinite(together).all()
    for row, history in enumerate(histories):
        assert torch.allclose(together[row], interests(model, [history])[0], atol=1e-6)
    items, present = padded([np.array(history, np.int32) for history in histories])
    junk = torch.where(present, items, ITEMS - 1)  # what stands where a history has ended
    adapted = model.items(ground())
    assert torch.equal(
        model.interests(adapted, junk, present), model.interests(adapted, items, present)
    )


def test_order_matters() -> None:
    model = InterestModel(SETTINGS, WIDTH).load(random_adapter(1))
    assert not torch.allclose(interests(model, [[1, 2]]), interests(model, [[2, 1]]), atol=1e-3)


def test_an_adapted_item_is_its_vector_and_w_times_its_features() -> None:
    """Written out in numpy, column by column, from the tensors that travel."""
    adapter = random_adapter(2)
    model = InterestModel(SETTINGS, WIDTH).load(adapter)
    features = ground().features.double().numpy()
    want = ground().vectors.double().numpy().copy()
    for number, value in enumerate(adapter.values()):
        for place in range(value.shape[1]):
            column = place * len(adapter) + number  # a block has every K-th column
            want += np.outer(features[:, column], value[:, place])
    np.testing.assert_allclose(model.moved(ground()).detach().numpy(), want, atol=1e-5)
    want /= np.linalg.norm(want, axis=1, keepdims=True)
    np.testing.assert_allclose(model.items(ground()).detach().numpy(), want, atol=1e-5)


def test_items_are_turned_and_never_stretched() -> None:
    """Whatever was trained: an item keeps its length, and one without a text stays nothing."""
    vectors, features = ground().vectors.clone(), ground().features.clone()
    vectors[4], features[4] = 0.0, 0.0
    public = Ground(vectors, features)
    model = InterestModel(SETTINGS, WIDTH).load(random_adapter(3))
    lengths = model.items(public).detach().norm(dim=1)
    assert torch.allclose(lengths, vectors.norm(dim=1), atol=1e-6)
    assert lengths[4] == 0
    assert float((model.items(public) - vectors).detach().norm()) > 1


def test_averaging_adapters_averages_moved_items() -> None:
    """They are affine in what is trained: no cross term between two platforms' updates."""
    adapters = [random_adapter(seed) for seed in range(3)]
    weights = [0.5, 0.2, 0.3]
    mean = {
        name: sum(
            np.float32(weight) * adapter[name]
            for weight, adapter in zip(weights, adapters, strict=True)
        )
        for name in adapters[0]
    }
    apart = [InterestModel(SETTINGS, WIDTH).load(a).moved(ground()) for a in adapters]
    want = sum(weight * found for weight, found in zip(weights, apart, strict=True))
    found = InterestModel(SETTINGS, WIDTH).load(mean).moved(ground())
    assert torch.allclose(found, want, rtol=1e-5, atol=1e-5)
    assert float((apart[0] - apart[1]).detach().norm()) > 1  # they do differ


# --- what is trained -------------------------------------------------------------------------


@given(features=st.integers(1, 300), rank=st.integers(1, 80))
def test_blocks_are_disjoint_cover_everything_and_are_alike(features: int, rank: int) -> None:
    blocks = [list(range(features))[columns] for columns in block_columns(features, rank)]
    assert sorted(column for block in blocks for column in block) == list(range(features))
    sizes = {len(block) for block in blocks}
    assert max(sizes) <= rank
    assert max(sizes) - min(sizes) <= 1
    assert len(blocks) == -(-features // rank)


def test_every_layer_is_in_every_block() -> None:
    width = 384
    for block in block_columns(4 * width, 192):
        layers = np.bincount(np.arange(4 * width)[block] // width, minlength=4)
        assert layers.tolist() == [48, 48, 48, 48]


def test_rounds_train_the_blocks_in_turns() -> None:
    names = InterestModel(SETTINGS, WIDTH).names
    assert len(names) > 1
    turns = [trained_in(names, round_) for round_ in range(1, 2 * len(names) + 1)]
    assert turns == [[name] for name in names] * 2


def test_only_the_blocks_are_trained_and_there_is_no_other_name() -> None:
    model = InterestModel(SETTINGS, WIDTH)
    assert model.names == sorted(model.names)
    assert len(list(model.parameters())) == len(model.names)
    with pytest.raises(AdapterError, match=r"blocks\.999"):
        model.block("blocks.999.lora_B")


def test_an_update_of_the_default_model_fits_the_uplink() -> None:
    adapter = initial_adapter(ModelSettings(), 384)
    (trained,) = trained_in(list(adapter), 1)
    drawn = np.random.default_rng(0).standard_normal(adapter[trained].shape).astype(np.float32)
    update = travelling({trained: drawn}, PROTOCOL_VERSION)
    reply = TrainReply(
        platform="films", round=1, request_digest="ab" * 32, update=update, constants={}
    )
    assert drawn.size == 384 * 1536  # all of it
    assert 384 * 1536 // 4 < size_in_bytes(reply.to_records()) < 148_500  # and a statement


def test_load_takes_a_copy() -> None:
    adapter = random_adapter(4)
    kept = {name: value.copy() for name, value in adapter.items()}
    model = InterestModel(SETTINGS, WIDTH).load(adapter)
    for value in adapter.values():
        value.fill(0)
    assert all(np.array_equal(extract(model)[name], kept[name]) for name in kept)


def spoilt(change: str) -> Adapter:
    adapter = random_adapter(0)
    name = next(iter(adapter))
    value = adapter[name]
    if change == "no tensors":
        return {}
    if change == "renamed":
        return {"other": value}
    if change == "one more":
        return {**adapter, "zzz": value}
    if change == "transposed":
        return {**adapter, name: np.ascontiguousarray(value.T)}
    if change == "float64":
        return {**adapter, name: value.astype(np.float64)}
    value[0, 0] = {"nan": np.nan, "infinite": -np.inf}[change]
    return adapter


@pytest.mark.parametrize(
    "change", ["no tensors", "renamed", "one more", "transposed", "float64", "nan", "infinite"]
)
def test_load_refuses_what_does_not_fit(change: str) -> None:
    model = InterestModel(SETTINGS, WIDTH).load(random_adapter(7))
    before = extract(model)
    with pytest.raises(AdapterError, match="adapter") as caught:
        model.load(spoilt(change))
    assert caught.value.exit_code == 6
    assert all(np.array_equal(extract(model)[name], before[name]) for name in before)
