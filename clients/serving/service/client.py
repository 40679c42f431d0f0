"""A typed client: the same questions as `Answers`, the same answers, the same errors.

    with ServingClient("127.0.0.1:9470") as client:
        client.recommend(Who(user_id="customer-17"), k=20)

A call is repeated where the service was not there (UNAVAILABLE), four times at most, with pauses of
0.1 to 5 seconds, until its deadline.  `forget` is not: a second one would leave a second receipt.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.message import Message

from clients.serving import answers as a
from clients.serving.answers import NO_FILTERS, Consent, Filters, Member, Mode, Who
from clients.serving.service import reading
from clients.serving.service.calls import SERVICE
from clients.serving.service.settings import is_loopback, joined, split_address
from clients.serving.service.status import raised
from clients.serving.wire import serving_pb2 as pb
from clients.serving.wire.serving_pb2_grpc import ServingStub
from shared.errors import ConfigError

_MAX_REPLY_BYTES = 64 * 1024**2
_NOT_REPEATED = ("Forget",)
_POLICY = {
    "methodConfig": [
        {
            "name": [{"service": SERVICE}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.1s",
                "maxBackoff": "5s",
                "backoffMultiplier": 4,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        },
        {"name": [{"service": SERVICE, "method": name} for name in _NOT_REPEATED]},
    ]
}


class ServingClient:
    """One connection to a service; safe to be used by many threads.

    Args:
        address: "host:port".
        credentials: of `clients.serving.service.tls.client_credentials`; None is for loopback only.
        deadline_s: how long an answer may take; of `audience` `stream_s`, for all of it.

    Raises:
        ConfigError: an address elsewhere without credentials, or deadlines that are not positive.
            Of every call: a field that is out of range.
        UnknownError, DataError, ConsentError, RunError, StorageError: of every call, as `Answers`.
        RunError: of every call: nobody answers there, or not in time, or too many ask at once.
        ProtocolError: of every call: something else answers there, or the service has a defect.
    """

    def __init__(
        self,
        address: str,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        deadline_s: float = 1.0,
        stream_s: float = 60.0,
    ) -> None:
        host, port = split_address(address)
        if credentials is None and not is_loopback(host):
            raise ConfigError(
                expected="credentials, or an address on loopback",
                got="neither",
                where="address",
                remedy="`client_credentials` in clients.serving.service.tls makes them.",
            )
        if not (deadline_s > 0 and stream_s > 0):
            raise ConfigError(
                expected="more than 0", got=f"{deadline_s:g}, {stream_s:g}", where="deadline_s"
            )
        self._address, self._deadline_s, self._stream_s = joined(host, port), deadline_s, stream_s
        options = [
            ("grpc.service_config", json.dumps(_POLICY)),
            ("grpc.enable_retries", 1),
            # A service that was started again is found at once; grpc would wait 1 s to 2 min.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1_000),
            ("grpc.enable_http_proxy", 0),  # the data goes to that address and nowhere else
            ("grpc.max_receive_message_length", _MAX_REPLY_BYTES),
        ]
        self._channel = (
            grpc.insecure_channel(self._address, options)
            if credentials is None
            else grpc.secure_channel(self._address, credentials, options)
        )
        self._stub: Any = ServingStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._channel.close()

    def recommend(
        self,
        who: Who,
        *,
        k: int = 10,
        filters: Filters = NO_FILTERS,
        diversity: float = 0.0,
        mode: Mode = Mode.SCORE,
    ) -> a.Recommended:
        """The items a user would like next, best first."""
        request = _message(
            pb.RecommendRequest,
            k=k,
            filters=_filters(filters),
            diversity=diversity,
            mode=mode.value,
            **_who(who),
        )
        return reading.recommended(self._ask("Recommend", request))

    def similar_items(
        self, item_id: str, *, k: int = 10, filters: Filters = NO_FILTERS
    ) -> a.Similar:
        """Items that are read alike."""
        request = _message(pb.SimilarItemsRequest, item_id=item_id, k=k, filters=_filters(filters))
        return reading.similar(self._ask("SimilarItems", request))

    def interests(self, who: Who, *, most: int = 5) -> a.Profile:
        """A user's top interests, in words."""
        request = _message(pb.InterestsRequest, most=most, **_who(who))
        return reading.profile(self._ask("Interests", request))

    def explain(self, who: Who, item_id: str) -> a.Explained:
        """What carried one item for one user."""
        request = _message(pb.ExplainRequest, item_id=item_id, **_who(who))
        return reading.explained(self._ask("Explain", request))

    def audience(self, *, interest: str | None, item_id: str | None, size: int) -> Iterator[Member]:
        """The users closest to an interest or to an item, one at a time, closest first."""
        if interest is not None and item_id is not None:
            raise ConfigError(expected="interest or item_id", got="both", where="about")
        request = _message(pb.AudienceRequest, interest=interest, item_id=item_id, size=size)
        return self._stream("Audience", request)

    def similar_users(self, user_id: str, *, k: int = 10) -> list[Member]:
        """Users with like interests, among those who opted in."""
        request = _message(pb.SimilarUsersRequest, user_id=user_id, k=k)
        return [reading.member(one) for one in self._ask("SimilarUsers", request).users]

    def trends(self, *, window_s: float, until: float, k: int = 10) -> a.Trends:
        """Interests that rise and fall."""
        request = _message(pb.TrendsRequest, window_s=window_s, until=until, k=k)
        return reading.trends(self._ask("Trends", request))

    def intent(self, text: str, *, k: int = 10) -> a.Intent:
        """Which interests and items a sentence is about."""
        return reading.intent(self._ask("Intent", _message(pb.IntentRequest, text=text, k=k)))

    def post_events(self, events: Sequence[a.PostedEvent]) -> a.Posted:
        """Events that have just happened."""
        # "Now" is this moment, also where the call is repeated: or an event would count twice.
        now = time.time()
        stamped = [one if one.time else replace(one, time=now) for one in events]
        rows = [
            _message(pb.Event, user_id=one.user_id, item_id=one.item_id, time=one.time)
            for one in stamped
        ]
        request = _message(pb.PostEventsRequest, events=rows)
        return reading.posted(self._ask("PostEvents", request))

    def put_items(self, items: Sequence[a.NewItem]) -> a.Put:
        """Items that are new, or whose text is new."""
        rows = [
            _message(
                pb.NewItem,
                item_id=one.item_id,
                title=one.title,
                category=one.category,
                text=one.text,
            )
            for one in items
        ]
        return reading.put(self._ask("PutItems", _message(pb.PutItemsRequest, items=rows)))

    def delete_items(self, item_ids: Sequence[str]) -> a.Deleted:
        """Items that are not offered any more."""
        request = _message(pb.DeleteItemsRequest, item_ids=item_ids)
        return reading.deleted(self._ask("DeleteItems", request))

    def consent(self, user_id: str) -> Consent:
        """What a user allows."""
        request = _message(pb.ConsentRequest, user_id=user_id)
        return reading.consent(self._ask("GetConsent", request))

    def set_consent(
        self, user_id: str, *, learning: bool | None = None, similar_users: bool | None = None
    ) -> Consent:
        """Change what a user allows; None stays as it is."""
        request = _message(
            pb.SetConsentRequest, user_id=user_id, learning=learning, similar_users=similar_users
        )
        return reading.consent(self._ask("SetConsent", request))

    def forget(self, user_id: str) -> a.Forgotten:
        """Forget a user."""
        return reading.forgotten(self._ask("Forget", _message(pb.ForgetRequest, user_id=user_id)))

    def pseudonyms(self, user_ids: Sequence[str]) -> list[str]:
        """The pseudonyms of users, in order."""
        request = _message(pb.PseudonymsRequest, user_ids=user_ids)
        return list(self._ask("Pseudonyms", request).pseudonyms)

    def reload(self) -> a.Reloaded:
        """Take up the newest adapter."""
        return reading.reloaded(self._ask("Reload", pb.ReloadRequest()))

    def status(self) -> a.Status:
        """What is served."""
        return reading.status(self._ask("Status", pb.StatusRequest()))

    def _ask(self, name: str, request: Message) -> Any:
        try:
            return getattr(self._stub, name)(
                request, timeout=self._deadline_s, wait_for_ready=False
            )
        except grpc.RpcError as error:
            raise self._raised(name, error) from error

    def _stream(self, name: str, request: Message) -> Iterator[Member]:
        call = getattr(self._stub, name)(request, timeout=self._stream_s)
        try:
            for one in call:
                yield reading.member(one)
        except grpc.RpcError as error:
            raise self._raised(name, error) from error
        finally:
            call.cancel()

    def _raised(self, name: str, error: Any) -> Exception:
        where = f"{name} of {self._address}"
        return raised(error.code(), error.details() or "", error.trailing_metadata() or (), where)


def _who(who: Who) -> dict[str, Any]:
    if (who.user_id is None) == (who.item_ids is None):
        raise ConfigError(expected="user_id or item_ids", got="both or neither", where="who")
    if who.user_id is not None:
        return {"user_id": who.user_id}
    return {"history": _message(pb.History, item_ids=who.item_ids)}


def _filters(filters: Filters) -> pb.Filters | None:
    if filters == NO_FILTERS:
        return None
    return _message(
        pb.Filters,
        categories=filters.categories,
        exclude_categories=filters.exclude_categories,
        exclude_items=filters.exclude_items,
        only_items=filters.only_items,
        include_seen=filters.include_seen,
    )


def _message(kind: type[Any], **fields: Any) -> Any:
    """A message; what does not fit into a field of it is the caller's error, and is not quoted."""
    try:
        return kind(**fields)
    except (ValueError, TypeError) as error:
        names = ", ".join(name for name in fields if fields[name] is not None)
        raise ConfigError(
            expected=f"values of {kind.DESCRIPTOR.name}", got="something else", where=names
        ) from error
