"""The authority, with OpenSSL as the judge of what it signs."""

import json
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from server.membership.authority import AUTHORITY_DAYS, LIST_DAYS, Authority, key_id
from shared.certificates import common_name, names_of, new_key, serial_hex, utc_now
from shared.errors import ProtocolError, RunError

NOW = utc_now()
KEY = new_key()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "authority", "fed", NOW)


def verify(authority: Authority, certificate: x509.Certificate, *options: str) -> tuple[bool, str]:
    path = authority.folder / "leaf.pem"
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
    trusted = ["-CAfile", str(authority.certificate_path), "-x509_strict"]
    done = subprocess.run(
        ["openssl", "verify", *trusted, *options, str(path)],
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.returncode == 0, done.stdout + done.stderr


def test_its_own_certificate_is_a_strict_authoritys(authority: Authority) -> None:
    text = subprocess.run(
        ["openssl", "x509", "-in", str(authority.certificate_path), "-noout", "-text"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout
    assert "X509v3 Basic Constraints: critical\n                CA:TRUE, pathlen:0" in text
    assert "X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign" in text
    assert "NIST CURVE: P-256" in text
    assert "CN = fedinterest authority fed" in text
    left = authority.certificate.not_valid_after_utc - NOW
    assert left == timedelta(days=AUTHORITY_DAYS)
    for path in authority.folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(authority.folder.stat().st_mode) == 0o700


def test_a_partners_certificate_is_a_clients_and_no_servers(authority: Authority) -> None:
    found = authority.issue("shop", KEY.public_key(), 30, NOW)
    assert verify(authority, found, "-purpose", "sslclient")[0]
    assert not verify(authority, found, "-purpose", "sslserver")[0]
    assert common_name(found) == "shop"
    assert names_of(found) == ()
    assert found.not_valid_after_utc - NOW == timedelta(days=30)
    assert found.serial_number.bit_length() > 100  # random
    basic = found.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert not basic.ca


def test_a_servers_certificate_is_a_servers_and_no_clients(authority: Authority) -> None:
    found = authority.issue_server(("gateway.internal", "10.0.0.1"), KEY.public_key(), 30, NOW)
    assert verify(authority, found, "-purpose", "sslserver")[0]
    assert not verify(authority, found, "-purpose", "sslclient")[0]
    assert names_of(found) == ("gateway.internal", "10.0.0.1")
    with pytest.raises(ProtocolError, match="host name"):
        authority.issue_server(("not a host",), KEY.public_key(), 30, NOW)


def test_no_certificate_outlives_the_authority(authority: Authority) -> None:
    found = authority.issue("shop", KEY.public_key(), 10 * AUTHORITY_DAYS, NOW)
    assert found.not_valid_after_utc == authority.certificate.not_valid_after_utc


def test_all_of_a_name_are_revoked(authority: Authority) -> None:
    first = authority.issue("shop", KEY.public_key(), 30, NOW)
    second = authority.issue("shop", new_key().public_key(), 60, NOW)
    other = authority.issue("films", KEY.public_key(), 30, NOW)
    checked = ("-crl_check", "-CRLfile", str(authority.list_path))
    assert all(verify(authority, one, *checked)[0] for one in (first, second, other))
    assert authority.revoke("shop", NOW) == [
        serial_hex(first.serial_number),
        serial_hex(second.serial_number),
    ]
    for one in (first, second):
        fine, text = verify(authority, one, *checked)
        assert not fine
        assert "certificate revoked" in text
    assert verify(authority, other, *checked)[0]
    assert authority.revoke("shop", NOW) == []
    # The next one in the name is a new one.
    third = authority.issue("shop", new_key().public_key(), 30, NOW)
    assert verify(authority, third, *checked)[0]
    assert [one.revoked is not None for one in authority.issued("shop")] == [True, True, False]


def test_the_list_grows_and_forgets_what_has_expired(authority: Authority) -> None:
    def listed() -> x509.CertificateRevocationList:
        return x509.load_pem_x509_crl(authority.list_path.read_bytes())

    def number() -> int:
        return listed().extensions.get_extension_for_class(x509.CRLNumber).value.crl_number

    authority.issue("shop", KEY.public_key(), 30, NOW)
    before = number()
    authority.revoke("shop", NOW)
    assert (len(listed()), number()) == (1, before + 1)
    assert authority.list_days_left(NOW) == LIST_DAYS
    assert not authority.renew_list(NOW + timedelta(days=LIST_DAYS / 2 - 1))
    later = NOW + timedelta(days=LIST_DAYS / 2)
    assert authority.renew_list(later)
    assert (len(listed()), number()) == (1, before + 2)
    assert authority.renew_list(NOW + timedelta(days=60))
    assert len(listed()) == 0
    authority.list_path.unlink()
    assert authority.list_days_left(NOW) == 0
    assert authority.renew_list(NOW)


def test_what_is_issued_is_written_down_first(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(x509.CertificateBuilder, "sign", dies)
    with pytest.raises(KeyboardInterrupt):
        authority.issue("shop", KEY.public_key(), 30, NOW)
    (entry,) = authority.issued()
    assert (entry.name, entry.key) == ("shop", key_id(KEY.public_key()))


def test_nothing_is_lost_between_many_at_once(authority: Authority) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(
            pool.map(
                lambda i: authority.issue(f"p{i}", KEY.public_key(), 30, NOW).serial_number,
                range(24),
            )
        )
    assert {one.serial for one in authority.issued()} == {serial_hex(one) for one in found}
    assert len(set(found)) == 24


def test_made_again_it_is_the_same(authority: Authority) -> None:
    before = {path.name: path.read_bytes() for path in authority.folder.iterdir()}
    Authority.create(authority.folder, "fed", NOW)
    assert {path.name: path.read_bytes() for path in authority.folder.iterdir()} == before


@pytest.mark.parametrize("left", [("ca.key",), ("ca.key", "ca.crt"), ("ca.key", "issued.json")])
def test_a_half_made_one_is_completed(authority: Authority, left: tuple[str, ...]) -> None:
    for path in authority.folder.iterdir():
        if path.name not in left:
            path.unlink()
    made = Authority.create(authority.folder, "fed", NOW)
    assert verify(made, made.issue("shop", KEY.public_key(), 30, NOW))[0]


@pytest.mark.parametrize("name", ["ca.crt", "ca.key", "issued.json"])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff"])
def test_a_damaged_folder_issues_nothing(
    authority: Authority, name: str, content: bytes | None
) -> None:
    path = authority.folder / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunError):
        Authority(authority.folder).issue("shop", KEY.public_key(), 30, NOW)


def test_a_forged_line_in_the_book_is_damage(authority: Authority) -> None:
    authority.issue("shop", KEY.public_key(), 30, NOW)
    path = authority.folder / "issued.json"
    for field, value in (("serial", "xyz"), ("not_after", "soon"), ("more", 1)):
        values = json.loads(path.read_text())
        values["issued"][0][field] = value
        path.write_text(json.dumps(values))
        with pytest.raises(RunError, match="backup"):
            authority.issued()
        path.write_text(json.dumps({**values, "issued": []}))
        authority.issue("shop", KEY.public_key(), 30, NOW)
