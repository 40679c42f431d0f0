"""Why a row of a log was left out, in words."""

import re

_REASONS = {
    "bad_time": "time missing or unreadable",
    "bot": "user with too many events a day",
    "duplicate": "exact duplicate",
    "forgotten": "user who was forgotten",
    "future_time": "time in the future",
    "item_without_id": "catalogue row without id",
    "item_without_text": "item without text",
    "missing_item": "no item id",
    "missing_user": "no user id",
    "opt_out": "user has opted out",
    "other_action": "action not asked for",
    "repeat": "same item again by the same user",
    "repeated_item": "catalogue row repeated",
    "return": "returned item",
    "short_history": "user with too few events to hold any out",
    "too_old": "time before the earliest allowed",
    "unknown_item": "item not in the catalogue",
}


def reason_words(reason: str) -> str:
    """A drop reason for people; one that is not known is shown as it is."""
    key = re.sub(r"[\s-]+", "_", reason.strip().lower())
    return _REASONS.get(key, reason.replace("_", " "))
