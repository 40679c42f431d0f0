"""Aggregation against numbers worked out by hand, and against loops that read like the paper."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.rounds.aggregation import ServerOptimiser, mean_update
from shared.config.training import ServerSettings
from shared.errors import DataError


def one(value: float) -> dict[str, np.ndarray]:
    return {"x": np.array([value], np.float32)}


def test_mean_is_weighted_by_public_weights() -> None:
    mean = mean_update({"a": one(1.0), "b": one(4.0)}, {"a": 1.0, "b": 2.0, "absent": 99.0})
    assert mean["x"].dtype == np.float64
    assert mean["x"].tolist() == [3.0]


def test_no_update_is_an_error() -> None:
    with pytest.raises(DataError):
        mean_update({}, {})


def test_bits_do_not_depend_on_the_order_of_arrival() -> None:
    """1e8, -1e8 and 1 do not add up the same in every order: the order is fixed."""
    values = {"a": 1e8, "b": 1.0, "c": -1e8, "d": 3e-9}
    weights = {"a": 0.3, "b": 1.7, "c": 0.9, "d": 11.0}
    seen = set()
    for order in itertools.permutations(values):
        mean = mean_update({name: one(values[name]) for name in order}, weights)
        seen.add(mean["x"].tobytes())
    assert len(seen) == 1


def run(settings_: ServerSettings, start: float, means: list[float]) -> list[float]:
    optimiser = ServerOptimiser(settings=settings_)
    adapter = one(start)
    state = optimiser.init(adapter)
    seen = []
    for mean in means:
        before = {slot: {k: v.copy() for k, v in arrays.items()} for slot, arrays in state.items()}
        old_state, old_adapter = state, adapter
        adapter, state = optimiser.apply(state, adapter, {"x": np.array([mean])})
        assert all(
            np.array_equal(before[slot]["x"], old_state[slot]["x"]) for slot in before
        )  # pure
        assert adapter["x"] is not old_adapter["x"]
        assert adapter["x"].dtype == np.float32
        seen.append(float(adapter["x"][0]))
    return seen


def test_fedavg_adds_the_mean() -> None:
    assert run(ServerSettings(optimiser="fedavg"), 1.0, [0.5, -2.0]) == [1.5, -0.5]
    half = ServerSettings(optimiser="fedavg", learning_rate=0.5)
    assert run(half, 1.0, [0.5, -2.0]) == [1.25, 0.25]


def test_fedavgm_by_hand() -> None:
    settings_ = ServerSettings(optimiser="fedavgm", momentum=0.5, learning_rate=1.0)
    # m: 1, 0.5+1=1.5, 0.75-2=-1.25
    assert run(settings_, 0.0, [1.0, 1.0, -2.0]) == [1.0, 2.5, 1.25]


def test_fedadam_by_hand() -> None:
    settings_ = ServerSettings(
        optimiser="fedadam", momentum=0.5, second_momentum=0.75, learning_rate=0.1
    )
    # m = 0.5 * 0 + 0.5 * 2 = 1; v = 0.75 * 1e-6 + 0.25 * 4 = 1.00000075
    # x = 0.1 * 1 / (sqrt(1.00000075) + 0.001) = 0.0999000625...
    [value] = run(settings_, 0.0, [2.0])
    assert value == pytest.approx(0.09990006, rel=1e-6)


@given(
    st.lists(st.floats(-5, 5), min_size=1, max_size=8),
    st.sampled_from([0.0, 0.5, 0.9]),
    st.sampled_from([0.0, 0.9, 0.99]),
    st.sampled_from([0.01, 1.0]),
)
@settings(max_examples=60, deadline=None)
def test_fedadam_reads_like_the_paper(
    means: list[float], beta1: float, beta2: float, eta: float
) -> None:
    settings_ = ServerSettings(
        optimiser="fedadam", momentum=beta1, second_momentum=beta2, learning_rate=eta
    )
    tau = 1e-3
    x, m, v = np.float32(0), 0.0, tau**2
    expected = []
    for delta in means:
        m = beta1 * m + (1 - beta1) * delta
        v = beta2 * v + (1 - beta2) * delta**2
        x = np.float32(float(x) + eta * m / (v**0.5 + tau))
        expected.append(float(x))
    assert run(settings_, 0.0, means) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_averaging_updates_is_updating_the_average() -> None:
    """FedAvg with eta 1 gives the mean of what the platforms hold."""
    rng = np.random.default_rng(0)
    adapter = {"x": rng.normal(size=(4, 3)).astype(np.float32)}
    ends = {name: rng.normal(size=(4, 3)).astype(np.float32) for name in "abc"}
    updates = {name: {"x": end - adapter["x"]} for name, end in ends.items()}
    optimiser = ServerOptimiser(settings=ServerSettings())
    mean = mean_update(updates, dict.fromkeys("abc", 1.0))
    after, _ = optimiser.apply(optimiser.init(adapter), adapter, mean)
    np.testing.assert_allclose(after["x"], np.mean(list(ends.values()), axis=0), atol=1e-6)
