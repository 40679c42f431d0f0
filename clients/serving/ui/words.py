"""Numbers as people write them, and sentences made of what was measured."""

import re

from markupsafe import Markup, escape

from clients.serving.fairness import Fairness
from clients.serving.ui.moved import Moved
from shared.groups.figures import Figures

_THIN = "\u202f"
_COMMAND = re.compile(r"`([^`]+)`")
KINDS = {
    "activity": "By how many events a user has",
    "popularity": "By how popular the item is that the user chose next",
    "category": "By the category of the item that the user chose next",
}

_WHO = {
    "activity": "users with",
    "popularity": "users whose next item was of the",
    "category": "users whose next item was in",
}


def integer(value: float) -> str:
    """With thousands separators."""
    return f"{value:,.0f}"


def percent(share: float, digits: int = 0) -> str:
    """A share such as 12 %; something is never written as nothing."""
    least = 10**-digits
    if 0 < 100 * share < least / 2:
        return f"under {least:g}{_THIN}%"
    return f"{100 * share:.{digits}f}{_THIN}%"


def signed(value: float, digits: int = 0) -> str:
    """A relative change such as +14 %."""
    return f"{100 * value:+.{digits}f}{_THIN}%".replace("-", "−")


def epsilon(value: float) -> str:
    """Budget spent, rounded up: never less than it was."""
    return f"{-(-value * 100 // 1) / 100:.2f}".rstrip("0").rstrip(".")


def left(value: float) -> str:
    """Budget that is left, rounded down: with `epsilon` never more than was promised."""
    return f"{value * 100 // 1 / 100:.2f}"


def coded(text: str) -> Markup:
    """A text with its `commands` set as such."""
    return Markup(_COMMAND.sub(r"<code>\1</code>", str(escape(text))))


def quality(value: float) -> str:
    """A figure of NDCG."""
    return f"{value:.3f}"


def change(found: Figures) -> str:
    """Relative change of a group's quality."""
    if found.before.value <= 0:
        return "new" if found.ndcg.value > 0 else "none"
    return signed(found.ndcg.value / found.before.value - 1)


def verdict(found: Figures) -> str:
    """Whether the change can be told from chance."""
    if found.change.low > 0:
        return "better"
    if found.change.high < 0:
        return "worse"
    return "no clear change"


def lift(value: float | None) -> str:
    """A popularity lift."""
    return "–" if value is None else signed(value)


def parts(moved: Moved) -> str:
    """What the newest model changed, in a sentence."""
    if not moved.users:
        return "There are no users to compare for."
    if moved.different == 0:
        return f"Nobody's ten recommendations changed since {moved.since}."
    return (
        f"Since {moved.since}, {moved.different:.1f} of a user's ten recommendations are new ones "
        f"on average; {percent(moved.same)} of the users see the same ten as before."
    )


def fair(fairness: Fairness) -> str:
    """Who won and who lost, in a sentence."""
    groups = [one for one in fairness.groups if one.kind != "everybody"]
    up = [one for one in groups if one.change.low > 0]
    down = [one for one in groups if one.change.high < 0]
    if not groups:
        return "There are too few users with held-out events to compare groups."
    if not up and not down:
        return (
            f"In none of {len(groups)} groups can the change since the frozen model be told from "
            "chance."
        )
    gained = f"{len(up)} {'is' if len(up) == 1 else 'are'}" if up else "none is"
    said = f"Of {len(groups)} groups, {gained} served clearly better than by the frozen model"
    if down:
        named = ", ".join(f"{_WHO[one.kind]} “{one.name}”" for one in down)
        return f"{said}, and {len(down)} clearly worse: {named}."
    return f"{said}, and none clearly worse."


def bias(found: Figures) -> str:
    """Popularity bias for everybody, in a sentence."""
    if found.lift is None:
        return "Nothing can be said of popularity: the items have no events."
    more = "more" if found.lift >= 0 else "less"
    said = (
        f"What is shown is {percent(abs(found.lift))} {more} popular than what the users "
        "themselves chose"
    )
    if found.lift_before is None:
        return f"{said}."
    return f"{said}; under the frozen model it was {signed(found.lift_before)}."
