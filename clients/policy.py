"""What a platform permits, whatever the coordinator asks.

The policy is the partner's own file, `policy.json` in the platform's private folder; it never
travels.  Rules, each a PolicyRefusal that names the setting, what was expected and what came:
1. A round asks for no more steps, and no higher sampling rate, than permitted.
2. The clipping bound lies in the permitted range.
3. The base the adapter sits on is one of the permitted ones, if any are named.
4. The run's budget and the noise that will be added keep what the users were promised: a run
   without privacy is refused unless `max_epsilon` is infinite.
5. Only bundles on the allow-list are answered at all; where none is named, the installed version's.
6. Training happens in the permitted hours, and no more rounds a day than permitted.
7. All runs of this platform together, the asking one in full, keep `max_epsilon_total`.
8. An answer is no larger than permitted.
Rules 1 to 4 are held by the platform itself, 5 to 8 by the node that it runs on (`clients.node`),
which also ends a round that takes more time or memory than permitted.
"""

import json
import math
import re
from datetime import datetime, time
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from shared.bundle import bundle_sha256
from shared.config.base import Settings
from shared.errors import ConfigError, PolicyRefusal

if TYPE_CHECKING:  # the operator's commands read the policy, and must not wait for torch
    from shared.protocol import TrainRequest
    from shared.records import Scalar

FILE = "policy.json"
_WINDOW = re.compile(r"(?:[01]\d|2[0-3]):[0-5]\d-(?:[01]\d|2[0-3]):[0-5]\d")


class Policy(Settings):
    """A partner's limits; the defaults permit any run that is well formed.

    Args:
        max_epsilon: largest budget of a run; `inf` permits runs without privacy.
        min_noise_multiplier: least noise over sensitivity in a step.
        min_clip_norm, max_clip_norm: range of the clipping bound.
        max_steps_per_round: most DP-SGD steps in a round.
        max_sample_rate: highest chance of a user to take part in a step.
        allowed_base: SHA-256s of the permitted bases; None permits any.
        max_epsilon_total: largest composed budget of all runs of this platform.
        allowed_bundles: SHA-256s of the permitted Flower bundles; None: the installed version's.
        max_rounds_a_day: most rounds trained on one day, local time; None: any number.
        windows: hours for training, local time, such as "22:00-06:00"; none means all day.
        threads: of a round's computation; None leaves torch's choice.
        max_memory_mib: resident memory of the process that trains; None: no limit.
        max_round_s: longest a round may take.
        max_update_bytes: most bytes in an answer's tensors and constants.
    """

    max_epsilon: float = Field(default=math.inf, gt=0)
    min_noise_multiplier: float = Field(default=0.0, ge=0)
    min_clip_norm: float = Field(default=0.0, ge=0)
    max_clip_norm: float = Field(default=math.inf, gt=0)
    max_steps_per_round: int = Field(default=100_000, ge=1)
    max_sample_rate: float = Field(default=1.0, gt=0, le=1)
    allowed_base: list[str] | None = None
    max_epsilon_total: float = Field(default=math.inf, gt=0)
    allowed_bundles: list[str] | None = None
    max_rounds_a_day: int | None = Field(default=None, ge=1)
    windows: list[str] = Field(default_factory=list)
    threads: int | None = Field(default=None, ge=1)
    max_memory_mib: int | None = Field(default=None, ge=1)
    max_round_s: float = Field(default=3600.0, gt=0, allow_inf_nan=False)
    max_update_bytes: int = Field(default=64 * 1024**2, ge=1)

    @field_validator("windows")
    @classmethod
    def _hours(cls, value: list[str]) -> list[str]:
        for window in value:
            if not _WINDOW.fullmatch(window):
                raise ValueError(f'expected hours such as "22:00-06:00", not {window!r}')
        return value

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
        request: "TrainRequest",
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

    def check_bundle(self, sha256: str) -> None:
        """Rule 5.

        Raises:
            PolicyRefusal: the bundle is not on the list.
        """
        allowed = [bundle_sha256()] if self.allowed_bundles is None else self.allowed_bundles
        if sha256 not in allowed:
            raise _refused(
                "allowed_bundles",
                f"of {len(allowed)} permitted SHA-256s ({', '.join(one[:12] for one in allowed)})",
                sha256,
            )

    def check_day(self, now: datetime, rounds_today: int) -> None:
        """Rule 6, for one more round.

        Args:
            now: local time.
            rounds_today: different rounds already trained since midnight.

        Raises:
            PolicyRefusal: not at this hour, or no more today.
        """
        if not self.is_open(now):
            raise _refused("windows", " or ".join(self.windows), now.strftime("%H:%M"))
        if self.max_rounds_a_day is not None and rounds_today >= self.max_rounds_a_day:
            raise _refused(
                "max_rounds_a_day", f"at most {self.max_rounds_a_day}", f"{rounds_today + 1}"
            )

    def is_open(self, now: datetime) -> bool:
        """Whether the hours permit training at `now`, local time."""
        return not self.windows or any(_inside(window, now.time()) for window in self.windows)

    def check_total(self, epsilon: float) -> None:
        """Rule 7.

        Raises:
            PolicyRefusal: `epsilon`, of all runs composed, is more than permitted, or NaN.
        """
        if not epsilon <= self.max_epsilon_total:
            raise _refused("max_epsilon_total", f"at most {self.max_epsilon_total}", epsilon)

    def check_size(self, size: int) -> None:
        """Rule 8.

        Raises:
            PolicyRefusal: an answer of `size` bytes is too large.
        """
        if size > self.max_update_bytes:
            raise _refused("max_update_bytes", f"at most {self.max_update_bytes}", size)


def _inside(window: str, now: time) -> bool:
    """Whether `now` lies in a window; one that ends before it begins goes over midnight."""
    begin, end = (time.fromisoformat(part) for part in window.split("-"))
    if begin < end:
        return begin <= now < end
    return now >= begin or now < end


def _number(settings: dict[str, "Scalar"], name: str) -> float:
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
