"""Requests and enrolments: signed, strict, and bound to their keys."""

import json
import math
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from server.membership.authority import Authority
from shared.certificates import new_key, new_node_key, public_pem, request_pem, utc_now
from shared.config.federation import Member, PublicSettings
from shared.config.privacy import PrivacySettings
from shared.enrolment import Enrolment, EnrolmentRequest, check_address
from shared.errors import ProtocolError
from shared.transparency.keys import SigningKey

TLS, NODE, SIGNING = new_key(), new_node_key(), SigningKey.unsafe(0, "shop")
REQUEST = EnrolmentRequest(
    name="shop",
    kind="shop",
    population=1000,
    csr_pem=request_pem(TLS, "shop"),
    node_key_pem=public_pem(NODE.public_key()),
    statement_key=SIGNING.public.hex,
)
TEXT = REQUEST.signed(SIGNING)


def test_a_request_is_read_as_it_was_written() -> None:
    assert EnrolmentRequest.read(TEXT) == REQUEST
    assert len(REQUEST.fingerprint) == 64
    assert REQUEST.fingerprint != replace(REQUEST, population=1001).fingerprint
    assert "PRIVATE" not in TEXT


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "films"),
        ("kind", "film"),
        ("population", 2000),
        ("csr_pem", request_pem(new_key(), "shop")),
        ("node_key_pem", public_pem(new_node_key().public_key())),
        ("statement_key", SigningKey.unsafe(1, "shop").public.hex),
        ("signature", "00" * 64),
        ("signature", 7),
        ("version", 2),
        ("version", True),
        ("version", None),
        ("more", 1),
        ("population", True),
        ("population", 1),
        ("population", "1000"),
        ("population", 1e3),
        ("name", "a/b"),
        ("name", "../shop"),
        ("name", "a" * 65),
        ("name", ["shop"]),
        ("kind", ""),
        ("kind", "<script>"),
        ("statement_key", "G" * 64),
        ("csr_pem", None),
    ],
)
def test_a_request_that_was_changed_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ProtocolError):
        EnrolmentRequest.read(json.dumps({**json.loads(TEXT), field: value}))


def test_a_request_without_a_field_is_refused() -> None:
    values = json.loads(TEXT)
    for field in values:
        with pytest.raises(ProtocolError):
            EnrolmentRequest.read(json.dumps({k: v for k, v in values.items() if k != field}))


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{", "[" * 10000, '{"version": 1, "version": 1}']
)
def test_what_is_no_object_is_refused(text: str) -> None:
    for kind in (EnrolmentRequest, Enrolment):
        with pytest.raises(ProtocolError):
            kind.read(text)  # type: ignore[attr-defined]
    with pytest.raises(ProtocolError, match="JSON object"):
        EnrolmentRequest.read(TEXT + " " * 300_000)


@settings(max_examples=200)
@given(at=st.integers(0, len(TEXT) - 1), char=st.characters(codec="ascii"))
def test_no_character_can_be_changed(at: int, char: str) -> None:
    """Another text is refused, or says the very same."""
    try:
        found = EnrolmentRequest.read(TEXT[:at] + char + TEXT[at + 1 :])
    except ProtocolError:
        return
    assert found == REQUEST


def test_only_the_platforms_own_key_signs_it() -> None:
    with pytest.raises(ProtocolError, match="statement key"):
        REQUEST.signed(SigningKey.unsafe(1, "shop"))


@pytest.fixture(scope="module")
def enrolment(tmp_path_factory: pytest.TempPathFactory) -> Enrolment:
    authority = _authority(tmp_path_factory.mktemp("a"))
    return Enrolment(
        name="shop",
        gateway="fed.example.org:9443",
        server_name="gateway.fedinterest.internal",
        ca_pem=authority.pem,
        certificate_pem=_issue(authority, "shop"),
        federation=PublicSettings(platforms={"shop": Member(kind="shop", population=1000)}),
        coordinator_key=SigningKey.unsafe(0, "coordinator").public.hex,
        bundle_sha256="ab" * 32,
    )


def _authority(folder: Path) -> Authority:
    return Authority.create(folder / "authority", "fed", utc_now())


def _issue(authority: Authority, name: str) -> str:
    found = authority.issue(name, TLS.public_key(), 30, utc_now())
    return found.public_bytes(Encoding.PEM).decode()


def test_an_enrolment_is_read_as_it_was_written(enrolment: Enrolment) -> None:
    assert Enrolment.read(enrolment.text()) == enrolment
    assert "PRIVATE" not in enrolment.text()
    open_end = enrolment.federation.model_copy(
        update={"privacy": PrivacySettings(epsilon=math.inf)}
    )
    loud = replace(enrolment, federation=open_end)
    assert Enrolment.read(loud.text()) == loud
    assert '"epsilon": "inf"' in loud.text()


def test_an_enrolment_of_anothers_is_refused(enrolment: Enrolment, tmp_path: Path) -> None:
    other = _authority(tmp_path)
    theirs = PublicSettings(platforms={"films": Member(population=1000)})
    both = PublicSettings(
        platforms={"shop": Member(population=1000), "films": Member(population=1000)}
    )
    expired = Authority.create(tmp_path / "b", "fed", utc_now() - timedelta(days=40))
    changes: list[dict[str, Any]] = [
        {"ca_pem": other.pem},
        {"certificate_pem": _issue(other, "shop")},
        {"ca_pem": other.pem, "certificate_pem": _issue(other, "films")},
        {"certificate_pem": enrolment.ca_pem},
        {"ca_pem": enrolment.certificate_pem},
        {"ca_pem": expired.pem},
        {"name": "films"},
        {"federation": theirs},
        {"federation": both},
        {"gateway": "fed.example.org"},
        {"gateway": "fed.example.org:0"},
        {"gateway": 'a";:1'},
        {"server_name": "a b"},
        {"coordinator_key": "x"},
        {"bundle_sha256": "AB" * 32},
    ]
    for change in changes:
        with pytest.raises(ProtocolError):
            replace(enrolment, **change)


def test_an_enrolments_settings_are_read_strictly(enrolment: Enrolment) -> None:
    values = json.loads(enrolment.text())
    for federation in (None, {}, {**values["federation"], "more": 1}, {"platforms": []}):
        with pytest.raises(ProtocolError):
            Enrolment.read(json.dumps({**values, "federation": federation}))
    values["federation"]["privacy"]["epsilon"] = -1
    with pytest.raises(ProtocolError, match="epsilon"):
        Enrolment.read(json.dumps(values))


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("fed.example.org:9443", ("fed.example.org", 9443)),
        ("127.0.0.1:1", ("127.0.0.1", 1)),
        ("[::1]:65535", ("::1", 65535)),
    ],
)
def test_an_address_is_taken_apart(address: str, found: tuple[str, int]) -> None:
    assert check_address(address, "x") == found


@pytest.mark.parametrize(
    "address", ["", "a", "a:", ":1", "a:0", "a:65536", "a:1:2", "a b:1", None, 7]
)
def test_what_is_no_address_is_refused(address: object) -> None:
    with pytest.raises(ProtocolError, match="host:port"):
        check_address(address, "x")
