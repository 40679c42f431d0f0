"""All randomness of one round on one platform, expanded from one 32-byte secret.

Why a stored secret: a client that dies mid-round and is asked the same thing again must give the
same answer from the same noise.  Fresh noise would be a second release of the same data, which
has to be paid for again.  So the secret is on the platform's disk before the first charge, and
everything random in the round (sampling, positions, noise) is a keyed stream of it.

When a replay is free and when it is not:

- The secret belongs to (request, data).  Other data under old noise would let the coordinator
  subtract two answers and see the difference bare; so changed data draws a new secret.
- `RoundSecret.charge_key` commits to request, data and secret.  It is what the ledger is charged
  under.  A lost or forgotten secret therefore makes a new key, and is charged in full.
- A secret is forgotten once its round is over (`forget_before`, when a later round has been paid
  for): whoever reads it later can strip the noise.

Streams are AES-256 in counter mode under keys derived with HKDF (RFC 5869); every (purpose, step)
has its own key, so what one consumer draws never shifts what another one gets.
"""

import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from numpy.typing import NDArray

from shared.errors import LedgerError, PrivacyError, StorageError
from shared.files import storage_error, sweep, write_bytes

SECRET_BYTES = 32
_LABEL = "fedinterest/randomness/1"


class Stream:
    """Random numbers that are a function of a key and of how much was drawn before.

    Args:
        key: 32 secret bytes.  One key, one stream, one consumer.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != SECRET_BYTES:
            raise PrivacyError(
                expected=f"a key of {SECRET_BYTES} bytes", got=f"{len(key)} bytes", where="stream"
            )
        # A zero counter is safe because no key is used for two streams.
        self._keystream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()

    def uniform(self, n: int) -> NDArray[np.float64]:
        """(n,) float64 in the open interval (0, 1): odd multiples of 2**-53, all equally likely.

        The first k of n numbers are the same for every n >= k.
        """
        return self._uniform(n).numpy()

    def gaussian(
        self, shape: Sequence[int], stddev: float, dtype: torch.dtype = torch.float32
    ) -> torch.Tensor:
        """Independent N(0, stddev**2), drawn in float64 and then cast to `dtype`.

        Each value is half the sum of four Box-Muller normals (Holohan & Braghin 2021, section
        5.1, n = 2; Opacus' `secure_mode` does the same).  A single float64 normal lies on a
        sparse, recognisable set of values, from which the un-noised sum can be guessed (Mironov
        2012); the sum of four independent ones has 2**159 pre-images to search.  The two halves
        of a Box-Muller pair never meet in one value.

        Raises:
            PrivacyError: `stddev` is not a positive finite number.  Noise is never absent.
        """
        if not 0 < stddev < math.inf:
            raise PrivacyError(expected="noise stddev > 0", got=repr(stddev), where="noise_stddev")
        n = math.prod(shape)
        wide = max(n, 4)
        radius = self._uniform(2 * wide).log_().mul_(-2).sqrt_()
        angle = self._uniform(2 * wide).mul_(2 * math.pi)
        cosines = torch.cos(angle).mul_(radius).view(2, wide)
        sines = angle.sin_().mul_(radius).view(2, wide)
        total = cosines[0].add_(cosines[1])
        total.add_(sines[0].roll(1)).add_(sines[1].roll(2))
        return total[:n].mul_(stddev / 2).view(tuple(shape)).to(dtype)

    def integers(self, n: int, high: int) -> NDArray[np.int64]:
        """(n,) int64, uniform on 0 .. high - 1 without bias (rejection)."""
        if not 0 < high < 2**63:
            raise ValueError(f"expected 0 < high < 2**63, got {high}")
        fair = (2**64 // high) * high
        words = self._words(n).view(np.uint64)
        while fair < 2**64 and (unfair := np.flatnonzero(words >= np.uint64(fair))).size:
            words[unfair] = self._words(unfair.size).view(np.uint64)
        return (words % np.uint64(high)).astype(np.int64)

    def permutation(self, n: int) -> NDArray[np.int64]:
        """(n,) int64: 0 .. n - 1 in random order (ties of the 64-bit sort keys: n**2 / 2**65)."""
        return np.argsort(self._words(n).view(np.uint64), kind="stable").astype(np.int64)

    def _uniform(self, n: int) -> torch.Tensor:
        # 52 bits and a half: 53 significant bits, never 0, never 1, symmetric about 1/2.
        words = torch.from_numpy(self._words(n)).bitwise_and_(2**52 - 1)
        return words.to(torch.float64).add_(0.5).mul_(2.0**-52)

    def _words(self, n: int) -> NDArray[np.int64]:
        # Little-endian by declaration, so that a key means the same numbers on every machine.
        drawn = np.frombuffer(bytearray(self._keystream.update(bytes(8 * n))), dtype="<i8")
        return drawn.astype(np.int64, copy=False)


@dataclass(frozen=True)
class RoundSecret:
    """The root of one round's randomness.

    Args:
        key: 32 bytes that never leave the platform (and never appear in a repr).
        charge_key: hex digest that names request, data and secret to the ledger; reveals none.
        unsafe: True when anybody who knows a seed can recompute the noise.
    """

    key: bytes = field(repr=False)
    charge_key: str
    unsafe: bool = False

    def stream(self, purpose: str, step: int) -> Stream:
        """The stream for one purpose ("sampling", "noise", ...) of one step; same every time."""
        return Stream(_expand(self.key, "stream", purpose, step))


class Randomness(Protocol):
    """Where round secrets come from."""

    @property
    def unsafe(self) -> bool:
        """True when the noise can be recomputed, and so protects nobody."""
        ...

    def open(self, *, platform: str, round: int, request: str, data: str) -> RoundSecret:
        """The secret of this request on this data, the same at every call until forgotten.

        Args:
            platform, round: whose, and for which round.
            request: hex digest of the whole train message.
            data: hex digest of the private training data; it stays on the platform.
        """
        ...

    def forget(self, *, platform: str, round: int, request: str, data: str) -> None:
        """Destroy the secret: the round is over.  Asking again then costs again."""
        ...

    def forget_before(self, round: int) -> None:
        """Destroy the secrets of all rounds before `round`, whatever was asked in them."""
        ...


class StoredSecrets:
    """Secrets from the operating system's generator, kept as files of mode 0600 in `folder`.

    The folder is one platform's.  A file is called after its round, `000003-<digest>.secret`.
    Safe against a crash at any moment: a secret is either wholly on disk or was never used.
    """

    unsafe = False

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        if self.folder.is_dir():
            sweep(self.folder)

    def open(self, *, platform: str, round: int, request: str, data: str) -> RoundSecret:
        """See `Randomness.open`.

        Raises:
            LedgerError: the stored secret is damaged.
            StorageError: it cannot be read or written; nothing may be charged or computed then.
        """
        path = self._path(platform, round, request, data)
        try:
            key = path.read_bytes()
        except FileNotFoundError:
            key = os.urandom(SECRET_BYTES)
            write_bytes(path, key)
        except OSError as error:
            raise StorageError(
                expected="to read a round secret", got=error.strerror or "", where=str(path)
            ) from error
        if len(key) != SECRET_BYTES:
            raise LedgerError(
                expected=f"a round secret of {SECRET_BYTES} bytes",
                got=f"{len(key)} bytes",
                where=str(path),
                remedy="Delete the file: the round will be charged afresh.",
            )
        return RoundSecret(key=key, charge_key=_charge_key(key, platform, round, request, data))

    def forget(self, *, platform: str, round: int, request: str, data: str) -> None:
        """Remove the file.  (Flash and journals may keep a copy: encrypt the disk.)"""
        _remove(self._path(platform, round, request, data))

    def forget_before(self, round: int) -> None:
        """See `Randomness.forget_before`.  The last round's secret stays until a later round.

        Raises:
            StorageError: a file cannot be removed.
        """
        for path in sorted(self.folder.glob("*.secret")):
            number, dash, _ = path.name.partition("-")
            if dash and number.isdecimal() and int(number) < round:
                _remove(path)

    def _path(self, platform: str, round: int, request: str, data: str) -> Path:
        digest = _digest("secret", platform, round, request, data)
        return self.folder / f"{round:06}-{digest}.secret"


class UnsafeSeed:
    """Secrets that follow from a number: for tests and seeded simulations, never for real users.

    The secret depends on seed, platform and round only, so that runs of one seed are alike.
    """

    unsafe = True

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def open(self, *, platform: str, round: int, request: str, data: str) -> RoundSecret:
        """See `Randomness.open`."""
        root = hashlib.sha256(f"{_LABEL}/UnsafeSeed/{self.seed}".encode()).digest()
        key = _expand(root, "unsafe", platform, round)
        charge_key = _charge_key(key, platform, round, request, data)
        return RoundSecret(key=key, charge_key=charge_key, unsafe=True)

    def forget(self, *, platform: str, round: int, request: str, data: str) -> None:
        """Nothing was kept."""

    def forget_before(self, round: int) -> None:
        """Nothing was kept."""

    def __repr__(self) -> str:
        return f"UnsafeSeed({self.seed})"


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error, path) from error


def _expand(key: bytes, *labels: str | int) -> bytes:
    info = json.dumps([_LABEL, *labels]).encode()  # JSON: no two label lists look alike
    return HKDFExpand(algorithm=SHA256(), length=SECRET_BYTES, info=info).derive(key)


def _digest(*labels: str | int) -> str:
    return hashlib.sha256(json.dumps([_LABEL, *labels]).encode()).hexdigest()


def _charge_key(key: bytes, *labels: str | int) -> str:
    return _digest("charge", _expand(key, "commitment").hex(), *labels)
