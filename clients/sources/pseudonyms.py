"""Keyed pseudonyms: what a user is called inside, once past the door.

Guarantee: without the platform's secret, a pseudonym says nothing about the id, not even whether
two platforms' pseudonyms name the same person (HMAC-SHA256, RFC 2104, all 256 bits kept).  With
it, anyone can recompute a known id's pseudonym, so the secret is guarded like the ids themselves.
"""

import hmac
from collections.abc import Iterable

from shared.errors import PrivacyError

MIN_SECRET_BYTES = 16


def pseudonym(secret: bytes, user_id: str) -> str:
    """The pseudonym (64 hex digits) of one raw id, written as in the log without outer blanks.

    Raises:
        PrivacyError: see `pseudonyms`.
    """
    _check(secret)
    return hmac.digest(secret, user_id.encode("utf-8"), "sha256").hex()


def pseudonyms(secret: bytes, user_ids: Iterable[str]) -> list[str]:
    """The pseudonyms of many raw ids, in order; about a million a second.

    Raises:
        PrivacyError: the secret is shorter than 16 bytes.
    """
    # Three times as quick as the standard library's; but 6 MiB that a service need not have, which
    # is asked about one at a time.
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.hmac import HMAC

    _check(secret)
    keyed = HMAC(secret, SHA256())
    names = []
    for user_id in user_ids:
        one = keyed.copy()  # the key is set up once: half the work of a short message
        one.update(user_id.encode("utf-8"))
        names.append(one.finalize().hex())
    return names


def _check(secret: bytes) -> None:
    if len(secret) < MIN_SECRET_BYTES:
        raise PrivacyError(
            expected=f"a platform secret of at least {MIN_SECRET_BYTES} bytes",
            got=f"{len(secret)} bytes",
            where="pseudonyms",
            remedy="Let the platform draw one: os.urandom(32), kept in its private folder.",
        )
