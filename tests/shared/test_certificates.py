"""Certificates, held against OpenSSL where it can be the judge."""

import stat
import subprocess
from base64 import b64decode, b64encode
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from shared.certificates import (
    belongs,
    check_authority,
    check_certificate,
    common_name,
    days_left,
    kept_key,
    names_of,
    new_key,
    new_node_key,
    private_pem,
    public_pem,
    read_certificate,
    read_key,
    read_node_key,
    read_request,
    request_pem,
    self_signed,
    serial_hex,
    subject,
    utc_now,
)
from shared.errors import ProtocolError, RunError

NOW = utc_now()


def openssl(*arguments: str, said: str) -> str:
    done = subprocess.run(
        ["openssl", *arguments], input=said, capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout + done.stderr


def test_a_request_is_what_openssl_calls_one() -> None:
    key = new_key()
    pem = request_pem(key, "shop")
    text = openssl("req", "-verify", "-noout", "-subject", "-text", said=pem)
    assert "verify OK" in text
    assert "subject=CN = shop" in text
    assert "NIST CURVE: P-256" in text
    assert read_request(pem, "shop", "x") == key.public_key()


def request(key: object, name: x509.Name) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()  # type: ignore[arg-type]


def test_other_requests_are_refused() -> None:
    key = new_key()
    more = x509.Name([*subject("shop"), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "films")])
    twice = x509.Name([*subject("shop"), *subject("films")])
    flipped = bytearray(
        x509.load_pem_x509_csr(request_pem(key, "shop").encode()).public_bytes(Encoding.DER)
    )
    flipped[-1] ^= 1
    forged = x509.load_der_x509_csr(bytes(flipped)).public_bytes(Encoding.PEM).decode()
    # "MII?..." begins SEQUENCE, SEQUENCE, INTEGER version 0: written as version 13
    lines = request_pem(key, "shop").splitlines()
    der = bytearray(b64decode("".join(lines[1:-1])))
    der[der.index(b"\x02\x01\x00") + 2] = 13
    versioned = "\n".join([lines[0], b64encode(der).decode(), lines[-1]])
    for pem in (
        "",
        versioned,
        "x",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        request_pem(key, "films"),
        request_pem(key, "Shop"),
        request(key, more),
        request(key, twice),
        request(new_node_key(), subject("shop")),
        request(rsa.generate_private_key(65537, 2048), subject("shop")),
        forged,
        request_pem(key, "shop") + " " * 20000,
    ):
        with pytest.raises(ProtocolError, match="certificate request for CN=shop"):
            read_request(pem, "shop", "x")


def test_a_key_is_kept_and_private(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    key = kept_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert kept_key(path).private_numbers() == key.private_numbers()
    assert "ASN1 OID: prime256v1" in openssl("pkey", "-noout", "-text", said=path.read_text())
    for content in (b"", b"x", private_pem(new_node_key()).encode(), b"\xff" * 9):
        path.write_bytes(content)
        with pytest.raises(RunError, match="P-256"):
            read_key(path)
    with pytest.raises(RunError, match="P-256"):
        read_key(tmp_path / "none")


def test_a_node_key_is_written_in_one_way_only() -> None:
    """Flower compares bytes."""
    from flwr.supercore.primitives.asymmetric import public_key_to_bytes

    key = new_node_key().public_key()
    pem = public_pem(key)
    assert pem.encode() == public_key_to_bytes(key)
    assert read_node_key(pem, "x") == key
    other = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    for text in (
        pem.strip(),
        pem + "\n",
        pem.replace("\n", "\r\n"),
        "",
        "x",
        public_pem(new_key().public_key()),
        public_pem(ec.generate_private_key(ec.SECP521R1()).public_key()),
        "a" * 20000,
    ):
        with pytest.raises(ProtocolError, match="P-384"):
            read_node_key(text, "x")
    assert read_node_key(other, "x") == key


def test_a_self_signed_certificate_is_good_for_its_hosts(tmp_path: Path) -> None:
    key = new_key()
    pem = self_signed(key, ["localhost", "127.0.0.1", "localhost"], 30, NOW)
    path = tmp_path / "a.crt"
    path.write_text(pem)
    text = openssl(
        "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", str(path), said=pem
    )
    assert "OK" in text
    found = read_certificate(pem, "x")
    assert names_of(found) == ("localhost", "127.0.0.1")
    assert belongs(found, key)
    assert not belongs(found, new_key())
    assert days_left(found, NOW) == 30
    assert days_left(found, NOW + timedelta(days=29, hours=12)) == 0.5
    assert days_left(found, NOW + timedelta(days=31)) == -1
    assert days_left(found, NOW - timedelta(days=1)) == -1
    with pytest.raises(ProtocolError, match="host name"):
        self_signed(key, ["not a host"], 30, NOW)


def test_what_is_no_certificate_is_refused() -> None:
    pem = self_signed(new_key(), ["localhost"], 30, NOW)
    for text in ("", "x", pem + pem, pem[:200], pem.replace("M", "N", 1), "a" * 20000):
        with pytest.raises(ProtocolError, match="one certificate"):
            read_certificate(text, "x")


def test_a_self_signed_certificate_is_nobody_elses() -> None:
    pem = self_signed(new_key(), ["shop"], 30, NOW)
    one, other = (
        read_certificate(pem, "x"),
        read_certificate(self_signed(new_key(), ["shop"], 30, NOW), "x"),
    )
    check_certificate(one, one, name="shop", server=True, where="x")
    for authority, name, server in (
        (other, "shop", True),
        (one, "films", True),
        (one, "shop", False),
    ):
        with pytest.raises(ProtocolError, match="authority"):
            check_certificate(one, authority, name=name, server=server, where="x")
    with pytest.raises(ProtocolError, match="another purpose"):
        # It may not sign certificates for long: without cRL signing it is no authority of ours.
        check_authority(_leaf(), "x")


def _leaf() -> x509.Certificate:
    key = new_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject("a"))
        .issuer_name(subject("a"))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(), critical=True)
        .sign(key, hashes.SHA256())
    )


def _usage() -> x509.KeyUsage:
    from shared.certificates import key_usage

    return key_usage(sign=True, certify=False)


@given(serial=st.integers(1, 2**159))
def test_a_serial_number_is_written_as_openssl_does(serial: int) -> None:
    text = serial_hex(serial)
    assert bytes.fromhex(text) == serial.to_bytes((serial.bit_length() + 7) // 8, "big")
    assert text == text.upper()


def test_a_subject_is_one_common_name() -> None:
    assert common_name(_leaf()) == "a"
