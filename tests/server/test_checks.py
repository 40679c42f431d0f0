"""Each rule of server.checks, broken alone."""

import numpy as np
import pytest

from server.checks import check_update
from shared.errors import UpdateRejected
from shared.protocol import TrainReply, TrainRequest

REQUEST = TrainRequest(
    round=4,
    adapter={"b": np.zeros((2, 2), np.float32), "a": np.zeros(3, np.float32)},
    trained=["b", "a"],
    base={},
    settings={"steps": 1},
)


def reply(**changes: object) -> TrainReply:
    values = {
        "platform": "films",
        "round": 4,
        "request_digest": REQUEST.digest,
        "update": {
            "b": np.array([[3, 0], [0, 0]], np.float32),
            "a": np.array([0, 4, 0], np.float32),
        },
        "constants": {},
    }
    return TrainReply(**{**values, **changes})  # type: ignore[arg-type]


def check(update: TrainReply, limit: float = 5.0) -> float:
    return check_update(update, request=REQUEST, platform="films", max_update_norm=limit)


def test_a_good_update_passes_with_its_norm() -> None:
    assert check(reply()) == 5.0  # 3-4-5, at the limit


GOOD = reply().update


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"platform": "shop"}, "expected an update from films, got 'shop'"),
        ({"round": 3}, "expected an update for round 4, got round 3"),
        ({"request_digest": "0" * 64}, "digest"),
        ({"update": {"b": GOOD["b"]}}, "names"),
        ({"update": {**GOOD, "c": GOOD["a"]}}, "names"),
        ({"update": {"a": GOOD["a"], "b": GOOD["b"]}}, "names"),
        ({"update": {**GOOD, "a": np.zeros(4, np.float32)}}, r"expected shape \(3,\), got \(4,\)"),
        ({"update": {**GOOD, "a": np.zeros((3, 1), np.float32)}}, "shape"),
        ({"update": {**GOOD, "a": np.zeros(3)}}, "expected float32, got float64"),
        ({"update": {**GOOD, "a": np.array([0, np.nan, 0], np.float32)}}, "finite"),
        ({"update": {**GOOD, "a": np.array([0, -np.inf, 0], np.float32)}}, "finite"),
        ({"update": {**GOOD, "a": np.full(3, 1e38, np.float32)}}, "L2 norm of at most 5"),
        ({"update": {**GOOD, "a": np.array([0, 4.001, 0], np.float32)}}, "norm"),
    ],
)
def test_a_bad_update_is_rejected_with_the_reason(changes: dict[str, object], match: str) -> None:
    with pytest.raises(UpdateRejected, match=match):
        check(reply(**changes))
