"""Who asked not to be learned from: a text file with one raw user id per line."""

from pathlib import Path

from shared.errors import SourceError


def read_opt_out(path: Path | None) -> list[str]:
    """The raw ids of an opt-out list, distinct, in order; blank lines are passed over.

    Fails closed: a list that is configured but cannot be read stops the ingestion.

    Raises:
        SourceError: the file is missing, unreadable or not UTF-8.
    """
    if path is None:
        return []
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SourceError(
            expected="an opt-out list, one user id per line",
            got=error.strerror or str(error),
            where=f"{path} (cleaning.opt_out)",
            remedy="Nothing is read without it: create it (it may be empty) or correct the path.",
        ) from error
    except UnicodeDecodeError as error:
        raise SourceError(
            expected="UTF-8 text",
            got=f"another encoding at byte {error.start}",
            where=f"{path} (cleaning.opt_out)",
        ) from error
    return list(dict.fromkeys(line.strip() for line in text.split("\n") if line.strip()))
