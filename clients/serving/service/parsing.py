"""JSON of a request as a message; errors name the field and never quote what it holds."""

import re

from google.protobuf import json_format
from google.protobuf.message import Message

from clients.serving.service.calls import Call
from shared.errors import ConfigError

_DEPTH = 16
_UNKNOWN = re.compile(r'has no field named "([A-Za-z][A-Za-z0-9_]{0,40})"')
_FIELD = re.compile(r"Failed to parse ([A-Za-z][A-Za-z0-9_.\[\]]{0,60}) field")


def parsed(body: bytes, call: Call) -> Message:
    """The request of `call` that `body` holds.

    Raises:
        ConfigError: it is not its JSON.
    """
    request = call.request()
    try:
        return json_format.Parse(body, request, max_recursion_depth=_DEPTH)
    except (json_format.ParseError, ValueError, TypeError, RecursionError, OverflowError) as error:
        text = str(error)
        # The parser's own text may quote a value.
        if unknown := _UNKNOWN.search(text):
            got, where = f"an unknown field {unknown[1]!r}", "request"
        elif field := _FIELD.search(text):
            got, where = "another kind of value", field[1]
        else:
            got, where = "something else", "request"
        raise ConfigError(
            expected=f"the JSON of {request.DESCRIPTOR.name}",
            got=got,
            where=where,
            remedy=f"Its fields: {', '.join(f.name for f in request.DESCRIPTOR.fields)}.",
        ) from error
