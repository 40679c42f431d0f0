"""The coordinator's certificate authority: who may connect to the gateway, and who no longer.

    authority/
    ├── ca.crt, ca.key    self-signed, EC P-256, for certificates at one remove only (path length 0)
    ├── issued.json       every certificate ever issued, written before it is handed out
    ├── crl.pem           list of those revoked, as nginx reads it
    └── lock

Rules:
1. A certificate that is not in issued.json was not issued: it is written down first, so that it can
   be revoked whatever happens after.
2. Revoking a name revokes all its certificates.
3. The list of those revoked has a date by which the next is due; from then on nginx refuses
   everybody.  So it is renewed long before (`renew_list`).
"""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from server.membership.locks import locked
from shared.certificates import (
    BACKDATED,
    PrivateKey,
    PublicKey,
    alternative_names,
    check_authority,
    kept_key,
    key_usage,
    read_certificate,
    read_key,
    serial_hex,
    subject,
)
from shared.errors import ProtocolError, RunError
from shared.files import sha256, write_json, write_text

AUTHORITY_DAYS = 3650
LIST_DAYS = 30
_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Issued:
    """One certificate that was issued.

    Args:
        serial: upper-case hex, as nginx writes it.
        name: its common name; a partner's, or the gateway's.
        key: hex SHA-256 of the public key (DER) it is about.
        not_after: ISO 8601, UTC.
        revoked: when it was revoked; None: it was not.
    """

    serial: str
    name: str
    key: str
    not_after: str
    revoked: str | None = None


@dataclass(frozen=True)
class Authority:
    """The authority in a folder.

    Args:
        folder: DIR/authority.
    """

    folder: Path

    @classmethod
    def create(cls, folder: Path, name: str, now: datetime) -> "Authority":
        """Make an authority, or complete one that was half made.

        Args:
            name: of the federation; it is in the authority's own name.

        Raises:
            StorageError: the disk refused.
            RunError: there is a key in the folder that is no such key.
        """
        made = cls(folder)
        with made._locked():
            key = kept_key(made._key_path)
            if not made.certificate_path.is_file():
                write_text(made.certificate_path, _authority_pem(key, name, now))
            if not made._issued_path.is_file():
                made._write({"version": _VERSION, "list": 0, "issued": []})
            if not made.list_path.is_file():
                made._publish(now)
        return made

    @property
    def certificate_path(self) -> Path:
        """The authority's certificate, PEM."""
        return self.folder / "ca.crt"

    @property
    def list_path(self) -> Path:
        """The list of revoked certificates, PEM."""
        return self.folder / "crl.pem"

    @cached_property
    def pem(self) -> str:
        """The authority's certificate.

        Raises:
            RunError: there is none.
        """
        try:
            return self.certificate_path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise _damaged(self.certificate_path, type(error).__name__) from error

    @cached_property
    def certificate(self) -> x509.Certificate:
        """The same, parsed.

        Raises:
            RunError: it is none.
        """
        where = str(self.certificate_path)
        try:
            found = read_certificate(self.pem, where)
            check_authority(found, where)
        except ProtocolError as error:
            raise _damaged(self.certificate_path, error.got) from error
        return found

    def issue(self, name: str, key: PublicKey, days: int, now: datetime) -> x509.Certificate:
        """A partner's certificate: a client's, in its name and no other.

        Raises:
            RunError: the authority's folder is damaged.
            StorageError: the disk refused; nothing was issued.
        """
        return self._issue(name, key, days, now, None)

    def issue_server(
        self, hosts: tuple[str, ...], key: PublicKey, days: int, now: datetime
    ) -> x509.Certificate:
        """The gateway's certificate, for these host names and addresses.

        Raises:
            ProtocolError: a host is neither a name nor an IP address.
            RunError, StorageError: see `issue`.
        """
        return self._issue(hosts[0], key, days, now, alternative_names(hosts))

    def issued(self, name: str | None = None) -> list[Issued]:
        """All certificates ever issued, or those in one name, oldest first.

        Raises:
            RunError: issued.json is missing or damaged.
        """
        found = self._read()["issued"]
        return [one for one in found if name is None or one.name == name]

    def revoke(self, name: str, now: datetime, *, but: str | None = None) -> list[str]:
        """Revoke all certificates in a name that are not expired or revoked already.

        Args:
            but: id of a key whose certificates are left alone.

        Returns:
            Their serial numbers.

        Raises:
            RunError: the authority's folder is damaged.
            StorageError: the disk refused.
        """
        with self._locked():
            values = self._read()
            found, kept = [], []
            for one in values["issued"]:
                mine = one.name == name and one.key != but
                if mine and one.revoked is None and _ends(one) > now:
                    one = replace(one, revoked=now.isoformat())
                    found.append(one.serial)
                kept.append(one)
            self._write({**values, "issued": kept})
            self._publish(now)
        return found

    def list_days_left(self, now: datetime) -> float:
        """Days until the list of revoked certificates is too old; 0 where there is none."""
        try:
            due = x509.load_pem_x509_crl(self.list_path.read_bytes()).next_update_utc
        except (OSError, ValueError):
            return 0.0
        return 0.0 if due is None else (due - now) / timedelta(days=1)

    def renew_list(self, now: datetime) -> bool:
        """Publish the list of revoked certificates anew once half of its time is over.

        Returns:
            Whether it was due.

        Raises:
            RunError: the authority's folder is damaged.
            StorageError: the disk refused.
        """
        if self.list_days_left(now) > LIST_DAYS / 2:
            return False
        with self._locked():
            self._publish(now)
        return True

    def _issue(
        self,
        name: str,
        key: PublicKey,
        days: int,
        now: datetime,
        hosts: x509.SubjectAlternativeName | None,
    ) -> x509.Certificate:
        authority, secret = self.certificate, read_key(self._key_path)
        purpose = (
            ExtendedKeyUsageOID.CLIENT_AUTH if hosts is None else ExtendedKeyUsageOID.SERVER_AUTH
        )
        serial = x509.random_serial_number()
        until = min(now + timedelta(days=days), authority.not_valid_after_utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject(name))
            .issuer_name(authority.subject)
            .public_key(key)
            .serial_number(serial)
            .not_valid_before(now - BACKDATED)
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage(sign=True, certify=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(_authority_id(authority), critical=False)
        )
        if hosts is not None:
            builder = builder.add_extension(hosts, critical=False)
        entry = Issued(
            serial=serial_hex(serial), name=name, key=key_id(key), not_after=until.isoformat()
        )
        with self._locked():
            values = self._read()
            self._write({**values, "issued": [*values["issued"], entry]})
        return builder.sign(secret, hashes.SHA256())

    def _publish(self, now: datetime) -> None:
        """Write crl.pem from issued.json.  RFC 5280 asks for numbers that only grow."""
        authority, values = self.certificate, self._read()
        number = values["list"] + 1
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(authority.subject)
            .last_update(now - BACKDATED)
            .next_update(now + timedelta(days=LIST_DAYS))
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(_authority_id(authority), critical=False)
        )
        for one in values["issued"]:
            if one.revoked is not None and _ends(one) > now - timedelta(days=1):
                entry = x509.RevokedCertificateBuilder().serial_number(int(one.serial, 16))
                entry = entry.revocation_date(datetime.fromisoformat(one.revoked))
                builder = builder.add_revoked_certificate(entry.build())
        self._write({**values, "list": number})
        signed = builder.sign(read_key(self._key_path), hashes.SHA256())
        write_text(self.list_path, signed.public_bytes(Encoding.PEM).decode())

    @property
    def _key_path(self) -> Path:
        return self.folder / "ca.key"

    @property
    def _issued_path(self) -> Path:
        return self.folder / "issued.json"

    def _read(self) -> dict[str, Any]:
        try:
            values = json.loads(self._issued_path.read_text(encoding="utf-8"))
            if set(values) != {"version", "list", "issued"} or values["version"] != _VERSION:
                raise ValueError("another form")
            issued = [Issued(**one) for one in values["issued"]]
            _ = [(int(one.serial, 16), _ends(one)) for one in issued]
            return {"version": _VERSION, "list": int(values["list"]), "issued": issued}
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise _damaged(self._issued_path, type(error).__name__) from error

    def _write(self, values: Mapping[str, Any]) -> None:
        issued = [asdict(one) for one in values["issued"]]
        write_json(self._issued_path, {**values, "issued": issued})

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self.folder / "lock")


def key_id(key: PublicKey) -> str:
    """Hex SHA-256 of a public key in DER."""
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _authority_pem(key: PrivateKey, name: str, now: datetime) -> str:
    own, public = subject(f"fedinterest authority {name}"), key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(own)
        .issuer_name(own)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(sign=False, certify=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def _authority_id(authority: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    own = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _ends(one: Issued) -> datetime:
    return datetime.fromisoformat(one.not_after)


def _damaged(path: Path, got: str) -> RunError:
    return RunError(
        expected="what `fedinterest-server init` made",
        got=got,
        where=str(path),
        remedy="Restore the folder `authority` from a backup; partners trust no other authority.",
    )
