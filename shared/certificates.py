"""X.509 certificates and keys (RFC 5280): who may speak to whom.

Three kinds: the authority, which signs; a partner's, good for a client only; a server's, good for a
server only.  So a partner's certificate never passes for the gateway.  Keys of certificates are EC
P-256, those of Flower's node authentication EC P-384.  A private key is made where it is used, in a
file of mode 0600, and never leaves that machine: what travels is a request (RFC 2986).

Texts are PEM.  What is read here came from somebody else, so everything about it is checked.
"""

import ipaddress
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.errors import ProtocolError, RunError
from shared.files import write_bytes

MAX_PEM_BYTES = 16 * 1024
BACKDATED = timedelta(minutes=5)
"""Certificates are valid from a little earlier, for partners whose clock is slow."""

PrivateKey = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9-]{1,63})*")


def new_key() -> PrivateKey:
    """A key for a certificate, from the operating system's generator."""
    return ec.generate_private_key(ec.SECP256R1())


def new_node_key() -> PrivateKey:
    """A key for Flower's node authentication."""
    return ec.generate_private_key(ec.SECP384R1())


def private_pem(key: PrivateKey) -> str:
    """The secret key, unencrypted (PKCS 8)."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_pem(key: PublicKey) -> str:
    """The public key, byte for byte as Flower writes it."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def kept_key(path: Path) -> PrivateKey:
    """The P-256 key in the file `path`, made there if there is no such file.

    Raises:
        RunError: the file holds no such key.
        StorageError: it cannot be written.
    """
    if path.exists():
        return read_key(path)
    key = new_key()
    write_bytes(path, private_pem(key).encode())  # mode 0600, whole or absent
    return key


def read_key(path: Path) -> PrivateKey:
    """The P-256 key in the file `path`.

    Raises:
        RunError: there is none.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _no_key(path, type(error).__name__) from error
    if not isinstance(key, PrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _no_key(path, "a key of another kind")
    return key


def read_node_key(pem: str, where: str) -> PublicKey:
    """A partner's public key of Flower's node authentication.

    Raises:
        ProtocolError: it is none, is not on P-384, or is not written as `public_pem` does.
    """
    try:
        key = load_pem_public_key(_bounded(pem))
        if not isinstance(key, PublicKey) or not isinstance(key.curve, ec.SECP384R1):
            raise _Wrong("another kind")
        # Flower compares the bytes: two texts for one key would be two nodes.
        if public_pem(key) != pem:
            raise _Wrong("another form")
    except _UNREADABLE as error:
        raise ProtocolError(
            expected="an EC P-384 public key in PEM", got="something else", where=where
        ) from error
    return key


def request_pem(key: PrivateKey, name: str) -> str:
    """A request for a certificate in the name of `name`, signed with `key`."""
    request = x509.CertificateSigningRequestBuilder().subject_name(subject(name))
    return request.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def read_request(pem: str, name: str, where: str) -> PublicKey:
    """The key that a certificate for `name` is asked for.  All else in the request is ignored.

    Raises:
        ProtocolError: it is no request, is not signed with the key it names, is not about a P-256
            key, or is in another name.
    """
    try:
        request = x509.load_pem_x509_csr(_bounded(pem))
        key = request.public_key()
        if not isinstance(key, PublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise _Wrong("not on P-256")
        if not request.is_signature_valid:
            raise _Wrong("a wrong signature")
        if request.subject != subject(name):
            raise _Wrong("another name")
    except (*_UNREADABLE, InvalidSignature) as error:
        raise ProtocolError(
            expected=f"a certificate request for CN={name} with an EC P-256 key, signed by it",
            got=_word(error),
            where=where,
            remedy="`fedinterest-client init` and `rotate-keys` make one.",
        ) from error
    return key


def read_certificate(pem: str, where: str) -> x509.Certificate:
    """One certificate.

    Raises:
        ProtocolError: `pem` is none, or more than one.
    """
    try:
        certificates = x509.load_pem_x509_certificates(_bounded(pem))
        if len(certificates) != 1:
            raise _Wrong(f"{len(certificates)} certificates")
        found = certificates[0]
        key = found.public_key()
        if not isinstance(key, PublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise _Wrong("a key of another kind")
    except _UNREADABLE as error:
        raise ProtocolError(
            expected="one certificate in PEM with an EC P-256 key", got=_word(error), where=where
        ) from error
    return found


def check_certificate(
    certificate: x509.Certificate,
    authority: x509.Certificate,
    *,
    name: str,
    server: bool,
    where: str,
) -> None:
    """Hold a certificate against the authority that should have signed it.

    Says nothing of time (`days_left`) and of revocation.

    Args:
        name: the subject's common name; of a server, a name it is reached by.
        server: for a server, not for a client.

    Raises:
        ProtocolError: another's signature, name or purpose.
    """
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
    try:
        certificate.verify_directly_issued_by(authority)
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        if list(purposes) != [purpose]:
            raise _Wrong("a certificate for another purpose")
        if name not in (names_of(certificate) if server else (common_name(certificate),)):
            raise _Wrong("another name")
    except InvalidSignature as error:
        raise _not_ours(name, "another's signature", where) from error
    except (*_UNREADABLE, x509.ExtensionNotFound) as error:
        raise _not_ours(name, _word(error), where) from error


def check_authority(certificate: x509.Certificate, where: str) -> None:
    """Hold a certificate against what an authority's must be: its own, and good for signing.

    Raises:
        ProtocolError: it is not.
    """
    try:
        certificate.verify_directly_issued_by(certificate)
        basics = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        may = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        if not (basics.ca and basics.path_length == 0 and may.key_cert_sign and may.crl_sign):
            raise _Wrong("a certificate for another purpose")
    except (
        InvalidSignature,
        ValueError,
        TypeError,
        x509.ExtensionNotFound,
        x509.DuplicateExtension,
    ) as error:
        raise ProtocolError(
            expected="the certificate of an authority", got=_word(error), where=where
        ) from error


def belongs(certificate: x509.Certificate, key: PrivateKey) -> bool:
    """Whether a certificate is about the other half of `key`."""
    return certificate.public_key() == key.public_key()


def common_name(certificate: x509.Certificate) -> str:
    """Whose certificate it is; "" where its subject holds anything but one common name."""
    attributes = list(certificate.subject)
    if len(attributes) != 1 or attributes[0].oid != NameOID.COMMON_NAME:
        return ""
    return str(attributes[0].value)


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """The host names and addresses a server's certificate is for."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    hosts = found.get_values_for_type(x509.DNSName)
    return (*hosts, *(str(one) for one in found.get_values_for_type(x509.IPAddress)))


def serial_hex(serial: int) -> str:
    """A serial number as nginx and OpenSSL write it: upper-case hex, whole bytes."""
    text = f"{serial:X}"
    return text.zfill(len(text) + len(text) % 2)


def days_left(certificate: x509.Certificate, now: datetime) -> float:
    """Days until it expires; negative when it has, or is not valid yet."""
    if now < certificate.not_valid_before_utc:
        return -1.0
    return (certificate.not_valid_after_utc - now) / timedelta(days=1)


def subject(name: str) -> x509.Name:
    """The distinguished name CN=`name`, and nothing else."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def alternative_names(hosts: Sequence[str]) -> x509.SubjectAlternativeName:
    """The extension that says which hosts a server's certificate is for.

    Raises:
        ProtocolError: one is neither a host name nor an IP address.
    """
    return x509.SubjectAlternativeName([_general_name(host) for host in dict.fromkeys(hosts)])


def self_signed(key: PrivateKey, hosts: Sequence[str], days: int, now: datetime) -> str:
    """A server's certificate that vouches for itself: for two processes of one machine.

    Whoever connects is given this very certificate as the only one to trust.

    Raises:
        ProtocolError: a host is neither a name nor an IP address.
    """
    name = subject(hosts[0])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(alternative_names(hosts), critical=False)
        # Python 3.13 and later (VERIFY_X509_STRICT) asks a trusted certificate for these.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(sign=True, certify=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def key_usage(*, sign: bool, certify: bool) -> x509.KeyUsage:
    """What a key may do: sign a handshake, sign certificates and their revocation."""
    return x509.KeyUsage(
        digital_signature=sign,
        key_cert_sign=certify,
        crl_sign=certify,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def utc_now() -> datetime:
    """The time of day, in whole seconds as certificates keep it."""
    return datetime.now(UTC).replace(microsecond=0)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        if not _HOST.fullmatch(host):
            raise ProtocolError(
                expected="a host name or an IP address", got=repr(host), where="certificate"
            ) from None
        return x509.DNSName(host)


def _bounded(pem: str) -> bytes:
    if not isinstance(pem, str) or len(pem) > MAX_PEM_BYTES:
        raise _Wrong("something too long")
    return pem.encode()


# What `cryptography` raises on input it cannot read; not all of them are ValueErrors.
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
)


class _Wrong(ValueError):
    """Ours, in our words; a parser's error may quote what it was given."""


def _word(error: Exception) -> str:
    return str(error) if isinstance(error, _Wrong) else "something else"


def _no_key(path: Path, got: str) -> RunError:
    return RunError(expected="an EC P-256 private key in PEM", got=got, where=str(path))


def _not_ours(name: str, got: str, where: str) -> ProtocolError:
    return ProtocolError(
        expected=f"a certificate for {name} signed by the coordinator's authority",
        got=got,
        where=where,
        remedy="Use the files of the newest enrolment.",
    )
