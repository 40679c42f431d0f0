"""TensorBoard's event files: one a start, and of the one before only an empty file.

Rules:
1. A start writes all rounds so far into a new file, whole or not at all, and then empties the one
   before: a half-written record of a crash goes with it.  Times of day are taken over.
2. The new file sorts behind the old one and begins with a START at step 0, so that a TensorBoard
   that is watching forgets the old points instead of drawing them twice.  It finds the new file
   only while there is the one that it was reading; older ones are removed.
3. Later rounds are appended, each with one write.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

from server.tracking.point import Point
from shared.files import replacing, storage_error, sweep

_BEGIN, _END = "events.out.tfevents.", ".fedinterest"


class TensorBoardTracker:
    """Writes points as scalars, and who was left out as text.

    Args:
        folder: where the files go; others in it are left alone.
        now: time of day, in seconds since 1970.
    """

    name = "tensorboard"

    def __init__(self, folder: Path, *, now: Callable[[], float] = time.time) -> None:
        self._folder, self._now = folder, now
        self._path: Path | None = None
        self._next = 0

    def write(self, points: Sequence[Point], *, finished: bool) -> None:
        """See `server.tracking.tracker.Tracker`.

        Raises:
            StorageError: the disk refused.
        """
        path, self._path = self._path, None  # until all went well: a failure begins a new file
        try:
            if path is None:
                path = self._begin(points)
            elif following := [point for point in points if point.round >= self._next]:
                with open(path, "r+b") as file:  # not "a": whoever removed it gets it whole again
                    file.seek(0, 2)
                    file.write(_records(_events(following, self._now)))
        except OSError as error:
            raise storage_error(error, path or self._folder) from error
        self._path = path
        self._next = max((point.round + 1 for point in points), default=0)

    def _begin(self, points: Sequence[Point]) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        sweep(self._folder)
        old = sorted(self._folder.glob(f"{_BEGIN}*{_END}"))
        stamp = max([int(self._now()), *(_stamp(path) + 1 for path in old)])
        path = self._folder / f"{_BEGIN}{stamp:010d}{_END}"
        known = {round_: at for one in old for round_, at in _times(one)}
        with replacing(path) as temporary:
            temporary.write_bytes(_records(_head(self._now()), _events(points, self._now, known)))
        for one in old[:-1]:
            one.unlink(missing_ok=True)
        for one in old[-1:]:
            os.truncate(one, 0)
        return path


def _head(now: float) -> list[Any]:
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog

    start = SessionLog(status=SessionLog.START)
    return [
        Event(wall_time=now, file_version="brain.Event:2"),
        Event(wall_time=now, step=0, session_log=start),
    ]


def _events(
    points: Sequence[Point], now: Callable[[], float], known: dict[int, float] | None = None
) -> Iterator[Any]:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    for point in points:
        values = [Summary.Value(tag=tag, simple_value=v) for tag, v in point.numbers.items()]
        if point.adapter_sha256:
            values.append(_text("round/adapter_sha256", point.adapter_sha256))
        values += [_text(f"left_out/{name}", why) for name, why in point.left_out.items()]
        at = (known or {}).get(point.round) or now()
        yield Event(wall_time=at, step=point.round, summary=Summary(value=values))


def _text(tag: str, text: str) -> Any:
    """A text value.  TensorBoard reads Markdown, and reasons are a partner's words: as code."""
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto

    plain = "".join("'" if char == "`" else char for char in text if char.isprintable())
    return Summary.Value(
        tag=tag,
        metadata=SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text")),
        tensor=TensorProto(dtype="DT_STRING", string_val=[f"`{plain}`".encode()]),
    )


def _records(*events: Any) -> bytes:
    from tensorboard.summary.writer.record_writer import RecordWriter

    found = BytesIO()
    writer = RecordWriter(found)
    for several in events:
        for event in several:
            writer.write(event.SerializeToString())
    return found.getvalue()


def _times(path: Path) -> Iterator[tuple[int, float]]:
    """(round, time of day) of what can be read of an event file."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    # Whatever a damaged file makes of the reader: nothing is lost but the hour of a round.
    with suppress(Exception):
        for event in LegacyEventFileLoader(str(path)).Load():
            if event.HasField("summary"):
                yield event.step, event.wall_time


def _stamp(path: Path) -> int:
    digits = path.name.removeprefix(_BEGIN).removesuffix(_END)
    return int(digits) if digits.isdecimal() else 0
