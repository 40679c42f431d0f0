"""Keys: made once, kept to their owner, and no other bytes pass for one."""

import stat
from pathlib import Path

import pytest

from shared.errors import ProtocolError, RunError
from shared.transparency.keys import (
    PublicKey,
    SigningKey,
    keys_text,
    parse_keys,
    read_keys,
    write_keys,
)

# RFC 8032, section 7.1, TEST 2.
SECRET = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
PUBLIC = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
SIGNATURE = (
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def test_signatures_are_those_of_the_rfc() -> None:
    key = SigningKey(bytes.fromhex(SECRET))
    assert key.public.hex == PUBLIC
    assert key.sign(b"\x72").hex() == SIGNATURE
    assert key.public.verify(bytes.fromhex(SIGNATURE), b"\x72")
    assert not key.public.verify(bytes.fromhex(SIGNATURE), b"\x73")
    assert not key.public.verify(bytes(64), b"\x72")
    assert not key.public.verify(b"", b"\x72")
    assert SECRET not in repr(key) + str(vars(key))


def test_a_key_is_made_once_and_is_its_owner_s(tmp_path: Path) -> None:
    path = tmp_path / "private" / "signing.key"
    key = SigningKey.kept(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SigningKey.kept(path).public == key.public
    assert SigningKey.kept(tmp_path / "another.key").public != key.public
    path.write_bytes(b"short")
    with pytest.raises(RunError, match="signing key of 32 bytes"):
        SigningKey.kept(path)


def test_unsafe_keys_follow_from_seed_and_name() -> None:
    keys = {SigningKey.unsafe(seed, name).public.hex for seed in (0, 1) for name in ("a", "b")}
    assert len(keys) == 4
    assert SigningKey.unsafe(1, "b").public.hex in keys


@pytest.mark.parametrize("text", ["", "0" * 62, PUBLIC.upper(), PUBLIC + " ", "g" * 64])
def test_no_public_key(text: str) -> None:
    with pytest.raises(ProtocolError, match="Ed25519"):
        PublicKey(text)


def test_keys_by_name(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    keys = {name: SigningKey.unsafe(0, name).public for name in ("shop", "coordinator")}
    write_keys(path, {name: key.hex for name, key in keys.items()})
    before = path.stat().st_ino
    write_keys(path, {name: key.hex for name, key in reversed(keys.items())})
    assert path.stat().st_ino == before  # nothing new, nothing written
    assert read_keys(path) == keys
    with pytest.raises(RunError, match="public keys"):
        read_keys(tmp_path / "none.json")
    text = keys_text({"shop": PUBLIC})
    assert parse_keys(text.encode(), "") == {"shop": PublicKey(PUBLIC)}
    for bad in (text.replace("3d", "3D"), text.replace(":", " :"), "[]", "{", text + "\n", "{}"):
        with pytest.raises(RunError, match="as they were written"):
            parse_keys(bad.encode(), "keys.json")
