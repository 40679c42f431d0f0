"""Tensors in one array: the same ones come out, and nothing else comes in."""

import json
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from shared.errors import ProtocolError
from shared.protocol.tensors import finite, floats, tensors

ARRAYS = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.float32(7) * np.ones((), np.float32),
    "none": np.zeros((0, 4), np.float32),
}


def packed(data: bytes, **fields: Any) -> RecordDict:
    values = {"dtype": "uint8", "shape": (len(data),), "stype": "safetensors", "data": data}
    return RecordDict({"adapter": ArrayRecord({"safetensors": Array(**{**values, **fields})})})


def read(records: RecordDict, names: list[str]) -> dict[str, np.ndarray]:
    return floats(records, "adapter", names)  # type: ignore[return-value]


def test_the_same_tensors_come_out_in_the_order_asked_for() -> None:
    record = tensors(ARRAYS)
    assert len(record) == 1
    found = read(RecordDict({"adapter": record}), ["none", "a", "b"])
    assert list(found) == ["none", "a", "b"]
    for name, value in found.items():
        assert value.dtype == np.float32
        assert value.shape == ARRAYS[name].shape
        assert value.tobytes() == ARRAYS[name].tobytes()
    found["b"][0, 0] = 9  # a copy, not the message's bytes
    assert ARRAYS["b"][0, 0] == 0


def test_what_is_refused() -> None:
    good = save({"a": np.ones(3, np.float32)})
    other_dtype = save({"a": np.ones(3, np.float16)})
    with_words = save({"a": np.ones(3, np.float32)}, metadata={"note": "hello"})
    length = int.from_bytes(good[:8], "little")
    header = json.loads(good[8 : 8 + length])
    header["a"]["shape"] = [10**9, 10**9]
    bomb_header = json.dumps(header).encode()
    bomb = len(bomb_header).to_bytes(8, "little") + bomb_header + good[8 + length :]
    for match, records in (
        ("float32", packed(other_dtype)),
        ("tensors", packed(with_words)),
        ("unreadable", packed(good[:-1])),
        ("unreadable", packed(good + b"x")),
        ("unreadable", packed(bomb)),
        ("unreadable", packed(b"")),
        ("unreadable", packed((2**63).to_bytes(8, "little") + b"{}")),
        ("bytes of", packed(good, shape=(len(good) + 1,))),
        ("bytes of", packed(good, stype="numpy.ndarray")),
        ("bytes of", packed(good, dtype="float32")),
        ("one array", RecordDict({"adapter": ArrayRecord()})),
        ("ArrayRecord", RecordDict()),
    ):
        with pytest.raises(ProtocolError, match=match):
            read(records, ["a"])
    assert read(packed(good), ["a"])["a"].tolist() == [1, 1, 1]
    with pytest.raises(ProtocolError, match="tensors"):
        read(packed(good), ["a", "b"])
    with pytest.raises(ProtocolError, match="NaN"):
        finite({"a": np.array([1, np.nan], np.float32)})


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_bytes_raise_nothing_but_protocol_errors(data: st.DataObject) -> None:
    good = bytearray(save({"a": np.ones(3, np.float32), "b": np.zeros((2, 2), np.float32)}))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(good) - 1))
        good[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(good)))
    for content in (bytes(good), bytes(good[:cut])):
        try:
            found = read(packed(content), ["a", "b"])
        except ProtocolError:
            continue
        assert {name: value.shape for name, value in found.items()} == {"a": (3,), "b": (2, 2)}
