"""Keyed pseudonyms: what a user is called inside, once past the door.

Guarantee: without the platform's secret, a pseudonym says nothing about the id, not even whether
two platforms' pseudonyms name the same person (HMAC-SHA256, RFC 2104, all 256 bits kept).  With
it, anyone can recompute a known id's pseudonym, so the secret is guarded like the ids themselves.
"""

from collections.abc import Iterable

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from shared.errors import PrivacyError

MIN_SECRET_BYTES = 16


def pseudonym(secret: bytes, user_id: str) -> str:
    """The pseudonym (64 hex digits) of one raw id, written as in the log without outer blanks."""
    return pseudonyms(secret, [user_id])[0]


def pseudonyms(secret: bytes, user_ids: Iterable[str]) -> list[str]:
    """The pseudonyms of many raw ids, in order; about a million a second.

    Raises:
        PrivacyError: the secret is shorter than 16 bytes.
    """
    if len(secret) < MIN_SECRET_BYTES:
        raise PrivacyError(
            expected=f"a platform secret of at least {MIN_SECRET_BYTES} bytes",
            got=f"{len(secret)} bytes",
            where="pseudonyms",
            remedy="Let the platform draw one: os.urandom(32), kept in its private folder.",
        )
    keyed = HMAC(secret, SHA256())
    names = []
    for user_id in user_ids:
        one = keyed.copy()  # the key is set up once: half the work of a short message
        one.update(user_id.encode("utf-8"))
        names.append(one.finalize().hex())
    return names
