"""What a platform permits, whatever the coordinator asks.

The policy is the partner's own file, `policy.json` in the platform's private folder; it never
travels.  Rules, each a PolicyRefusal that names the setting, what was expected and what came:
1. A round asks for no more steps, and no higher sampling rate, than permitted.
2. The clipping bound lies in the permitted range.
3. The base the adapter sits on is one of the permitted ones, if any are named.
4. The run's budget and the noise that will be added keep what the users were promised: a run
   without privacy is refused unless `max_epsilon` is infinite.
"""

import json
import math
from pathlib import Path

from pydantic import Field

from shared.config.base import Settings
from shared.errors import ConfigError, PolicyRefusal
from shared.protocol import TrainRequest
from shared.records import Scalar

FILE = "policy.json"


class Policy(Settings):
    """A partner's limits; the defaults permit any run that is well formed.

    Args:
        max_epsilon: largest budget of a run; `inf` permits runs without privacy.
        min_noise_multiplier: least noise over sensitivity in a step.
        min_clip_norm, max_clip_norm: range of the clipping bound.
        max_steps_per_round: most DP-SGD steps in a round.
        max_sample_rate: highest chance of a user to take part in a step.
        allowed_base: SHA-256s of the permitted bases; None permits any.
    """

    max_epsilon: float = Field(default=math.inf, gt=0)
    min_noise_multiplier: float = Field(default=0.0, ge=0)
    min_clip_norm: float = Field(default=0.0, ge=0)
    max_clip_norm: float = Field(default=math.inf, gt=0)
    max_steps_per_round: int = Field(default=100_000, ge=1)
    max_sample_rate: float = Field(default=1.0, gt=0, le=1)
    allowed_base: list[str] | None = None

    @classmethod
    def read(cls, folder: Path) -> "Policy":
        """The policy in a platform's folder; the permissive default where there is no file.

        Raises:
            ConfigError: the file is no valid policy.  A policy that cannot be read permits nothing.
        """
        path = folder / FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError) as error:
            raise ConfigError(
                expected="a policy in JSON", got=str(error), where=str(path)
            ) from error
        if not isinstance(values, dict):
            raise ConfigError(expected="a JSON object", got=type(values).__name__, where=str(path))
        return cls.load(values, where=str(path))

    def check(
        self,
        request: TrainRequest,
        *,
        epsilon: float | None = None,
        noise_multiplier: float | None = None,
    ) -> None:
        """Return only if `request` is permitted.

        Args:
            epsilon, noise_multiplier: what the platform itself is about to use, once it knows.

        Raises:
            PolicyRefusal: see the rules at the top of the file.
        """
        steps = _number(request.settings, "steps")
        if not 1 <= steps <= self.max_steps_per_round:
            raise _refused("steps", f"1 to {self.max_steps_per_round}", steps)
        sample_rate = _number(request.settings, "sample_rate")
        if not 0 < sample_rate <= self.max_sample_rate:
            raise _refused("sample_rate", f"in (0, {self.max_sample_rate}]", sample_rate)
        clip_norm = _number(request.settings, "clip_norm")
        if not (clip_norm > 0 and self.min_clip_norm <= clip_norm <= self.max_clip_norm):
            limits = f"above 0 and in [{self.min_clip_norm}, {self.max_clip_norm}]"
            raise _refused("clip_norm", limits, clip_norm)
        if self.allowed_base is not None and request.base_sha256 not in self.allowed_base:
            raise _refused(
                "base", f"one of {len(self.allowed_base)} permitted SHA-256s", request.base_sha256
            )
        if request.settings.get("private") is False and math.isfinite(self.max_epsilon):
            raise _refused("private", "true", "false")
        if epsilon is not None and not epsilon <= self.max_epsilon:
            raise _refused("epsilon", f"at most {self.max_epsilon}", epsilon)
        if noise_multiplier is not None and not noise_multiplier >= self.min_noise_multiplier:
            raise _refused(
                "noise_multiplier", f"at least {self.min_noise_multiplier}", noise_multiplier
            )


def _number(settings: dict[str, Scalar], name: str) -> float:
    value = settings.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        got = "nothing" if value is None else type(value).__name__
        raise _refused(name, "a number", got)
    return value


def _refused(setting: str, expected: str, got: object) -> PolicyRefusal:
    return PolicyRefusal(
        expected=f"{setting} {expected}",
        got=str(got),
        where=f"policy, {setting}",
        remedy="The coordinator can ask for less, or the partner can change the policy.",
    )
