"""How a partner joins: a request to the coordinator, and the enrolment that comes back.

Both are JSON files that people send each other (mail will do): neither holds a secret.  What must
not be forged on the way is compared by a second channel: `EnrolmentRequest.fingerprint`.
Read strictly: a missing or an unknown field is an error, as is another version.

The request proves that its sender holds two secret keys: that of the certificate (which has signed
the PEM request) and that of the platform's statements (which has signed everything else).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from shared.certificates import (
    check_authority,
    check_certificate,
    read_certificate,
    read_node_key,
    read_request,
)
from shared.config.federation import PublicSettings
from shared.errors import ConfigError, ProtocolError
from shared.files import sha256
from shared.transparency.canonical import canonical
from shared.transparency.envelope import pae
from shared.transparency.keys import PublicKey, SigningKey

VERSION = 1
MAX_TEXT_BYTES = 256 * 1024
_REQUEST = "application/vnd.fedinterest.enrolment-request+json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_KIND = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _-]{0,63}")
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})")
_SHA256 = re.compile(r"[0-9a-f]{64}")
MAX_POPULATION = 10**10


@dataclass(frozen=True, kw_only=True)
class EnrolmentRequest:
    """What a partner says of itself.

    Args:
        name: of the platform, unique in the federation.
        kind: what it is, in a word, for people.
        population: public, declared number of users.
        csr_pem: request for a certificate in the platform's name.
        node_key_pem: public key of Flower's node authentication.
        statement_key: public Ed25519 key of the platform's record, 64 hex digits.

    Raises:
        ProtocolError: a field is not what it should be.
    """

    name: str
    kind: str
    population: int
    csr_pem: str
    node_key_pem: str
    statement_key: str

    def __post_init__(self) -> None:
        where = "enrolment request"
        _match(_NAME, self.name, "name", where)
        _match(_KIND, self.kind, "kind", where)
        _population(self.population, where)
        read_request(self.csr_pem, self.name, f"{where}: csr_pem")
        read_node_key(self.node_key_pem, f"{where}: node_key_pem")
        _key(self.statement_key, f"{where}: statement_key")

    def signed(self, key: SigningKey) -> str:
        """The request as text, signed with the platform's statement key.

        Raises:
            ProtocolError: `key` is not the one the request names.
        """
        if key.public.hex != self.statement_key:
            raise ProtocolError(
                expected=f"the statement key {self.statement_key[:12]}",
                got=key.public.hex[:12],
                where="enrolment request",
            )
        signature = key.sign(pae(_REQUEST, canonical(self._values())))
        return _text({**self._values(), "signature": signature.hex()})

    @classmethod
    def read(cls, text: str) -> Self:
        """Parse what `signed` has written, and check both signatures.

        Raises:
            ProtocolError: it is not that.
        """
        where = "enrolment request"
        values = _fields(text, cls, where, "signature")
        signature = values.pop("signature")
        request = cls(**values)
        try:
            proof = bytes.fromhex(signature)
        except (TypeError, ValueError):
            proof = b""
        key = PublicKey(request.statement_key)
        if not key.verify(proof, pae(_REQUEST, canonical(request._values()))):
            raise ProtocolError(
                expected="the platform's signature over its request",
                got="another",
                where=where,
                remedy="Ask the partner for the file as it was written.",
            )
        return request

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 of all that is asked: to read to each other over the telephone."""
        return sha256(canonical(self._values()))

    def _values(self) -> dict[str, Any]:
        return {"version": VERSION, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class Enrolment:
    """What a partner needs to take part.

    Args:
        name: of the platform.
        gateway: "host:port" it connects to.
        server_name: name in the gateway's certificate.
        ca_pem: the coordinator's authority.
        certificate_pem: the platform's certificate.
        federation: what all agree on; of the platforms it holds this one.
        coordinator_key: public Ed25519 key of the coordinator's record, 64 hex digits.
        bundle_sha256: the app bundle that the coordinator's runs are started with.

    Raises:
        ProtocolError: a field is not what it should be, or the authority has not signed the
            certificate.
    """

    name: str
    gateway: str
    server_name: str
    ca_pem: str
    certificate_pem: str
    federation: PublicSettings
    coordinator_key: str
    bundle_sha256: str

    def __post_init__(self) -> None:
        where = "enrolment"
        _match(_NAME, self.name, "name", where)
        check_address(self.gateway, f"{where}: gateway")
        _match(_ADDRESS, f"{self.server_name}:0", "server_name", where)
        authority = read_certificate(self.ca_pem, f"{where}: ca_pem")
        check_authority(authority, f"{where}: ca_pem")
        where_own = f"{where}: certificate_pem"
        certificate = read_certificate(self.certificate_pem, where_own)
        check_certificate(certificate, authority, name=self.name, server=False, where=where_own)
        if set(self.federation.platforms) != {self.name}:
            raise ProtocolError(
                expected=f"the platform {self.name} alone",
                got=", ".join(sorted(self.federation.platforms)),
                where=f"{where}: federation.platforms",
            )
        _key(self.coordinator_key, f"{where}: coordinator_key")
        _match(_SHA256, self.bundle_sha256, "bundle_sha256", where)

    def text(self) -> str:
        """The enrolment as a file."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        values["federation"] = federation_values(self.federation)
        return _text({"version": VERSION, **values})

    @classmethod
    def read(cls, text: str) -> Self:
        """Parse what `text` has written.

        Raises:
            ProtocolError: it is not that.
        """
        where = "enrolment"
        values = _fields(text, cls, where)
        federation = values.pop("federation")
        if not isinstance(federation, dict):
            raise ProtocolError(
                expected="a federation's settings", got="something else", where=where
            )
        try:
            settings = PublicSettings.load(federation, where=f"{where}: federation")
        except ConfigError as error:
            raise ProtocolError(
                expected=error.expected, got=error.got, where=error.where, remedy=error.remedy
            ) from error
        return cls(federation=settings, **values)


def federation_values(settings: PublicSettings) -> dict[str, Any]:
    """A federation's public settings as JSON can hold them; an infinite epsilon is "inf"."""
    values = settings.model_dump(mode="json")
    if not settings.privacy.private:
        values["privacy"]["epsilon"] = "inf"
    return values


def check_address(address: object, where: str) -> tuple[str, int]:
    """Take "host:port" apart.

    Returns:
        The host, an IPv6 address without its brackets, and the port.

    Raises:
        ProtocolError: it is not of that form.
    """
    match = _ADDRESS.fullmatch(address) if isinstance(address, str) else None
    if match is None or not 0 < int(match[2]) < 65536:
        raise ProtocolError(expected='"host:port"', got=repr(address)[:80], where=where)
    return match[1].strip("[]"), int(match[2])


def _fields(text: str, of: type, where: str, *more: str) -> dict[str, Any]:
    """The fields of a file of type `of`, all of them and no others; `version` is checked."""
    known = {"version", *(one.name for one in fields(of)), *more}
    try:
        if len(text) > MAX_TEXT_BYTES:
            raise ValueError("too long")
        values = json.loads(text, object_pairs_hook=_once)
        if not isinstance(values, dict):
            raise ValueError("no object")
    except (ValueError, RecursionError) as error:
        raise ProtocolError(expected="a JSON object", got="something else", where=where) from error
    if type(values.get("version")) is not int or values["version"] != VERSION:
        raise ProtocolError(
            expected=f"version {VERSION}",
            got=repr(values.get("version"))[:20],
            where=where,
            remedy="Use the same version of fedinterest on both sides.",
        )
    if set(values) != known:
        missing, unknown = sorted(known - set(values)), sorted(set(values) - known)
        raise ProtocolError(
            expected=f"the fields {', '.join(sorted(known))}",
            got=f"missing: {', '.join(missing) or 'none'}; unknown: {len(unknown)}",
            where=where,
        )
    del values["version"]
    return values


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a field twice")
    return values


def _text(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=2, allow_nan=False) + "\n"


def _match(pattern: re.Pattern[str], value: object, field: str, where: str) -> None:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ProtocolError(
            expected=f"{field} to match {pattern.pattern}",
            got=repr(value)[:80],
            where=f"{where}: {field}",
        )


def _population(value: object, where: str) -> None:
    if type(value) is not int or not 2 <= value <= MAX_POPULATION:
        raise ProtocolError(
            expected=f"a whole number from 2 to {MAX_POPULATION}",
            got=repr(value)[:80],
            where=f"{where}: population",
        )


def _key(value: object, where: str) -> None:
    if not isinstance(value, str):
        raise ProtocolError(expected="64 hex digits", got=type(value).__name__, where=where)
    try:
        PublicKey(value)
    except ProtocolError as error:
        raise ProtocolError(expected=error.expected, got=error.got, where=where) from error
