"""Frames of HTTP/2 (RFC 9113) by hand, for what a polite client never sends."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, CONTINUATION = 0, 1, 4, 6, 9


def frame(kind: int, flags: int, stream: int, payload: bytes, *, length: int = -1) -> bytes:
    """A frame; `length` may lie."""
    size = len(payload) if length < 0 else length
    return size.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def settings_frame(*, window: int = 65_535) -> bytes:
    """SETTINGS with an initial window."""
    return frame(SETTINGS, 0, 0, b"\x00\x04" + window.to_bytes(4, "big"))


def request(stream: int, path: str, body: bytes) -> bytes:
    """The headers of a gRPC call, then `body`, which is frames."""
    pairs = (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path.encode()),
        (b":authority", b"localhost"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    )
    # Literal, not indexed (RFC 7541, 6.2.2).
    block = b"".join(b"\x00" + _text(name) + _text(value) for name, value in pairs)
    return frame(HEADERS, 4, stream, block) + body


def _text(value: bytes) -> bytes:
    return bytes([len(value)]) + value
