"""Are user ids, secrets and the texts of private errors kept on the platform?

The real ClientApp answers a good request, and requests on data that cannot be used.  What it sends,
logs and prints is searched for every pseudonym and every stored secret; what it says of an error in
its own data must not depend on the error.
"""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
from flwr.app import Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from clients.app import app
from shared.protocol import TRAIN, Refusal
from simulations.audits.checks.check import Cause, Check, Outcome
from simulations.audits.checks.site import folders, histories, request, site


@contextmanager
def _listening() -> Iterator[io.StringIO]:
    """All that is logged, at any level, or printed while this lasts."""
    heard = io.StringIO()
    handler = logging.StreamHandler(heard)
    root = logging.getLogger()
    ours = [logging.getLogger(name) for name in ("fedinterest", "fedinterest.client")]
    kept = [(logger, logger.level, logger.propagate) for logger in (root, *ours)]
    others = root.handlers[:]
    for logger in (root, *ours):
        logger.setLevel(logging.DEBUG)
        logger.propagate = True
    root.handlers[:] = [handler]
    try:
        with redirect_stdout(heard), redirect_stderr(heard):
            yield heard
    finally:
        root.handlers[:] = others
        for logger, level, propagate in kept:
            logger.setLevel(level)
            logger.propagate = propagate


def _ask(folder: Path) -> tuple[RecordDict, str]:
    """The app's answer, and what was heard meanwhile."""
    names = ("_run_id", "_task_id", "_node_id")  # the public ones cannot be read while unset
    kept = {name: getattr(TaskIdentity, name) for name in names}
    for name in names:
        setattr(TaskIdentity, name, 1)
    where = Context(
        run_id=1,
        node_id=2,
        node_config={"platform-folder": str(folder)},
        state=RecordDict(),
        run_config={},
    )
    try:
        with _listening() as heard:
            reply = app(Message(request().to_records(), 2, TRAIN), where)
    finally:
        for name, value in kept.items():
            setattr(TaskIdentity, name, value)
    return reply.content, heard.getvalue()


def check(seed: int) -> Outcome:
    """See the module."""
    data = histories(6, seed)
    ids = tuple(f"pseudonym{seed}x{number:04}" for number in range(len(data)))
    broken = [*data[:-1], [999]]
    refusals = []
    with folders() as folder:
        for number, people in enumerate((data, broken, data, data)):
            own = folder / str(number)
            site(own, people, users=ids)
            if number == 2:  # counts that do not fit
                np.savez(
                    own / "sequences.npz",
                    users=np.array(ids),
                    items=np.zeros(3, np.int32),
                    offsets=np.array([0, 2]),
                )
            elif number == 3:
                (own / "sequences.npz").write_bytes(f"{ids[0]} is no archive".encode())
            records, heard = _ask(own)
            secrets = [path.read_bytes().hex() for path in own.glob("secrets/*.secret")]
            sent = _all_text(records)
            for told, where in ((sent, "sent"), (heard, "logged")):
                if any(one in told for one in (*ids, *secrets)):
                    return Outcome(Cause.IDS_TOLD, detail=f"in what is {where}")
            if number:
                refusals.append(Refusal.from_records(records))
    if len({refusal.message for refusal in refusals}) != 1:
        return Outcome(
            Cause.REASON_TOLD, detail=f"{len(refusals)} errors, told apart by their text"
        )
    return Outcome()


def _all_text(records: RecordDict) -> str:
    parts: list[str] = []
    for record in records.values():
        for key, value in record.items():
            content = getattr(value, "data", value)
            parts.append(str(key))
            if isinstance(content, bytes):
                parts += [content.decode("latin-1"), content.hex()]
            else:
                parts.append(str(content))
    return "\n".join(parts)


CHECK = Check("silence", ("release",), check)
