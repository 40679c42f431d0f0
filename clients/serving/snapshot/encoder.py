"""The federation's text encoder, without torch: texts -> pooled states by layer.

    ENCODERS/
    ├── encoder-ID.json       what it is (`EncoderMeta`), and the SHA-256 of the others
    ├── encoder-ID.onnx       token ids and mask -> pooled states by layer
    ├── encoder-ID.weights    its weights; mapped into memory, so that words nobody uses cost none
    └── encoder-ID.tokens     its tokenizer, as `tokenizers` writes one

`export` writes them, once for an encoder, however many snapshots follow.  The network is loaded at
the first text.

Shapes: `N` texts, `T` tokens, `H` layers that are read, `D` width.
"""

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import DataError, EncoderError, RunError
from shared.files import file_sha256

FORMAT = 1
PARTS = ("onnx", "weights", "tokens")
_TOKENS_AT_ONCE = 512  # as `shared.encoder`: a few hundred stay in the processor's cache


@dataclass(frozen=True, kw_only=True)
class EncoderMeta:
    """`encoder-ID.json`.

    Args:
        identity: `shared.encoder.encoder_identity` of what it was made from.
        layers, width: H and D of the states.
        max_tokens: texts are cut to so many.
        filler: token of the padding, and of a text without any token.
        vocabulary: token ids are below it.
        files: name -> SHA-256.
    """

    identity: str
    layers: int
    width: int
    max_tokens: int
    filler: int
    vocabulary: int
    files: dict[str, str]

    @classmethod
    def read(cls, path: Path, *, thorough: bool = False) -> "EncoderMeta":
        """Read `path`.

        Args:
            thorough: also hold every file against its hash.

        Raises:
            RunError: it is missing, of another version, or damaged.
        """
        try:
            values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if values.pop("format") != FORMAT:
                raise ValueError("another version's encoder")
            meta = cls(**values)
            if set(meta.files) != {path.with_suffix(f".{part}").name for part in PARTS}:
                raise ValueError("other files")
            for name, expected in meta.files.items():
                file = path.with_name(name)
                if not file.is_file() or (thorough and file_sha256(file) != expected):
                    raise ValueError(f"a missing or changed {name}")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged("a whole exported encoder", error, path) from error
        return meta


def encoder_name(identity: str) -> str:
    """Name of an encoder's `.json`; the others lie beside it.  "" for one that is not known."""
    return f"encoder-{identity[:16]}.json" if identity else ""


class Encoder:
    """An exported encoder: the twin of `shared.encoder.TextEncoder`.  Safe to share by threads.

    Args:
        path: of its `.json`.
        threads: of one call; on one, other calls run beside it.

    Raises:
        RunError: there is none, or it is damaged.
    """

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        self.path, self.meta = path, EncoderMeta.read(path)
        self._threads = threads
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any] | None = None

    def load(self) -> tuple[Any, Any]:
        """The session and the tokenizer; made at the first call.

        Raises:
            RunError: a file is damaged.
            EncoderError: onnxruntime or tokenizers is not installed.
        """
        with self._lock:
            if self._loaded is None:
                self._loaded = self._session(), self._tokenizer()
            return self._loaded

    def _session(self) -> Any:
        try:
            import onnxruntime
        except ImportError as error:
            raise not_installed("onnxruntime") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what it would say may quote its input
        # No arena: it keeps what the longest batch took, and plans for shapes that do not return.
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        # An idle thread sleeps: spinning would take the processor from the other requests.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = self.path.with_suffix(".onnx")
        try:
            return onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own have no common root
            raise _damaged("a network", error, path) from error

    def _tokenizer(self) -> Any:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise not_installed("tokenizers") from error
        path = self.path.with_suffix(".tokens")
        try:
            return Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises bare Exception
            raise _damaged("a tokenizer", error, path) from error

    def states(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(N, H, D) pooled states, as `TextEncoder.encode` gives them.

        Raises:
            DataError: a text is no Unicode.
            EncoderError: the tokenizer cannot read a text, or its states are not finite.
            RunError: the encoder's files are damaged.
        """
        meta = self.meta
        found = np.zeros((len(texts), meta.layers, meta.width), np.float32)
        if not len(texts):
            return found
        session, tokenizer = self.load()
        tokens = self._tokens(tokenizer, texts)
        for rows in _batches([len(ids) for ids in tokens]):
            longest = max(len(tokens[row]) for row in rows)
            ids = np.full((len(rows), longest), meta.filler, np.int64)
            mask = np.zeros((len(rows), longest), np.int64)
            for place, row in enumerate(rows):
                ids[place, : len(tokens[row])] = tokens[row]
                mask[place, : len(tokens[row])] = 1
            try:
                (found[rows],) = session.run(None, {"ids": ids, "mask": mask})
            # onnxruntime's own have no common root, and may quote the text
            except Exception as error:  # noqa: BLE001
                raise self._failed("a network that reads every text", error) from None
        if not np.isfinite(found).all():
            raise EncoderError(
                expected="finite states", got="NaN or infinity", where=self.path.name
            )
        return found

    def _tokens(self, tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, cut; a text without any becomes one filler."""
        for text in texts:
            try:
                text.encode()
            except UnicodeEncodeError:  # `from None`: that error holds the text
                raise DataError(
                    expected="text in Unicode", got="half a surrogate pair", where="text"
                ) from None
        try:
            read = [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts))]
        # tokenizers raises bare Exception, which may quote the text
        except Exception as error:  # noqa: BLE001
            raise self._failed("a tokenizer that reads every text", error) from None
        found = [ids or [self.meta.filler] for ids in read]
        largest = max(max(ids) for ids in found)
        if largest >= self.meta.vocabulary:
            raise EncoderError(
                expected=f"token ids below {self.meta.vocabulary}, the model's vocabulary",
                got=str(largest),
                where=self.path.name,
                remedy="The tokenizer belongs to another model.",
            )
        return found

    def _failed(self, expected: str, error: Exception) -> EncoderError:
        """Names the kind of error alone: its text may quote the text."""
        return EncoderError(expected=expected, got=type(error).__name__, where=self.path.name)


def not_installed(package: str) -> EncoderError:
    """A package of the extra `serving` is missing."""
    return EncoderError(
        expected=f"the package {package}",
        got="no such package",
        where="texts",
        remedy="Run `pip install 'fedinterest[serving]'`.",
    )


def _batches(lengths: list[int]) -> Iterator[list[int]]:
    """Rows in batches of similar length, longest first."""
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    start = 0
    while start < len(order):
        size = max(1, _TOKENS_AT_ONCE // lengths[order[start]])
        yield order[start : start + size]
        start += size


def _damaged(expected: str, error: Exception, path: Path) -> RunError:
    said = f"{type(error).__name__}: {error}" if isinstance(error, ValueError) else ""
    none = "none" if isinstance(error, FileNotFoundError) else type(error).__name__
    return RunError(
        expected=expected,
        got=said or none,
        where=str(path),
        remedy=f"Remove {path.with_suffix('.json').name}: the next start makes it again.",
    )
