"""Envelopes: DSSE's own example, and not a byte that may be another."""

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import ProtocolError
from shared.transparency.envelope import STATEMENT, TREE_HEAD, Envelope, pae
from shared.transparency.keys import SigningKey

KEY = SigningKey.unsafe(0, "shop")
LINE = Envelope.signed(STATEMENT, b'{"a":1}', KEY).to_bytes()


def test_pae_is_that_of_the_specification() -> None:
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pae("é", b"") == b"DSSEv1 2 \xc3\xa9 0 "


def test_a_line_is_what_dsse_says_it_is() -> None:
    values = json.loads(LINE)
    assert base64.b64decode(values["payload"]) == b'{"a":1}'
    assert values["payloadType"] == "application/vnd.in-toto+json"
    (signature,) = values["signatures"]
    assert signature["keyid"] == KEY.public.id
    signed = base64.b64decode(signature["sig"])
    assert KEY.public.verify(signed, b'DSSEv1 28 application/vnd.in-toto+json 7 {"a":1}')


def test_a_signature_is_for_one_type_and_one_key() -> None:
    envelope = Envelope.from_bytes(LINE, "")
    assert envelope == Envelope.signed(STATEMENT, b'{"a":1}', KEY)
    assert envelope.is_signed_by(KEY.public)
    assert not envelope.is_signed_by(SigningKey.unsafe(1, "shop").public)
    other = Envelope(TREE_HEAD, envelope.payload, envelope.key_id, envelope.signature)
    assert not other.is_signed_by(KEY.public)


@given(st.binary(min_size=1, max_size=200))
@settings(max_examples=50, deadline=None)
def test_any_payload_survives(payload: bytes) -> None:
    envelope = Envelope.signed(STATEMENT, payload, KEY)
    assert Envelope.from_bytes(envelope.to_bytes(), "") == envelope


@given(st.integers(0, len(LINE) - 1), st.integers(1, 255))
@settings(max_examples=300, deadline=None)
def test_no_byte_may_be_another(place: int, change: int) -> None:
    spoilt = bytearray(LINE)
    spoilt[place] ^= change
    try:
        found = Envelope.from_bytes(bytes(spoilt), "entry 3")
    except ProtocolError:
        return
    assert not found.is_signed_by(KEY.public)


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"{}", b"null", LINE[:-1], LINE + b" ", b" " + LINE, LINE.replace(b":", b": ", 1)),
        LINE.replace(b'"payload"', b'"payload":"eyJhIjoxfQ==","payload"'),
        LINE.replace(b'"}]}', b'"},{"keyid":"","sig":""}]}'),
        LINE.replace(b"fQ==", b"fR=="),  # other text, same bytes
    ],
)
def test_what_is_no_envelope(line: bytes) -> None:
    with pytest.raises(ProtocolError, match="DSSE"):
        Envelope.from_bytes(line, "entry 3")
