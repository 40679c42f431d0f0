"""Text files in other encodings than UTF-8, and the first byte that breaks a promise of UTF-8."""

import codecs
import gzip
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from shared.errors import SourceError
from shared.files import storage_error

_CHUNK = 1 << 20


def is_utf8(encoding: str) -> bool:
    """True for UTF-8 and its subset ASCII, which need no recoding."""
    return codecs.lookup(encoding).name in ("utf-8", "ascii")


def open_bytes(path: Path) -> IO[bytes]:
    """The bytes of a file, unpacked when its name ends in .gz."""
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return open(path, "rb")


def has_bom(path: Path) -> bool:
    """Whether the file begins with the mark some Windows programs write before UTF-8."""
    with open_bytes(path) as handle:
        return handle.read(3) == codecs.BOM_UTF8


@contextmanager
def as_utf8(path: Path, encoding: str) -> Iterator[Path]:
    """Yield a UTF-8 copy of `path` in a private temporary folder; it is gone afterwards.

    Raises:
        SourceError: the bytes are not of `encoding`.
        StorageError: no room for the copy.
    """
    with tempfile.TemporaryDirectory(prefix="fedinterest-") as folder:
        copy = Path(folder) / "recoded"
        decoder = codecs.getincrementaldecoder(encoding)()
        try:
            with open_bytes(path) as source, open(copy, "wb") as target:
                while chunk := source.read(_CHUNK):
                    _write(target, decoder.decode(chunk), copy)
                _write(target, decoder.decode(b"", final=True), copy)
        except UnicodeError as error:
            raise SourceError(
                expected=f"text in {encoding}",
                got="bytes that are not",
                where=str(path),
                remedy="Correct `encoding`.",
            ) from error
        yield copy


def _write(target: IO[bytes], text: str, copy: Path) -> None:
    try:
        target.write(text.encode("utf-8"))
        target.flush()
    except OSError as error:
        raise storage_error(error, copy) from error


def first_bad_byte(path: Path) -> tuple[int, int] | None:
    """(offset, line) of the first byte that is not UTF-8, both as an editor counts them.

    The offset is counted from 0, the line from 1.  None when all of the file is UTF-8.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset, line = 0, 1
    with open_bytes(path) as handle:
        while True:
            chunk = handle.read(_CHUNK)
            pending = len(decoder.getstate()[0])
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                before = error.object[: error.start]
                return offset - pending + error.start, line + before.count(b"\n")
            if not chunk:
                return None
            offset += len(chunk)
            line += text.count("\n")
