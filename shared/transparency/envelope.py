"""DSSE, the envelope that in-toto statements are signed in (secure-systems-lab/dsse, v1.0.2).

The signature is over PAE(type, payload) = "DSSEv1" SP len(type) SP type SP len(payload) SP payload,
so that a payload of one type never passes for another's.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Self

from shared.errors import ProtocolError
from shared.transparency.canonical import canonical
from shared.transparency.keys import SIGNATURE_BYTES, PublicKey, SigningKey

STATEMENT = "application/vnd.in-toto+json"
TREE_HEAD = "application/vnd.fedinterest.tree-head+json"
_LINE = re.compile(
    rb'\{"payload":"([A-Za-z0-9+/=]+)","payloadType":"([a-z0-9./+-]+)",'
    rb'"signatures":\[\{"keyid":"([0-9a-f]{64})","sig":"([A-Za-z0-9+/=]+)"\}\]\}'
)


def pae(kind: str, payload: bytes) -> bytes:
    """What is signed: DSSE's pre-authentication encoding."""
    name = kind.encode()
    return b"DSSEv1 %d %s %d %s" % (len(name), name, len(payload), payload)


@dataclass(frozen=True)
class Envelope:
    """A signed payload.

    Args:
        kind: media type of the payload.
        payload: what is said.
        key_id: a hint at the key; not signed, and trusted by nobody.
        signature: 64 bytes.
    """

    kind: str
    payload: bytes
    key_id: str
    signature: bytes

    @classmethod
    def signed(cls, kind: str, payload: bytes, key: SigningKey) -> Self:
        """`payload`, signed."""
        return cls(kind, payload, key.public.id, key.sign(pae(kind, payload)))

    def is_signed_by(self, key: PublicKey) -> bool:
        """Whether key id and signature are those of `key`."""
        return self.key_id == key.id and key.verify(self.signature, pae(self.kind, self.payload))

    def to_bytes(self) -> bytes:
        """The envelope as one line of canonical JSON, without newline."""
        return canonical(
            {
                "payload": base64.b64encode(self.payload).decode(),
                "payloadType": self.kind,
                "signatures": [
                    {"keyid": self.key_id, "sig": base64.b64encode(self.signature).decode()}
                ],
            }
        )

    @classmethod
    def from_bytes(cls, line: bytes, where: str) -> Self:
        """Parse, strictly: every byte of the line is what `to_bytes` would write.

        Raises:
            ProtocolError: it is not.
        """
        if match := _LINE.fullmatch(line):
            try:
                payload, signature = (binascii.a2b_base64(match[group]) for group in (1, 4))
            except binascii.Error:
                payload = signature = b""
            same = (
                binascii.b2a_base64(payload, newline=False) == match[1]
                and binascii.b2a_base64(signature, newline=False) == match[4]
            )
            if same and len(signature) == SIGNATURE_BYTES:
                return cls(match[2].decode(), payload, match[3].decode(), signature)
        raise ProtocolError(
            expected="a DSSE envelope with one signature", got="something else", where=where
        )
