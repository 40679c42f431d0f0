"""The log of a running side: one JSON object a line, and no user data in it.

Rules:
1. A line has a time, a level, an event and fields.  Fields are those of `FIELDS`, with values of
   their type; whatever else a caller passes is dropped, and so is what is too long.
2. Free text is taken from our own loggers only, whose messages carry no user data by the rule of
   `shared.errors`.  Of anybody else's record the logger's name and the level are kept.
3. Of an exception its type is kept; its text and its trace may hold anything, and are not.
"""

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

OWN = "fedinterest"
MAX_TEXT = 500

FIELDS: Mapping[str, tuple[type, ...]] = {
    "addr": (str,),
    "attempt": (int,),
    "bytes": (int,),
    "child": (str,),
    "code": (int,),
    "days": (int, float),
    "epsilon": (int, float),
    "kind": (str,),
    "noise_multiplier": (int, float),
    "outcome": (str,),
    "partner": (str,),
    "pause_s": (int, float),
    "phase": (str,),
    "pid": (int,),
    "platform": (str,),
    "port": (int,),
    "quorum": (int,),
    "reason": (str,),
    "request": (str,),
    "restarts": (int,),
    "round": (int,),
    "rounds": (int,),
    "run": (str, int),
    "seconds": (int, float),
    "setting": (str,),
    "sha256": (str,),
    "steps": (int,),
    "version": (str,),
}
"""Every field that a line may have, with the types of its value."""

_EVENT, _GIVEN = "fedinterest_event", "fedinterest_fields"


def event(log: logging.Logger, name: str, level: int = logging.INFO, /, **fields: Any) -> None:
    """Log that `name` happened; fields that `FIELDS` does not know are dropped."""
    log.log(level, name, extra={_EVENT: name, _GIVEN: allowed(fields)})


def allowed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `fields` that may be logged."""
    kept = {}
    for name, value in sorted(fields.items()):
        kinds = FIELDS.get(name, ())
        if type(value) not in kinds:
            continue
        kept[name] = tidy(value) if isinstance(value, str) else value
    return kept


def tidy(text: str) -> str:
    """`text` on one line, printable, not too long."""
    clean = "".join(char if char.isprintable() else " " for char in text)
    return clean if len(clean) <= MAX_TEXT else clean[: MAX_TEXT - 1] + "…"


class JsonLines(logging.Formatter):
    """A log record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": when.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        name = getattr(record, _EVENT, None)
        if isinstance(name, str):
            line |= {"event": name, **getattr(record, _GIVEN)}
        elif record.name == OWN or record.name.startswith(f"{OWN}."):
            line |= {"event": "message", "message": tidy(record.getMessage())}
        else:
            line["event"] = "foreign"
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
        return json.dumps(line, ensure_ascii=False, allow_nan=False, default=str)


def _worth_a_line(record: logging.LogRecord) -> bool:
    """Others set their own levels, whenever they are imported; of theirs only warnings count."""
    return record.levelno >= logging.WARNING or record.name.partition(".")[0] == OWN


def start_logging(to: Path | TextIO | None = None, *, level: int = logging.INFO) -> logging.Handler:
    """Let everything this process logs become JSON lines, and nothing else be printed by loggers.

    Args:
        to: a file to add to, or a stream; None means standard error.

    Returns:
        The handler, to be removed from the root logger where that matters.
    """
    if isinstance(to, Path):
        to.parent.mkdir(parents=True, exist_ok=True)
        handler: logging.Handler = logging.FileHandler(to, encoding="utf-8")
        to.chmod(0o600)
    else:
        handler = logging.StreamHandler(to or sys.stderr)
    handler.setFormatter(JsonLines())
    handler.addFilter(_worth_a_line)
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(OWN).setLevel(level)
    flower = logging.getLogger("flwr")  # writes to the terminal by itself, in colours
    flower.handlers.clear()
    flower.propagate = True
    return handler
