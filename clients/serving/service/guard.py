"""What stands before every call, ours or not: health checks and reflection are guarded, too.

Rules:
1. Bytes that are no request are INVALID_ARGUMENT.  (grpc by itself would say INTERNAL.)
2. Calls that can last hold a thread each, so there are only so many of a kind at once; more are
   RESOURCE_EXHAUSTED.
3. A watcher of the health service is told NOT_SERVING and sent home when the service ends, or an
   end in order would have to wait for it.
"""

import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from clients.serving.service.status import Code, unreadable

MAX_REFLECTIONS, MAX_WATCHERS = 2, 32
REFLECTION_S, FIRST_WORD_S = 60.0, 5.0


class Unreadable:
    """Stands for a request that could not be read."""


UNREADABLE = Unreadable()


def read_or_flag(read: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    """`read`, with `UNREADABLE` for bytes that are no message."""

    def reads(data: bytes) -> Any:
        try:
            return data if read is None else read(data)
        except (DecodeError, ValueError, RecursionError):
            return UNREADABLE

    return reads


class Guard(grpc.ServerInterceptor):
    """See the rules.

    Args:
        streams: how many of our own streams there may be at once.
    """

    def __init__(self, streams: int) -> None:
        self._lock = threading.Lock()
        self._wrapped: dict[str, grpc.RpcMethodHandler] = {}
        self._streams = threading.BoundedSemaphore(streams)
        self._reflections = threading.BoundedSemaphore(MAX_REFLECTIONS)
        self._watching = threading.BoundedSemaphore(MAX_WATCHERS)
        self._watchers: set[Callable[[Any], None]] = set()

    def intercept_service(
        self, continuation: Callable[[Any], Any], handler_call_details: Any
    ) -> grpc.RpcMethodHandler | None:
        """grpc's interface."""
        name = handler_call_details.method
        with self._lock:
            known = self._wrapped.get(name)
        if known is not None:
            return known
        handler = continuation(handler_call_details)
        if handler is not None:
            handler = self._wrap(handler)
            with self._lock:
                self._wrapped[name] = handler
        return handler

    def dismiss_watchers(self) -> None:
        """End the streams of all who watch the health; call it once they were told."""
        with self._lock:
            watchers, self._watchers = self._watchers, set()
        for end in watchers:
            end(None)

    def _wrap(self, handler: Any) -> Any:
        made: Any
        if handler.unary_unary:
            made, work = grpc.unary_unary_rpc_method_handler, _readable(handler.unary_unary)
        elif handler.stream_stream:
            inner = _readable_stream(handler.stream_stream)
            made, work = grpc.stream_stream_rpc_method_handler, self._reflection(inner)
        elif getattr(handler.unary_stream, "experimental_non_blocking", False):
            made, work = grpc.unary_stream_rpc_method_handler, self._watch(handler.unary_stream)
        else:
            inner = _readable(handler.unary_stream)
            made, work = grpc.unary_stream_rpc_method_handler, self._stream(inner)
        return made(
            work,
            request_deserializer=read_or_flag(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )

    def _stream(self, work: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(work)
        def guarded(request: Any, context: grpc.ServicerContext) -> Any:
            _take(self._streams, context)
            return work(request, context)

        return guarded

    def _reflection(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
            _take(self._reflections, context)
            timer = threading.Timer(REFLECTION_S, context.cancel)
            timer.daemon = True
            context.add_callback(timer.cancel)
            timer.start()
            return work(requests, context)

        return guarded

    def _watch(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(request: Any, context: grpc.ServicerContext, send: Callable[..., None]) -> Any:
            if request is UNREADABLE:
                _refuse(context)
            _take(self._watching, context)
            with self._lock:
                self._watchers.add(send)
            context.add_callback(lambda: self._forget(send))
            # grpc waits here for as long as the watcher does not take the first word.
            timer = threading.Timer(FIRST_WORD_S, context.cancel)
            timer.daemon = True
            timer.start()
            try:
                return work(request, context, send)
            finally:
                timer.cancel()

        guarded.experimental_non_blocking = True  # type: ignore[attr-defined]
        guarded.experimental_thread_pool = None  # type: ignore[attr-defined]
        return guarded

    def _forget(self, send: Callable[[Any], None]) -> None:
        with self._lock:
            self._watchers.discard(send)


def _readable(work: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(request: Any, context: grpc.ServicerContext) -> Any:
        if request is UNREADABLE:
            _refuse(context)
        return work(request, context)

    return guarded


def _readable_stream(work: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        def sound() -> Iterator[Any]:
            for request in requests:
                if request is UNREADABLE:
                    _refuse(context)
                yield request

        return work(sound(), context)

    return guarded


def _refuse(context: grpc.ServicerContext) -> None:
    error = unreadable("a message of the protocol")
    context.set_trailing_metadata(error.metadata)
    context.abort(error.code, error.text)


def _take(places: threading.BoundedSemaphore, context: grpc.ServicerContext) -> None:
    """A place for as long as the call lasts."""
    if not places.acquire(blocking=False):
        context.abort(Code.RESOURCE_EXHAUSTED, "too many calls of this kind at once")
    if not context.add_callback(places.release):
        places.release()
        context.abort(Code.CANCELLED, "the caller has gone")
