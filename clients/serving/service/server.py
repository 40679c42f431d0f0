"""gRPC in front of `Answers`: the server, its limits, health, reflection, an end in order.

A pool of threads and not asyncio: at 100 calls/s next to a search of 2 ms the two were within half
a millisecond of each other at the median and no further apart than two runs of one at the 99th
percentile, and a call that takes long (Audience, PutItems) never keeps the others waiting.
"""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from clients.serving.service.calls import SERVICE
from clients.serving.service.guard import MAX_REFLECTIONS, Guard
from clients.serving.service.servicer import Servicer, handlers
from clients.serving.service.settings import ServingSettings, joined, split_address
from shared.errors import ConfigError

STREAM_S = 300.0
_MAX_METADATA_BYTES = 16 * 1024
log = logging.getLogger("fedinterest.serving")

Health = health_pb2.HealthCheckResponse


class GrpcServer:
    """The service on its port, until `stop`.

    Args:
        servicer: answers.
        settings: address, TLS and limits.

    Raises:
        ConfigError: the address cannot be listened on, or TLS files are not sound.
    """

    def __init__(self, servicer: Servicer, settings: ServingSettings) -> None:
        self._servicer, self._grace_s = servicer, settings.grace_s
        self._guard = Guard(streams=max(1, settings.threads // 2))
        self._health = health.HealthServicer()
        self._pool = ThreadPoolExecutor(
            # Reflection holds a thread for as long as its caller likes: it has its own.
            settings.threads + MAX_REFLECTIONS,
            thread_name_prefix="call",
        )
        self._server = grpc.server(
            self._pool,
            interceptors=(self._guard,),
            options=_options(settings),
            maximum_concurrent_rpcs=settings.max_calls,
        )
        self._server.add_generic_rpc_handlers((handlers(servicer, stream_s=STREAM_S),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        self.say_ready(False)
        self.host, self.port = self._bind(settings)
        self._server.start()

    @property
    def address(self) -> str:
        """Where it listens."""
        return joined(self.host, self.port)

    def say_ready(self, ready: bool) -> None:
        """Let the health service say so, for the whole and for the service."""
        for name in ("", SERVICE):
            self._health.set(name, Health.SERVING if ready else Health.NOT_SERVING)

    def stop(self) -> bool:
        """End in order: no new calls, those in flight have `grace_s`.

        Returns:
            Whether all of them ended by themselves.
        """
        self._health.enter_graceful_shutdown()
        self._guard.dismiss_watchers()
        began = time.monotonic()
        ended: threading.Event = self._server.stop(self._grace_s)
        ended.wait()
        self._pool.shutdown(wait=False)
        return time.monotonic() - began < self._grace_s or self._grace_s == 0

    def _bind(self, settings: ServingSettings) -> tuple[str, int]:
        host, port = split_address(settings.address)
        wanted = joined(host, port)
        try:
            if settings.tls is None:
                found = self._server.add_insecure_port(wanted)
            else:
                from clients.serving.service.tls import server_credentials  # only here: 6 MiB

                found = self._server.add_secure_port(wanted, server_credentials(settings.tls))
        except RuntimeError as error:  # all that grpc says
            raise _taken(wanted) from error
        if not found:
            raise _taken(wanted)
        return host, int(found)


def _options(settings: ServingSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", 0),  # or a second service would quietly share the port
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", _MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", _MAX_METADATA_BYTES),
        # Of one connection; well over `max_calls`, or a burst would be UNAVAILABLE and not
        # RESOURCE_EXHAUSTED.
        ("grpc.max_concurrent_streams", 2 * settings.max_calls + 64),
        ("grpc.server_handshake_timeout_ms", 5_000),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_ping_strikes", 2),
        ("grpc.max_connection_idle_ms", 600_000),
    ]


def _taken(address: str) -> ConfigError:
    return ConfigError(
        expected="an address that is free to listen on",
        got=address,
        where="serving.address",
        remedy="Give another one, or port 0 for any.",
    )
