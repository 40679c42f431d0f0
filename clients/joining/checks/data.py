"""Checks of the platform's data, and of a round on a copy of it."""

from clients.joining.checks.found import Found
from clients.joining.rehearsal import rehearse
from clients.node.control import PIDS
from clients.platform import Platform
from clients.sources.optout import read_opt_out
from shared.encoder import encoder_identity
from shared.errors import ConfigError, DataError, EncoderError, PolicyRefusal, RunError
from shared.processes import read_status


def opt_out(found: Found) -> str:
    """The opt-out list can be read."""
    path = found.settings.cleaning.opt_out
    if path is None:
        return "none configured"
    read_opt_out(path)
    return "readable"


def events(found: Found) -> str:
    """The log is read as configured."""
    data = found.data
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in data.dropped.items())
    return f"{data.events:,} of {data.read:,} events of {data.users:,} users" + (
        f"; dropped: {dropped}" if dropped else ""
    )


def catalogue(found: Found) -> str:
    """The catalogue is read as configured."""
    dropped = sum(found.data.dropped_items.values())
    return f"{found.data.items:,} items" + (f"; {dropped:,} dropped" if dropped else "")


def population(found: Found) -> str:
    """What was declared, enrolled and found agree."""
    declared, users = found.settings.platform.population, found.data.users
    enrolled = found.enrolment.federation.platforms[found.home.name].population
    if enrolled != declared:
        raise ConfigError(
            expected=f"the population that was enrolled, {enrolled}",
            got=str(declared),
            where="platform.population",
            remedy="Set it back, or write a new request with rotate-keys and send it.",
        )
    if users > declared:
        raise ConfigError(
            expected="a declared population of at least the users there are",
            got=f"{declared}",
            where="platform.population",
            remedy="Declare more, and be enrolled anew: delta is promised for that many.",
        )
    return f"{declared:,} declared"


def encoder(found: Found) -> str:
    """The encoder is there, and the one that was used."""
    identity = encoder_identity(found.enrolment.federation.model)
    made = found.folder.platform / "platform.json"
    if made.is_file():
        known = Platform.open(found.folder.platform).record.encoder
        if known and known != identity and found.home.is_prepared():
            raise EncoderError(
                expected=f"the encoder that the catalogue was encoded with, {known[:16]}",
                got=identity[:16],
                where="model.encoder",
                remedy="Install the version it was prepared with.",
            )
    return identity[:16]


def prepared(found: Found) -> str:
    """The platform folder is made, if it was not."""
    if found.home.is_prepared():
        return "the platform folder is ready"
    if read_status(found.folder.state / PIDS) is not None:
        raise RunError(
            expected="a platform folder for the present enrolment and settings",
            got="an older one, and programs that work with it",
            where=str(found.folder.platform),
            remedy="`fedinterest-client stop`, then check again.",
        )
    found.home.prepare(found.progress)
    return "the platform folder has been made"


def rehearsal(found: Found) -> str:
    """A round on a copy."""
    platform = Platform.open(found.folder.platform)
    if len(platform.sequences) == 0:
        raise DataError(expected="users to train on", got="none", where="rehearsal")
    done = rehearse(
        platform, found.enrolment.federation, found.policy, found.folder.state / "scratch"
    )
    if done.seconds > found.policy.max_round_s:
        raise PolicyRefusal(
            expected=f"max_round_s at most {found.policy.max_round_s:g}",
            got=f"{done.seconds:.0f}",
            where="policy, max_round_s",
            remedy="Permit more time, or use a faster machine.",
        )
    return (
        f"{done.steps} steps in {done.seconds:.1f} s, {done.update_bytes:,} bytes would be "
        f"sent, peak memory {done.peak_mib:,.0f} MiB; nothing sent, nothing charged"
    )
