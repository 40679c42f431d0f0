"""A coordinator's folder from nothing, and partners in and out of it.

Each function may be run again after a crash in the middle of it and then completes what it began.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from server.membership import gateway
from server.membership.authority import Authority, Issued, key_id
from server.membership.locks import locked
from server.membership.partners import Partner, Partners
from server.settings import SETTINGS, ServerFolder, listen_for, settings_text
from shared.bundle import bundle_sha256
from shared.certificates import kept_key, read_request, self_signed, serial_hex
from shared.enrolment import Enrolment, EnrolmentRequest
from shared.errors import ConfigError, RunError
from shared.files import storage_error, write_text
from shared.nginx import find_nginx
from shared.transparency.keys import SigningKey

SUPERLINK_DAYS = 3650


@dataclass(frozen=True, kw_only=True)
class Enrolled:
    """What came of an enrolment.

    Args:
        enrolment: to send back.
        partner: as it is known from now on.
        request: what it had asked.
        renewed: it was known, with the same keys.
        revoked: serial numbers of the certificates that its new keys replace.
        reloaded: a running gateway follows already.
    """

    enrolment: Enrolment
    partner: Partner
    request: EnrolmentRequest
    renewed: bool
    revoked: tuple[str, ...]
    reloaded: bool


@dataclass(frozen=True, kw_only=True)
class Revoked:
    """What came of a revocation: see `Enrolled`."""

    partner: Partner
    revoked: tuple[str, ...]
    reloaded: bool


def init(path: Path, *, name: str, address: str, now: datetime) -> ServerFolder:
    """Make a coordinator's folder: authority, certificates, keys, gateway, settings.

    Args:
        path: DIR; new, empty, or left half made.
        name: of the federation.
        address: "host:port" that partners will connect to.

    Raises:
        ConfigError: name or address is not valid; nginx is not installed.
        RunError: there is a coordinator in `path`.
        StorageError: the disk refused.
    """
    folder = ServerFolder(path)
    if (path / SETTINGS).exists() and (folder.gateway / "nginx.conf").exists():
        raise RunError(
            expected="a folder without a coordinator",
            got=f"one with {SETTINGS}",
            where=str(path),
            remedy="Its authority is the one that partners trust: use it, or take another folder.",
        )
    find_nginx()
    text = settings_text(name, address, listen_for(address))
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
        for one in ("gateway", "superlink", "partners", "runs", "log", "state"):
            (path / one).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise storage_error(error, path) from error
    Authority.create(folder.authority, name, now)
    SigningKey.kept(folder.coordinator_key)
    own = kept_key(folder.superlink_key)
    hosts = ("localhost", "127.0.0.1")
    write_text(folder.superlink_certificate, self_signed(own, hosts, SUPERLINK_DAYS, now))
    write_text(path / SETTINGS, text)
    gateway.make_certificate(folder, now)
    gateway.update(folder)
    return folder


def enrol(
    folder: ServerFolder, name: str, text: str, *, now: datetime, replace: bool = False
) -> Enrolled:
    """Let a partner take part, or go on taking part.

    With the keys it was enrolled with it gets a new certificate, and its kind and population are
    taken over; the old certificate stays good until it expires.

    Args:
        name: as the operator knows the partner; the request must be in that name.
        text: the partner's request.
        replace: other keys may take the place of those known; the old certificates are revoked.

    Raises:
        ProtocolError: the request is not valid.
        ConfigError: it is another's, its keys are another's or were revoked, or they are not the
            known ones and `replace` was not asked for.
        RunError, StorageError: the folder is damaged, or the disk refused.
    """
    request = EnrolmentRequest.read(text)
    folder.require()
    with locked(folder.state / "enrolment.lock"):
        return _enrol(folder, name, request, now, replace=replace)


def _enrol(
    folder: ServerFolder, name: str, request: EnrolmentRequest, now: datetime, *, replace: bool
) -> Enrolled:
    where = "enrolment request"
    if request.name != name:
        raise ConfigError(
            expected=f"a request of {name}", got=f"one of {request.name}", where=where
        )
    settings, authority = folder.settings, Authority(folder.authority)
    partners = Partners(folder.path)
    key, known = read_request(request.csr_pem, name, where), partners.find(name)
    renewed = _is_renewal(request, key_id(key), known, authority.issued(), replace=replace)
    partner = Partner(
        name=name,
        kind=request.kind,
        population=request.population,
        serial="",
        not_after="",
        node_key_pem=request.node_key_pem,
        statement_key=request.statement_key,
    )
    partners.check(partner)
    # Not those of the very key that is enrolled: an earlier attempt may have been cut off here.
    gone = authority.revoke(name, now, but=key_id(key)) if known and not renewed else []
    certificate = authority.issue(name, key, settings.coordinator.certificate_days, now)
    partner = dataclasses.replace(
        partner,
        serial=serial_hex(certificate.serial_number),
        not_after=certificate.not_valid_after_utc.isoformat(),
    )
    partners.add(partner)
    reloaded = gateway.update(folder)
    enrolment = Enrolment(
        name=name,
        gateway=settings.coordinator.address,
        server_name=gateway.SERVER_NAME,
        ca_pem=authority.pem,
        certificate_pem=certificate.public_bytes(Encoding.PEM).decode(),
        federation=settings.federation({name: partner.member}),
        coordinator_key=SigningKey.kept(folder.coordinator_key).public.hex,
        bundle_sha256=bundle_sha256(),
    )
    return Enrolled(
        enrolment=enrolment,
        partner=partner,
        request=request,
        renewed=renewed,
        revoked=tuple(gone),
        reloaded=reloaded,
    )


def revoke(folder: ServerFolder, name: str, *, now: datetime) -> Revoked:
    """Shut a partner out: from the next connection on, and off those that are open.

    Raises:
        ConfigError: there is no partner of that name.
        RunError, StorageError: the folder is no coordinator's, or damaged, or the disk refused.
    """
    folder.require()
    partners = Partners(folder.path)
    with locked(folder.state / "enrolment.lock"):
        partners.get(name)
        gone = Authority(folder.authority).revoke(name, now)
        partner = partners.revoke(name)
        return Revoked(partner=partner, revoked=tuple(gone), reloaded=gateway.update(folder))


def _is_renewal(
    request: EnrolmentRequest,
    key: str,
    known: Partner | None,
    issued: Sequence[Issued],
    *,
    replace: bool,
) -> bool:
    """Whether a known partner asks for a new certificate with its known keys.

    Args:
        key: id of the key that a certificate is asked for.

    Raises:
        ConfigError: that may not be done.
    """
    where = f"{request.name}: certificate request"
    for one in issued:
        if one.key == key and (one.name != request.name or one.revoked is not None):
            raise ConfigError(
                expected="a key of the partner's own that was never revoked",
                got=f"the key of {one.name}, revoked" if one.revoked else f"the key of {one.name}",
                where=where,
                remedy="The partner makes new keys with `fedinterest-client rotate-keys`.",
            )
    if known is None:
        return False
    serials = {one.serial: one.key for one in issued}
    differs = [
        what
        for what, same in (
            ("certificate key", serials.get(known.serial) == key),
            ("node key", known.node_key_pem == request.node_key_pem),
            ("statement key", known.statement_key == request.statement_key),
        )
        if not same
    ]
    if known.enrolled and not differs:
        return True
    if not replace:
        raise ConfigError(
            expected=f"the keys that {known.name} was enrolled with"
            if known.enrolled
            else "a partner that was not revoked",
            got=f"another {', another '.join(differs)}" if known.enrolled else known.name,
            where=where,
            remedy="Make sure that it is the partner who asks (compare the fingerprint over "
            "the telephone), then run again with --replace.",
        )
    return False
