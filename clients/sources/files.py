"""Text and Parquet files as lazy tables: CSV, TSV, any separator, JSON lines, Parquet.

Every field of a text file stays text (ids such as `0004936` keep their zeros).  CSV honours
quotes; in TSV and every other separator a quote is an ordinary letter.
"""

import difflib
import glob
import itertools
import json
from collections.abc import Generator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import polars as pl

from clients.sources.encodings import as_utf8, first_bad_byte, has_bom, is_utf8, open_bytes
from clients.sources.tables import Table
from shared.config.sources import EventSource, ItemSource
from shared.errors import SourceError

_ENDINGS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_COMPRESSED = (".gz", ".zst")
_JSON_SAMPLE = 1000  # lines whose keys are taken for the columns


def file_tables(
    source: EventSource | ItemSource, wanted: dict[str, str]
) -> Generator[Table, None, None]:
    """Yield one table per file of `source`, in the order of the files' names.

    Raises:
        SourceError: no such file, an unknown format, or bytes that are not of the encoding.
    """
    for path in _paths(source):
        kind = _format(path, source)
        with ExitStack() as stack:
            where, readable = str(path), path
            recode = not is_utf8(source.encoding) or (kind == "jsonl" and has_bom(path))
            if kind != "parquet" and recode:
                encoding = source.encoding if not is_utf8(source.encoding) else "utf-8-sig"
                readable = stack.enter_context(as_utf8(path, encoding))
            explain = partial(_explain, path=readable, where=where, kind=kind)
            try:
                frame = _scan(readable, kind, source, wanted)
            except (pl.exceptions.PolarsError, OSError, ValueError) as error:
                raise explain(error) from error
            yield Table(frame=frame, where=where, explain=explain)


def _paths(source: EventSource | ItemSource) -> list[Path]:
    path = source.path
    if path is None:  # settings refuse this; said again for the type checker
        raise SourceError(expected="a path", got="none", where="source")
    if path.is_file():
        return [path]
    if path.is_dir():
        inside = sorted(one for one in path.iterdir() if one.is_file())
        known = [one for one in inside if _ending(one) and one.name[0] not in "._"]
        found = known or [
            one for one in inside if source.format != "auto" and one.name[0] not in "._"
        ]
    else:
        found = [Path(one) for one in sorted(glob.glob(str(path))) if Path(one).is_file()]
    if not found:
        beside = sorted(one.name for one in path.parent.iterdir()) if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, beside, n=1)
        raise SourceError(
            expected="a readable file",
            got="a folder without one" if path.is_dir() else "no such file",
            where=str(path),
            remedy=f"Did you mean {near[0]!r}?" if near else "Check the path of the source.",
        )
    return found


def _ending(path: Path) -> str | None:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    return _ENDINGS.get(suffixes[-1]) if suffixes else None


def _format(path: Path, source: EventSource | ItemSource) -> str:
    if source.format not in ("auto", "sql"):
        return source.format
    kind = _ending(path) or ("tsv" if source.separator else None)
    if kind is None:
        raise SourceError(
            expected=f"a file ending in one of {', '.join(sorted(_ENDINGS))}",
            got=f"the ending {path.suffix!r}",
            where=str(path),
            remedy='Say what it is: format = "csv", "tsv", "jsonl" or "parquet", or a separator.',
        )
    return kind


def _scan(
    path: Path, kind: str, source: EventSource | ItemSource, wanted: dict[str, str]
) -> pl.LazyFrame:
    if kind == "parquet":
        return pl.scan_parquet(path, glob=False)
    if kind == "jsonl":
        found = _json_columns(path)
        if path.stat().st_size == 0:
            found = list(wanted.values())
        return pl.scan_ndjson(path, schema=dict.fromkeys(found, pl.String))
    separator = source.separator or ("," if kind == "csv" else "\t")
    if len(separator.encode()) > 1:
        return _scan_split(path, separator, source.header, wanted)
    if path.stat().st_size == 0:
        return pl.LazyFrame(schema=dict.fromkeys(source.header or wanted.values(), pl.String))
    header = source.header
    return pl.scan_csv(
        path,
        has_header=header is None,
        schema=None if header is None else dict.fromkeys(header, pl.String),
        separator=separator,
        quote_char='"' if kind == "csv" and separator == "," else None,
        infer_schema=False,
        glob=False,
    )


def _scan_split(
    path: Path, separator: str, header: list[str] | None, wanted: dict[str, str]
) -> pl.LazyFrame:
    """Lines split at a separator of several letters; the last column keeps what is left over."""
    if path.stat().st_size == 0:
        return pl.LazyFrame(schema=dict.fromkeys(header or wanted.values(), pl.String))
    lines = pl.scan_lines(path, name="line")
    names = header
    if names is None:
        with open_bytes(path) as handle:
            first = handle.readline().decode("utf-8").removeprefix("\ufeff").strip("\r\n")
        names = first.split(separator)
        lines = lines.slice(1)
    fields = pl.col("line").str.strip_prefix("\ufeff").str.splitn(separator, len(names))
    return lines.select(fields.struct.rename_fields(names)).unnest("line")


def _json_columns(path: Path) -> list[str]:
    found: dict[str, None] = {}
    with open_bytes(path) as handle:
        for number, line in enumerate(itertools.islice(handle, _JSON_SAMPLE), 1):
            if line.strip():
                found.update(dict.fromkeys(_json_object(line, number)))
    return list(found)


def _json_object(line: bytes, number: int) -> dict[str, object]:
    """Raises ValueError, naming the line but nothing in it."""
    try:
        value = json.loads(line)
    except UnicodeDecodeError:
        raise
    except ValueError:
        raise ValueError(f"line {number} is not JSON") from None
    if not isinstance(value, dict):
        raise ValueError(f"line {number} is not a JSON object")
    return value


def _explain(error: Exception, *, path: Path, where: str, kind: str) -> SourceError:
    """Our words for a reader's exception, whose own text may quote the data."""
    text = str(error).lower()
    if isinstance(error, UnicodeDecodeError) or "utf" in text:
        bad = first_bad_byte(path)
        if bad is not None:
            return SourceError(
                expected="UTF-8 text",
                got=f"another encoding at byte {bad[0]} (line {bad[1]})",
                where=where,
                remedy='Say which it is: encoding = "latin-1", "cp1252", "utf-16", ...',
            )
    if isinstance(error, OSError):
        return SourceError(
            expected="a readable file",
            got=error.strerror or type(error).__name__,
            where=where,
            remedy="Check that it exists and that this user may read it.",
        )
    if kind == "jsonl":
        return SourceError(
            expected="one JSON object a line", got=_bad_json(path, error), where=where
        )
    if kind == "parquet":
        return SourceError(
            expected="a Parquet file",
            got="one that is damaged or of another format",
            where=where,
            remedy="Write it again; a download may have been cut short.",
        )
    if "more fields" in text or "not specified in schema" in text:
        got = "a row with more fields than there are columns"
    elif "could not parse" in text:
        got = "a quote that is not closed, or stands inside a field"
    else:
        got = f"rows that cannot be read ({type(error).__name__})"
    return SourceError(
        expected="rows with the same fields as the header",
        got=got,
        where=where,
        remedy='Check separator and header; format = "tsv" takes quotes as ordinary letters.',
    )


def _bad_json(path: Path, error: Exception) -> str:
    with open_bytes(path) as handle:
        for number, line in enumerate(handle, 1):
            try:
                if line.strip():
                    _json_object(line, number)
            except ValueError as found:
                return str(found)
    return f"lines that cannot be read ({type(error).__name__})"
