"""What every platform is told about how to train: public constants of the federation."""

from shared.config.federation import PublicSettings
from shared.config.training import OWN, SHARED
from shared.protocol import OLDEST_VERSION
from shared.records import Scalar

_NEWER = ("gce_q", SHARED)


def constants_of(settings: PublicSettings, version: int) -> dict[str, Scalar]:
    """A request's settings.  The noise is the platform's own affair.

    A platform of the older version trains by cross-entropy and starts from all of the shared
    adapter, whatever it is told: while one takes part, everybody does.

    Args:
        version: of the protocol, that all platforms speak.
    """
    older = version == OLDEST_VERSION
    if older:
        training = settings.training.replace(gce_q=0.0, others=1.0)
        settings = settings.replace(training=training)
    population = sum(platform.population or 0 for platform in settings.platforms.values())
    parts = {name: settings.interpolation(name) for name in settings.platforms}
    told: dict[str, Scalar] = {
        **settings.constants(population),
        SHARED: next(iter(parts.values())).shared,
        **{f"{OWN}{name}": part.own for name, part in parts.items()},
    }
    return {name: one for name, one in told.items() if not (older and name in _NEWER)}
