"""A partner's keys: who else can read them, what they fit, and what changes when they do."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.supercore.primitives.asymmetric import public_key_to_bytes

from clients.home import Home
from clients.joining.keys import Keys
from shared.certificates import read_certificate, read_request
from shared.errors import RunError
from tests.clients.partners import enrolled


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    made = Keys(tmp_path / "keys", "shop")
    made.make()
    return made


def test_all_are_made_once_and_for_their_owner_only(keys: Keys) -> None:
    before = {path.name: path.read_bytes() for path in keys.folder.iterdir()}
    assert set(before) == {
        *("tls.key", "node.key", "signing.key", "executor.secret"),
        *("loopback.key", "loopback.crt"),
    }
    assert {path.stat().st_mode & 0o077 for path in keys.folder.iterdir()} == {0}
    keys.make()
    assert {path.name: path.read_bytes() for path in keys.folder.iterdir()} == before


def test_flower_reads_the_node_key_and_writes_the_same_public_key(keys: Keys) -> None:
    key = load_ssh_private_key(keys.node_key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert isinstance(key.curve, ec.SECP384R1)
    assert public_key_to_bytes(key.public_key()).decode() == keys.node_public()


def test_the_request_is_in_the_platforms_name(keys: Keys) -> None:
    read_request(keys.csr(), "shop", "test")


def test_new_keys_and_the_old_certificate(home: Home) -> None:
    keys = home.keys
    certificate = keys.tls_certificate.read_text()
    assert keys.fits(certificate)
    before = (keys.tls_key.read_bytes(), keys.node_public(), keys.signing.public.hex)
    keys.rotate()
    assert not keys.tls_certificate.exists()
    assert not keys.fits(certificate)
    assert keys.tls_key.read_bytes() != before[0]
    assert keys.node_public() != before[1]
    assert keys.signing.public.hex == before[2]
    with pytest.raises(RunError, match="another key's"):
        keys.install(certificate, home.keys.authority.read_text())
    keys.rotate(signing=True)
    assert keys.signing.public.hex != before[2]
    assert len(list(keys.folder.glob("signing-*.key"))) == 1


def test_a_missing_or_damaged_key_says_what_to_do(keys: Keys) -> None:
    keys.node_key.write_bytes(b"garbage")
    with pytest.raises(RunError, match="rotate-keys"):
        keys.node_public()
    keys.tls_key.unlink()
    with pytest.raises(RunError):
        keys.csr()


def test_an_enrolment_is_installed(home: Home, world: Path) -> None:
    found = enrolled(home, world)
    assert read_certificate(home.keys.tls_certificate.read_text(), "test").serial_number
    assert home.enrolment() == found
