"""What platforms are told, in this version of the protocol and in the one before."""

from server.rounds.constants import constants_of
from shared.config.federation import Member, PublicSettings
from shared.config.training import TrainingSettings
from shared.protocol import OLDEST_VERSION, PROTOCOL_VERSION

FEDERATION = PublicSettings(
    platforms={
        "shop": Member(population=9000, weight=3.0),
        "films": Member(population=7000, weight=1.0),
    },
    training=TrainingSettings(gce_q=0.2, others=0.5),
)


def test_every_constant_is_said() -> None:
    told = constants_of(FEDERATION, PROTOCOL_VERSION)
    assert told["gce_q"] == 0.2
    assert told["shared_weight"] == 0.5
    assert told["own.shop"] == 0.75 - 0.5 * 0.75
    assert told["learning_rate"] == 30.0 * 0.4


def test_with_an_older_platform_everybody_trains_as_it_does() -> None:
    """Cross-entropy, all of the shared adapter, and what was to be added to that."""
    told = constants_of(FEDERATION, OLDEST_VERSION)
    newer = constants_of(FEDERATION, PROTOCOL_VERSION)
    assert newer.keys() - told.keys() == {"gce_q", "shared_weight"}
    assert told["own.shop"] == 0.0  # 0.75 alone, and 0.75 of the weights
    assert told["own.films"] == (7 / 16) ** 0.5 - 0.25
    same = newer.keys() - {"gce_q", "shared_weight", "own.shop", "own.films"}
    assert all(told[name] == newer[name] for name in same)
