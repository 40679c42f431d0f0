"""What a field may hold, with errors that name the field and never quote an id or a text."""

import math
from collections.abc import Callable, Iterable, Sized
from typing import Protocol

from shared.errors import ConfigError

MAX_ID, MAX_LABEL, MAX_TEXT = 512, 1000, 4000
MAX_TITLE, MAX_ITEM_TEXT, MAX_PATH = 2000, 20_000, 20
MAX_HISTORY, MAX_CATEGORIES, MAX_IDS = 1000, 1000, 10_000
MAX_EVENTS, MAX_NEW_ITEMS = 10_000, 1000
MAX_K, MAX_TRENDS, MAX_INTERESTS, MAX_AUDIENCE = 1000, 100, 20, 1_000_000
MIN_WINDOW_S, MAX_WINDOW_S, WEEK_S = 60.0, 315_576_000.0, 604_800.0
MAX_TIME = 1e11
"""Later than any event: what is larger was given in milliseconds."""

Check = Callable[[str, str], str]


class Texts(Sized, Iterable[str], Protocol):
    """A repeated field of strings."""


def wrong(field: str, expected: str, got: str, remedy: str = "") -> ConfigError:
    """The error of a field."""
    return ConfigError(expected=expected, got=got, where=field, remedy=remedy)


def whole(value: int, field: str, *, most: int, default: int, least: int = 1) -> int:
    """A count; 0 means `default`."""
    if value == 0:
        return default
    if not least <= value <= most:
        raise wrong(field, f"{least} to {most}, or 0 for {default}", str(value))
    return value


def share(value: float, field: str) -> float:
    """A number of 0 to 1."""
    if not 0.0 <= value <= 1.0:  # NaN is neither
        raise wrong(field, "0 to 1", f"{value:g}")
    return float(value)


def window(value: float, field: str) -> float:
    """Seconds; 0 means a week."""
    if value == 0:
        return WEEK_S
    if not MIN_WINDOW_S <= value <= MAX_WINDOW_S:
        raise wrong(
            field, f"{MIN_WINDOW_S:g} to {MAX_WINDOW_S:g} seconds, or 0 for a week", f"{value:g}"
        )
    return float(value)


def time(value: float, field: str) -> float:
    """Seconds since 1970; 0 is kept."""
    if not (math.isfinite(value) and 0 <= value < MAX_TIME):
        raise wrong(
            field,
            "seconds since 1970, or 0",
            f"{value:g}",
            "Divide milliseconds by 1000." if MAX_TIME <= value < 1e15 else "",
        )
    return float(value)


def text(value: str, field: str, *, most: int, least: int = 1) -> str:
    """A text of so many characters."""
    if not least <= len(value) <= most:
        raise wrong(
            field, f"{least} to {most} characters", f"{len(value)} characters" if value else "none"
        )
    return value


def id_of(value: str, field: str) -> str:
    """An id."""
    return text(value, field, most=MAX_ID)


def label(value: str, field: str) -> str:
    """A category or an interest in words."""
    return text(value, field, most=MAX_LABEL)


def many(values: Sized, field: str, *, most: int, least: int = 0) -> None:
    """The length of a list."""
    if not least <= len(values) <= most:
        raise wrong(field, f"{least} to {most} of them", str(len(values)))


def texts(
    values: Texts, field: str, *, most: int, check: Check = id_of, least: int = 0
) -> tuple[str, ...]:
    """A list of ids or labels."""
    many(values, field, most=most, least=least)
    return tuple(check(one, f"{field}[{at}]") for at, one in enumerate(values))
