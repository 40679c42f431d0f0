"""The fields of a statement, and the range of each: nothing else may stand in one."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from shared.errors import ProtocolError

Fits = Callable[[Any], bool]
_HEX = re.compile(r"[0-9a-f]{64}")


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return type(value) is float and 0 <= value < math.inf


def _is_hash(value: Any) -> bool:
    return type(value) is str and _HEX.fullmatch(value) is not None


def _is_hash_or_none(value: Any) -> bool:
    return value is None or _is_hash(value)


def _is_hash_or_empty(value: Any) -> bool:
    return value == "" or _is_hash(value)


def _is_text(value: Any) -> bool:
    return type(value) is str and 0 < len(value) <= 64


def _is_epsilon(value: Any) -> bool:
    return value == "inf" or _is_number(value)


def _is_bool(value: Any) -> bool:
    return type(value) is bool


# Name of a field -> whether a value is in its range; what depends on several fields is left to
# `statement`, and so is what a field means.
PLATFORM_FIELDS: Mapping[str, Fits] = {
    **dict.fromkeys(("index", "round", "steps"), _is_count),
    **dict.fromkeys(
        ("root", "request", "adapter_in", "update", "base", "code", "policy"), _is_hash
    ),
    **dict.fromkeys(("sample_rate", "noise_multiplier", "clip_norm", "delta"), _is_number),
    "platform": _is_text,
    "encoder": _is_hash_or_empty,
    "epsilon": _is_epsilon,
}
CHARGE_FIELDS: Mapping[str, Fits] = {"first": _is_count, "entries": _is_count, "head": _is_hash}
COORDINATOR_FIELDS: Mapping[str, Fits] = {
    **dict.fromkeys(("index", "round", "steps"), _is_count),
    **dict.fromkeys(("root", "settings", "base", "adapter_out", "code", "line"), _is_hash),
    **dict.fromkeys(("request", "adapter_in"), _is_hash_or_none),
    **dict.fromkeys(("sample_rate", "clip_norm"), _is_number),
    "private": _is_bool,
}
ANSWER_FIELDS: Mapping[str, Fits] = {
    "outcome": _is_text,
    "weight": _is_number,
    "key": _is_hash_or_none,
    "envelope": _is_hash_or_none,
}


def check(values: Any, fields: Mapping[str, Fits], *more: str) -> None:
    """Whether `values` has the fields of one of the tables above, and `more`, and no others.

    Raises:
        ProtocolError: it does not, or a value is out of its range; the value is not repeated.
    """
    if type(values) is not dict or values.keys() != fields.keys() | set(more):
        raise not_a_statement("exactly the fields of a statement", "others")
    for name, fits in fields.items():
        if not fits(values[name]):
            raise not_a_statement(f"a {name} in its range", "another value")


def not_a_statement(expected: str, got: str) -> ProtocolError:
    """The error of whoever reads something else."""
    return ProtocolError(expected=expected, got=got, where="statement")
