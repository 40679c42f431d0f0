"""What a train request asks of a platform, held against what the platform promised."""

from typing import TYPE_CHECKING

from clients.platform_record import PlatformRecord
from shared.config.training import OWN, SHARED, Interpolation, TrainingSettings
from shared.errors import ConfigError, PolicyRefusal, ProtocolError
from shared.protocol import TrainRequest

if TYPE_CHECKING:
    from shared.training import LocalPlan

_TRAINING = ("learning_rate", "targets_per_user", "negatives", "temperature")


def plan_of(request: TrainRequest, record: PlatformRecord) -> "LocalPlan":
    """The request's settings, held against what the platform calibrated its noise for.

    Raises:
        PolicyRefusal: the promise was made for others.
        ProtocolError: a constant is missing or bad.
    """
    from shared.training import LocalPlan

    asked = request.settings
    for name, own in (
        ("sample_rate", record.sample_rate),
        ("clip_norm", record.clip_norm),
        ("private", record.private),
        *record.model.constants().items(),
    ):
        if asked.get(name) != own:
            raise PolicyRefusal(
                expected=f"{name} = {own}",
                got=f"{asked.get(name)}",
                where="train request",
                remedy="The platform's promise was made for other settings.",
            )
    try:
        steps = int(asked["steps"])
        # Checked here, because a round that fails later has been paid for already.
        training = TrainingSettings.load(
            # an older coordinator says nothing of the last: it trains by cross-entropy
            {name: asked[name] for name in _TRAINING} | {"gce_q": asked.get("gce_q", 0.0)},
            where="train request",
        )
        (trained,) = request.trained
        return LocalPlan(
            trained=trained,
            steps=steps,
            learning_rate=training.rate(0),
            targets_per_user=training.targets_per_user,
            negatives=training.negatives,
            temperature=training.temperature,
            gce_q=training.gce_q,
            sample_rate=record.sample_rate,
            clip_norm=record.clip_norm,
            noise_multiplier=record.noise_multiplier,
            population=record.population,
            private=record.private,
            micro_batch=record.micro_batch,
        )
    except ConfigError as error:  # the coordinator's mistake, and it may know which
        raise ProtocolError(
            expected=error.expected, got=error.got, where=error.where, remedy=error.remedy
        ) from error
    except (KeyError, ValueError) as error:
        raise ProtocolError(
            expected="every training constant",
            got=f"none or a bad {error}",
            where="train request",
        ) from error


def interpolation(request: TrainRequest, name: str) -> Interpolation:
    """What platform `name`'s own model is made of: public, said by the request.

    Raises:
        ProtocolError: a part is no number from 0 to 1.
    """
    own = _part(request, f"{OWN}{name}", 0.0)  # none from an older coordinator
    return Interpolation(shared=_part(request, SHARED, 1.0), own=own)


def _part(request: TrainRequest, key: str, without: float) -> float:
    found = request.settings.get(key, without)
    if not isinstance(found, float) or not 0 <= found <= 1:
        raise ProtocolError(
            expected=f"{key} from 0 to 1", got=str(found)[:20], where="train request"
        )
    return found
