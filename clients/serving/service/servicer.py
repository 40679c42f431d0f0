"""Calls answered, counted, and every error a status: what gRPC and the JSON gateway share.

Rules:
1. Work whose deadline has passed is not begun.
2. An error of ours becomes its status; anything else is INTERNAL, and only the log says which kind
   of exception it was and where: never its text.
3. The log tells of the service's own troubles, at most once a second for each kind; what a caller
   did wrong is counted and not logged.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import grpc
from google.protobuf.message import Message

from clients.serving.engine import Answers
from clients.serving.service.calls import CALLS, SERVICE, Call
from clients.serving.service.guard import read_or_flag
from clients.serving.service.measures import Tally
from clients.serving.service.status import CALLERS_FAULT, Refused, late, refused
from shared.errors import FedInterestError
from shared.operations.logs import event

log = logging.getLogger("fedinterest.serving")
_QUIET_S = 1.0
Left = Callable[[], float | None]


class Servicer:
    """The calls.

    Args:
        answers: swaps its snapshot by itself; held for good.
        tally: counts.
    """

    def __init__(self, answers: Answers, tally: Tally) -> None:
        self.answers, self.tally = answers, tally
        self._told: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def reply(self, call: Call, request: Message, left: Left) -> Message:
        """The reply of a call that does not stream.

        Args:
            left: seconds until the caller's deadline; None where there is none.

        Raises:
            Refused: any status but OK.
        """
        with self._counted(call, left):
            found: Message = call.answer(self.answers, request)
            return found

    def replies(self, call: Call, request: Message, left: Left) -> Iterator[Message]:
        """The replies of one that streams, one at a time, as they are taken.

        Raises:
            Refused: any status but OK, at any of them.
        """
        with self._counted(call, left):
            for one in call.answer(self.answers, request):
                if _is_over(left):
                    raise late()
                yield one

    @contextmanager
    def _counted(self, call: Call, left: Left) -> Iterator[None]:
        began, status = time.perf_counter(), "OK"
        self.tally.begin()
        try:
            if _is_over(left):
                raise late()
            yield
        except GeneratorExit:
            status = "CANCELLED"  # the caller of a stream has gone
            raise
        except Exception as error:
            found = refused(error)
            status = found.code.name
            self._tell(call, error, found)
            raise found from error
        finally:
            self.tally.end(call.name, status, time.perf_counter() - began)

    def _tell(self, call: Call, error: Exception, found: Refused) -> None:
        kind = type(error).__name__
        if found.code in CALLERS_FAULT or isinstance(error, Refused):
            return
        with self._lock:
            now = time.monotonic()
            if now - self._told.get((call.name, kind), float("-inf")) < _QUIET_S:
                return
            self._told[call.name, kind] = now
        ours = isinstance(error, FedInterestError)
        # Ours carry no user data by the rule of `shared.errors`; of others their place is told.
        reason = str(error) if ours else _place(error.__traceback__)
        level = logging.WARNING if ours else logging.ERROR
        outcome = found.code.name
        event(log, "failed", level, request=call.name, kind=kind, outcome=outcome, reason=reason)


def handlers(servicer: Servicer, *, stream_s: float) -> grpc.GenericRpcHandler:
    """The calls as gRPC knows them.

    Args:
        stream_s: how long a stream may last; a caller that reads no more must not hold a thread.
    """
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {name: _handler(servicer, call, stream_s) for name, call in CALLS.items()},
    )


def _handler(servicer: Servicer, call: Call, stream_s: float) -> grpc.RpcMethodHandler:
    def unary(request: Message, context: grpc.ServicerContext) -> Message | None:
        try:
            return servicer.reply(call, request, _left(context))
        except Refused as error:
            end(context, error)
        return None

    def stream(request: Message, context: grpc.ServicerContext) -> Iterator[Message]:
        timer = threading.Timer(stream_s, context.cancel)
        timer.daemon = True
        timer.start()
        try:
            yield from servicer.replies(call, request, _left(context))
        except Refused as error:
            end(context, error)
        finally:
            timer.cancel()

    made = (
        grpc.unary_stream_rpc_method_handler
        if call.streams
        else grpc.unary_unary_rpc_method_handler
    )
    return made(
        stream if call.streams else unary,
        request_deserializer=read_or_flag(call.request.FromString),
        response_serializer=lambda reply: reply.SerializeToString(),
    )


def end(context: grpc.ServicerContext, error: Refused) -> None:
    """End a call with a status."""
    if error.metadata:
        context.set_trailing_metadata(error.metadata)
    context.abort(error.code, error.text)


def _left(context: grpc.ServicerContext) -> Left:
    def left() -> float | None:
        return context.time_remaining() if context.is_active() else 0.0

    return left


def _is_over(left: Left) -> bool:
    remaining = left()
    return remaining is not None and remaining <= 0


def _place(trace: TracebackType | None) -> str:
    """Where an exception came from: files and lines of the last three frames."""
    frames = []
    while trace is not None:
        frames.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return " > ".join(frames[-3:])
