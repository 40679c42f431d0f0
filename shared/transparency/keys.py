"""Ed25519 keys (RFC 8032): whose word a statement is.

A signing key is a file of mode 0600 in its owner's private folder, made once, and never leaves it.
A public key is 32 bytes, written as 64 hex digits; its id is the SHA-256 of those bytes.  Who a
key belongs to is said by `keys.json` beside a run's logs.  That file proves nothing by itself:
an auditor compares the ids with those that the platforms give out.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from shared.errors import ProtocolError, RunError, StorageError
from shared.files import write_bytes, write_text

KEY_BYTES = 32
SIGNATURE_BYTES = 64
_LABEL = b"fedinterest/signing/1"


@dataclass(frozen=True)
class PublicKey:
    """Checks what the holder of a signing key has signed.

    Args:
        hex: 64 hex digits, lower case.

    Raises:
        ProtocolError: they are no public key.
    """

    hex: str

    def __post_init__(self) -> None:
        try:
            content = bytes.fromhex(self.hex)
            if len(content) != KEY_BYTES or content.hex() != self.hex:
                raise ValueError("length or case")
            Ed25519PublicKey.from_public_bytes(content)
        except (ValueError, TypeError) as error:
            raise ProtocolError(
                expected="an Ed25519 public key, 64 hex digits", got="something else", where="key"
            ) from error

    @cached_property
    def id(self) -> str:
        """Hex SHA-256 of the key's 32 bytes."""
        return sha256(bytes.fromhex(self.hex)).hexdigest()

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Whether `signature` over `message` was made with this key's other half."""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    @cached_property
    def _key(self) -> Ed25519PublicKey:
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.hex))


class SigningKey:
    """The secret half.

    Args:
        seed: 32 secret bytes; never in a repr.
    """

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = PublicKey(self._key.public_key().public_bytes_raw().hex())

    @classmethod
    def unsafe(cls, seed: int, name: str) -> Self:
        """A key that follows from a number: anybody may sign with it.  For seeded simulations."""
        root = sha256(_LABEL + f"/UnsafeSeed/{seed}".encode()).digest()
        info = _LABEL + b"/" + name.encode()
        return cls(HKDFExpand(algorithm=SHA256(), length=KEY_BYTES, info=info).derive(root))

    @classmethod
    def kept(cls, path: Path) -> Self:
        """The key in the file `path`, made with the operating system's generator if there is none.

        Raises:
            RunError: the file is no signing key.
            StorageError: it cannot be read or written.
        """
        try:
            seed = path.read_bytes()
        except FileNotFoundError:
            seed = os.urandom(KEY_BYTES)
            write_bytes(path, seed)  # mode 0600, whole or absent
        except OSError as error:
            raise StorageError(
                expected="to read a signing key", got=error.strerror or "", where=str(path)
            ) from error
        if len(seed) != KEY_BYTES:
            raise RunError(
                expected=f"a signing key of {KEY_BYTES} bytes",
                got=f"{len(seed)} bytes",
                where=str(path),
                remedy="Restore it: with another key nothing can be added to the record.",
            )
        return cls(seed)

    def sign(self, message: bytes) -> bytes:
        """64 bytes; the same for the same message."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"SigningKey({self.public.id[:12]})"


def keys_text(keys: Mapping[str, str]) -> str:
    """What `keys.json` holds: name -> public key."""
    return json.dumps(dict(sorted(keys.items())), indent=2) + "\n"


def write_keys(path: Path, keys: Mapping[str, str]) -> None:
    """Replace `keys.json`, unless it says so already.

    Raises:
        StorageError: the disk refused.
    """
    text = keys_text(keys)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def parse_keys(content: bytes, where: str) -> dict[str, PublicKey]:
    """The keys of a `keys.json` that reads `content`.

    Raises:
        RunError: it is not what `write_keys` writes.
    """
    try:
        values = json.loads(content)
        keys = {str(name): PublicKey(value) for name, value in values.items()}
        if keys_text(values).encode() != content:
            raise ValueError("not as written")
    except (ValueError, AttributeError, TypeError, ProtocolError) as error:
        raise RunError(
            expected="public keys by name, as they were written",
            got=type(error).__name__,
            where=where,
            remedy="Restore the file from the coordinator's own copy.",
        ) from error
    return keys


def read_keys(path: Path) -> dict[str, PublicKey]:
    """The keys of a run's record, by the name of platform or "coordinator".

    Raises:
        RunError: there is no such file, or it is damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(
            expected="the record's public keys",
            got=error.strerror or type(error).__name__,
            where=str(path),
            remedy="Runs of before the record have none; check the run folder.",
        ) from error
    return parse_keys(content, str(path))
