"""What every platform is told about how to train: public constants of the federation."""

from shared.config.federation import PublicSettings
from shared.config.training import OWN, SHARED
from shared.protocol import OLDEST_VERSION
from shared.records import Scalar


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
    model, privacy, training = settings.model, settings.privacy, settings.training
    population = sum(platform.population or 0 for platform in settings.platforms.values())
    parts = {name: settings.interpolation(name) for name in settings.platforms}
    newer: dict[str, Scalar] = {
        "gce_q": training.gce_q,
        SHARED: next(iter(parts.values())).shared,
    }
    return {
        "steps": privacy.steps_per_round,
        "sample_rate": privacy.sample_rate,
        "clip_norm": privacy.clip_norm,
        "private": privacy.private,
        "total_rounds": training.rounds,
        "learning_rate": training.rate(population),
        "targets_per_user": training.targets_per_user,
        "negatives": training.negatives,
        "temperature": training.temperature,
        **model.constants(),
        **({} if older else newer),
        **{f"{OWN}{name}": part.own for name, part in parts.items()},
    }
