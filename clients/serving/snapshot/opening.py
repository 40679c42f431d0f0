"""Opening the files of an index: as they were written, or an error that says what to do."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from shared.errors import RunError
from shared.files import file_sha256


@contextmanager
def opening(folder: Path, names: Sequence[str], files: Mapping[str, str] | None) -> Iterator[None]:
    """Within it the files `names` of `folder` are read.

    Args:
        files: name -> SHA-256 that each file has to have; None does not look.

    Raises:
        RunError: one of them is damaged, or what is done within fails to read it.
    """
    try:
        for name in names if files is not None else ():
            if file_sha256(folder / name) != (files or {})[name]:
                raise ValueError(f"a damaged {name}")
        yield
    except (OSError, ValueError, KeyError, EOFError, RuntimeError) as error:  # faiss': RuntimeError
        raise RunError(
            expected="the index of a snapshot",
            got=str(error) if isinstance(error, ValueError) else "none that can be read",
            where=str(folder),
            remedy="Remove the folder: `fedinterest-client serve` makes it again.",
        ) from error
