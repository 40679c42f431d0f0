"""Checks of keys, certificates and gateway: whether the coordinator will know this platform."""

from clients.joining.checks.found import Found
from clients.joining.reach import MAX_CLOCK_S
from shared.bundle import bundle_sha256
from shared.certificates import check_certificate, days_left, read_certificate, utc_now
from shared.enrolment import EnrolmentRequest
from shared.errors import ConfigError, ProtocolError, RunError

WARN_DAYS = 14


def keys(found: Found) -> str:
    """All keys are there and whole."""
    _ = found.keys.csr(), found.keys.node_public()
    for path in (found.keys.loopback_certificate, found.keys.executor_secret):
        if not path.is_file():
            raise RunError(
                expected="all the keys that init makes",
                got=f"no {path.name}",
                where=str(path),
                remedy="`fedinterest-client rotate-keys` makes what is missing.",
            )
    return f"statement key {found.keys.signing.public.id[:16]}"


def request(found: Found) -> str:
    """request.json is about the present keys."""
    try:
        asked = EnrolmentRequest.read(found.folder.request.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(
            expected="request.json",
            got=error.strerror or "none",
            where=str(found.folder.request),
            remedy="`fedinterest-client rotate-keys` writes one.",
        ) from error
    own = found.settings.platform
    same = (
        asked.node_key_pem == found.keys.node_public()
        and asked.statement_key == found.keys.signing.public.hex
        and (asked.name, asked.population) == (own.name, own.population)
    )
    if not same:
        raise ConfigError(
            expected="a request for the present keys, name and population",
            got="an older one",
            where=str(found.folder.request),
            remedy="`fedinterest-client rotate-keys` writes a new one; send it.",
        )
    return f"fingerprint {asked.fingerprint[:16]}"


def enrolment(found: Found) -> str:
    """The coordinator's answer fits the present keys; it is installed."""
    answer = found.enrolment
    if not found.keys.fits(answer.certificate_pem):
        raise ConfigError(
            expected="a certificate for the present TLS key",
            got="one for another key",
            where=str(found.folder.enrolment),
            remedy="Send request.json and give what comes back to check --enrolment FILE.",
        )
    found.keys.install(answer.certificate_pem, answer.ca_pem)
    return f"federation {answer.federation.name}, gateway {answer.gateway}"


def certificate(found: Found) -> str:
    """The coordinator's authority has signed the certificate."""
    answer = found.enrolment
    certificate = read_certificate(answer.certificate_pem, "certificate")
    authority = read_certificate(answer.ca_pem, "authority")
    check_certificate(
        certificate, authority, name=found.home.name, server=False, where="certificate"
    )
    return f"signed by the authority, serial {certificate.serial_number:X}"


def expiry(found: Found) -> str:
    """It has not expired."""
    days = min(
        days_left(read_certificate(pem, "certificate"), utc_now())
        for pem in (found.enrolment.certificate_pem, found.enrolment.ca_pem)
    )
    if days <= 0:
        raise ConfigError(
            expected="a certificate that is valid today",
            got="one that has expired, or is not valid yet",
            where=str(found.folder.enrolment),
            remedy="Send request.json again; check this machine's clock.",
        )
    soon = "; RENEW SOON" if days < WARN_DAYS else ""
    return f"{days:.0f} days left{soon}"


def bundle(found: Found) -> str:
    """What the coordinator's runs are started with is permitted."""
    theirs = found.enrolment.bundle_sha256
    found.policy.check_bundle(theirs)
    mine = bundle_sha256()
    return f"{theirs[:16]}" + ("" if theirs == mine else "; not this version's own")


def gateway(found: Found) -> str:
    """The gateway lets this certificate through."""
    reached = found.reached
    if reached.fleet in (403, 404) or reached.fleet >= 500:
        raise ProtocolError(
            expected="a gateway that lets a partner through to the coordinator",
            got=f"HTTP {reached.fleet}",
            where=f"gateway {found.enrolment.gateway}",
            remedy="The coordinator may be down (5xx), or does not know this certificate.",
        )
    return f"{reached.tls} at {found.enrolment.gateway}"


def limits(found: Found) -> str:
    """It lets nobody give orders."""
    if found.reached.control != 403:
        raise ProtocolError(
            expected="HTTP 403 for what partners must not reach",
            got=f"HTTP {found.reached.control}",
            where=f"gateway {found.enrolment.gateway}",
            remedy="Do not take part: whoever holds a certificate could start code. Tell the "
            "coordinator that control calls pass its gateway.",
        )
    return "control calls are refused"


def clock(found: Found) -> str:
    """The clocks agree."""
    off = found.reached.clock_s
    if off is None:
        return "the gateway does not tell the time"
    if abs(off) > MAX_CLOCK_S:
        raise ConfigError(
            expected=f"clocks at most {MAX_CLOCK_S:g} s apart",
            got=f"{off:+.0f} s",
            where="clock",
            remedy="Set this machine's clock (NTP): signatures with another time are refused.",
        )
    return f"{off:+.1f} s"
