"""Certificates for tests: an authority, and what it signs."""

from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from clients.serving.service.settings import Tls
from shared.certificates import (
    alternative_names,
    key_usage,
    new_key,
    private_pem,
    subject,
    utc_now,
)


class Authority:
    """Signs for servers and for clients; files lie in `folder`."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self.folder, self.name, self.key = folder, subject(name), new_key()
        folder.mkdir(parents=True, exist_ok=True)
        builder = self._builder(self.name, self.key.public_key(), days=1)
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        builder = builder.add_extension(constraints, critical=True)
        builder = builder.add_extension(key_usage(sign=True, certify=True), critical=True)
        self.certificate = self._signed(builder, "ca.crt")

    def issue(self, name: str, *, server: bool, days: int = 1) -> tuple[Path, Path]:
        """Key and certificate of a server on loopback, or of a client."""
        key = new_key()
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = self._builder(subject(name), key.public_key(), days=days)
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        if server:
            builder = builder.add_extension(alternative_names(["127.0.0.1"]), critical=False)
        path = self.folder / f"{name}.key"
        path.write_text(private_pem(key))
        return path, self._signed(builder, f"{name}.crt")

    def tls(self, name: str = "server") -> Tls:
        """For a service whose callers are this authority's, too."""
        key, certificate = self.issue(name, server=True)
        return Tls(key=key, certificate=certificate, client_ca=self.certificate)

    def _builder(self, name: x509.Name, key: object, *, days: int) -> x509.CertificateBuilder:
        now = utc_now()
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key)  # type: ignore[arg-type]
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=3))
            .not_valid_after(now + timedelta(days=days))
        )

    def _signed(self, builder: x509.CertificateBuilder, name: str) -> Path:
        path = self.folder / name
        path.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM))
        return path
