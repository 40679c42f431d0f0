"""The model and how it is trained.  Changing these changes quality, never the guarantee."""

import math
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from shared.config.base import Settings

OWN, SHARED = "own.", "shared_weight"
"""A train request's settings: before a platform's name its `Interpolation.own`; `.shared`."""


class ModelSettings(Settings):
    """The shared interest model.

    Args:
        encoder: "embedded" (all-MiniLM-L6-v2), a Hugging Face id, or a folder.
        pooling: how token states become one vector; "auto" is mean for BERT-like models and
            last-token for GPT-like ones.
        max_tokens: item texts are cut to this many tokens.
        layers: how many of the encoder's layers the adapter reads, evenly spread from the word
            embeddings to the last one.
        history_length: most recent events the model reads.
        decay: weight of an event relative to the one after it, in (0, 1].
        rank: most directions of the adapter that one round trains; 1,536 is all of it at width 384
            and four layers: 147,456 bytes an update, at two bits a number.
    """

    encoder: str = "embedded"
    pooling: Literal["auto", "mean", "last", "cls"] = "auto"
    max_tokens: int = Field(default=64, ge=4, le=512)
    layers: int = Field(default=4, ge=1, le=100)
    history_length: int = Field(default=50, ge=1, le=1000)
    decay: float = Field(default=0.6, gt=0, le=1)
    rank: int = Field(default=1536, ge=1)

    def constants(self) -> dict[str, int | float | str]:
        """What both sides must agree on about the model, as scalars of a train request."""
        return {
            "model.layers": self.layers,
            "model.history_length": self.history_length,
            "model.decay": self.decay,
            "model.rank": self.rank,
        }


@dataclass(frozen=True, kw_only=True)
class Interpolation:
    """What a platform's own model is made of; see `PublicSettings.interpolation`.

    Args:
        shared: what the shared adapter counts, in [0, 1].
        own: what the sum of the platform's own releases counts, in [0, 1].
    """

    shared: float
    own: float


class TrainingSettings(Settings):
    """Local training on a platform, all of it public constants.

    A step's gradient is averaged over thousands of users, so the steps are few and long.  See
    docs/decisions/0005-adapting-the-items.md.

    Args:
        rounds: federation rounds.
        learning_rate: of a platform's SGD; None is 30, and less for federations of fewer than
            100,000 declared users, as the root of their number: the noise in a mean gradient
            falls with the users.
        targets_per_user: most events of a history that are predicted in a step.
        negatives: catalogue items that a step's next items are told from.
        temperature: of the softmax over them, on cosines.
        gce_q: of the generalised cross-entropy (`shared.objective`): how much less an event counts
            that the model finds unlikely; 0 is cross-entropy.
        own: how far a platform has a model of its own: 1, as far along its own users' gradients
            as it would go alone, and `others` along everybody else's; 0, the shared adapter.
        others: what the others' steps count there, of what they count in the shared adapter.  What
            arrives from them is mostly noise (docs/decisions/0017-less-of-the-others.md).
    """

    rounds: int = Field(default=48, ge=1)
    learning_rate: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    targets_per_user: int = Field(default=8, ge=1)
    negatives: int = Field(default=1024, ge=1)
    temperature: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    gce_q: float = Field(default=0.1, ge=0, le=1)
    own: float = Field(default=1.0, ge=0, le=1)
    others: float = Field(default=0.25, ge=0, le=1)

    def rate(self, population: int) -> float:
        """The learning rate for a federation of `population` declared users in all."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 30.0 * min(1.0, math.sqrt(population / 100_000))


class ServerSettings(Settings):
    """The coordinator's side of training.

    Args:
        optimiser: how the mean update is applied.
        learning_rate, momentum, second_momentum: of the server optimiser.
        min_platforms: a round with fewer answers is retried; None means all of them.
        round_timeout_s: how long to wait for answers.
        max_attempts: how often a round without quorum is retried before the run stops, resumable.
        max_update_norm: an update with a larger L2 norm is rejected.
    """

    optimiser: Literal["fedavg", "fedavgm", "fedadam"] = "fedavg"
    learning_rate: float = Field(default=1.0, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    second_momentum: float = Field(default=0.99, ge=0, lt=1)
    min_platforms: int | None = Field(default=None, ge=1)
    round_timeout_s: float = Field(default=3600.0, gt=0)
    max_attempts: int = Field(default=3, ge=1)
    max_update_norm: float = Field(default=1000.0, gt=0)


class SpeedSettings(Settings):
    """Memory against time.  None of these may change a result beyond rounding.

    Args:
        threads: torch threads; None leaves torch's choice.
        encode_batch: texts encoded at once.
        train_batch: users whose per-user gradients are held in memory at once.
        score_batch: users scored at once in evaluation.
    """

    threads: int | None = Field(default=None, ge=1)
    encode_batch: int = Field(default=128, ge=1)
    train_batch: int = Field(default=256, ge=1)
    score_batch: int = Field(default=512, ge=1)
