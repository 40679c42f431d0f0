"""One text for one value: JSON with sorted keys and no spaces, so that a hash means a value."""

import json
from typing import Any

from shared.errors import ProtocolError

_encoder = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical(value: Any) -> bytes:
    """`value` as canonical JSON in ASCII; a float is the shortest text that reads back equal."""
    return _encoder.encode(value).encode()


def parse(content: bytes, where: str, *, exact: bool = True) -> dict[str, Any]:
    """The object that `content` is the canonical text of.

    Args:
        exact: hold the text against the canonical one; not needed where somebody's signature over
            the text is what counts.

    Raises:
        ProtocolError: it is no JSON object, or is not in canonical form (spaces, doubled keys).
    """
    try:
        value = json.loads(content.decode())
        same = type(value) is dict and (not exact or canonical(value) == content)
    except (ValueError, RecursionError):
        same = False
    if not same:
        raise ProtocolError(
            expected="a JSON object in canonical form", got="something else", where=where
        )
    return dict(value)
