"""A partner's keys, made where they are used and never sent.

    keys/
    ├── tls.key, tls.crt, ca.crt     mutual TLS with the gateway: EC P-256; two as enrolled
    ├── node.key                     Flower's node authentication: EC P-384, OpenSSH
    ├── loopback.key, loopback.crt   between the SuperNode and the sidecar: self-signed, 127.0.0.1
    ├── signing.key                  Ed25519: signs what the platform releases, and its request
    └── executor.secret              shared by the SuperNode and our executor

TLS and node keys may be changed at will (`rotate`).  The signing key is the platform's identity:
statements, ledger anchor and the coordinator's list of members hang on it.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_ssh_private_key,
)

from shared.certificates import (
    belongs,
    kept_key,
    new_key,
    new_node_key,
    private_pem,
    public_pem,
    read_certificate,
    read_key,
    request_pem,
    self_signed,
    utc_now,
)
from shared.errors import RunError, StorageError
from shared.files import write_bytes, write_text
from shared.transparency.keys import SigningKey

LOOPBACK = "127.0.0.1"
_LOOPBACK_DAYS = 3650


@dataclass(frozen=True)
class Keys:
    """The keys in a folder.

    Args:
        folder: DIR/keys.
        name: the platform's; it is the certificate's common name.
        unsafe_seed: of a test; the signing key then follows from it.
    """

    folder: Path
    name: str
    unsafe_seed: int | None = None

    @property
    def tls_key(self) -> Path:
        """PEM."""
        return self.folder / "tls.key"

    @property
    def tls_certificate(self) -> Path:
        """PEM, as enrolled."""
        return self.folder / "tls.crt"

    @property
    def authority(self) -> Path:
        """PEM, as enrolled."""
        return self.folder / "ca.crt"

    @property
    def node_key(self) -> Path:
        """OpenSSH private key, as `flower-supernode --auth-supernode-private-key` wants it."""
        return self.folder / "node.key"

    @property
    def loopback_key(self) -> Path:
        """PEM."""
        return self.folder / "loopback.key"

    @property
    def loopback_certificate(self) -> Path:
        """PEM."""
        return self.folder / "loopback.crt"

    @property
    def signing_key(self) -> Path:
        """32 bytes."""
        return self.folder / "signing.key"

    @property
    def executor_secret(self) -> Path:
        """64 hex digits."""
        return self.folder / "executor.secret"

    def make(self) -> None:
        """Make every key that is not there.

        Raises:
            StorageError: the disk refused.
        """
        kept_key(self.tls_key)
        if not self.node_key.is_file():
            write_bytes(self.node_key, _node_key())
        if not self.executor_secret.is_file():
            write_text(self.executor_secret, os.urandom(32).hex())
        if not (self.loopback_key.is_file() and self.loopback_certificate.is_file()):
            key = new_key()
            certificate = self_signed(key, [LOOPBACK, "localhost"], _LOOPBACK_DAYS, utc_now())
            write_text(self.loopback_key, private_pem(key))
            write_text(self.loopback_certificate, certificate)
        _ = self.signing

    @property
    def signing(self) -> SigningKey:
        """What statements are signed with; made at the first use."""
        if self.unsafe_seed is not None:
            return SigningKey.unsafe(self.unsafe_seed, self.name)
        return SigningKey.kept(self.signing_key)

    def csr(self) -> str:
        """PEM request for a certificate of the TLS key, in the platform's name.

        Raises:
            RunError: there is no such key.
        """
        return request_pem(read_key(self.tls_key), self.name)

    def node_public(self) -> str:
        """PEM public key of Flower's node authentication.

        Raises:
            RunError: there is no such key.
        """
        try:
            key = load_ssh_private_key(self.node_key.read_bytes(), None)
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise ValueError("another kind")
        except (OSError, ValueError, UnsupportedAlgorithm) as error:
            raise RunError(
                expected="an EC private key as OpenSSH writes it",
                got=type(error).__name__,
                where=str(self.node_key),
                remedy="`fedinterest-client rotate-keys` makes a new one.",
            ) from error
        return public_pem(key.public_key())

    def fits(self, certificate: str) -> bool:
        """Whether a certificate (PEM) is for the TLS key.

        Raises:
            ProtocolError: it is no certificate.
            RunError: there is no such key.
        """
        return belongs(read_certificate(certificate, "certificate"), read_key(self.tls_key))

    def install(self, certificate: str, authority: str) -> None:
        """Keep what the coordinator sent back.

        Raises:
            RunError: the certificate belongs to another key.
            StorageError: the disk refused.
        """
        if not self.fits(certificate):
            raise RunError(
                expected=f"a certificate for the key {self.tls_key}",
                got="another key's",
                where="enrolment, certificate",
                remedy="Send the newest request.json to the coordinator and be enrolled with it.",
            )
        for path, text in ((self.authority, authority), (self.tls_certificate, certificate)):
            if not path.is_file() or path.read_bytes() != text.encode():
                write_text(path, text)

    def rotate(self, *, signing: bool = False) -> None:
        """Put new keys in place of the old TLS and node keys, and of the signing key if asked.

        The certificate is set aside: it is the old key's.  Nothing works until a new enrolment.

        Raises:
            StorageError: the disk refused.
        """
        write_text(self.tls_key, private_pem(new_key()))
        write_bytes(self.node_key, _node_key())
        try:
            self.tls_certificate.unlink(missing_ok=True)
            if signing and self.unsafe_seed is None:
                old = self.signing.public.id[:12]
                if self.signing_key.is_file():
                    os.replace(self.signing_key, self.folder / f"signing-{old}.key")
        except OSError as error:
            raise StorageError(
                expected="to set an old key aside", got=error.strerror or "", where=str(self.folder)
            ) from error
        self.make()


def _node_key() -> bytes:
    key = new_node_key()
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
