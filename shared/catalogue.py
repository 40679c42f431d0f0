"""A platform's items: public text, and nothing about who used them.

Shapes: V items.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from shared.errors import CatalogueError
from shared.files import sha256, write_json

_PARTS = ("ids", "texts", "titles", "categories")


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """The public items of one platform, in a fixed order (the row of an item is its index).

    Args:
        ids: V distinct item ids as the platform writes them.
        texts: V non-empty texts (what the encoder reads: title, then category words).
        titles: V short names for people.
        categories: V category paths, outermost first; an empty tuple where unknown.

    Raises:
        CatalogueError: lengths differ, no items, duplicate ids, an empty text, a text
            that is no Unicode (half a surrogate pair, as broken JSON may hold).
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    titles: tuple[str, ...]
    categories: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        sizes = {len(self.ids), len(self.texts), len(self.titles), len(self.categories)}
        if len(sizes) != 1:
            raise CatalogueError(
                expected="as many texts, titles and categories as ids",
                got=f"lengths {sorted(sizes)}",
                where="catalogue",
            )
        if not self.ids:
            raise CatalogueError(
                expected="at least one item",
                got="an empty catalogue",
                where="catalogue",
                remedy="Check the path and the columns of the items source.",
            )
        if len(self.row_of) != len(self.ids):
            seen: set[str] = set()
            twice = next(i for i in self.ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
            raise CatalogueError(
                expected="distinct item ids",
                got=f"{len(self.ids) - len(self.row_of)} repeated, the first is {twice!r}",
                where="catalogue",
                remedy="Keep one row per item.",
            )
        empty = next(
            (i for i, text in zip(self.ids, self.texts, strict=True) if not text.strip()), None
        )
        if empty is not None:
            raise CatalogueError(
                expected="a text for every item",
                got=f"none for item {empty!r}",
                where="catalogue",
                remedy="Name at least one text column that is filled for every item.",
            )
        broken = next(
            (i for i, text in zip(self.ids, self.texts, strict=True) if not _is_unicode(text)), None
        )
        if broken is not None:
            raise CatalogueError(
                expected="texts of whole Unicode characters",
                got=f"half a surrogate pair in item {broken!r}",
                where="catalogue",
                remedy="Write the file as UTF-8 again, without lone surrogates.",
            )

    def __len__(self) -> int:
        return len(self.ids)

    def save(self, path: Path) -> None:
        """Write it to `path` (JSON), replacing it atomically.

        Raises:
            StorageError: the disk refused.
        """
        write_json(path, {part: getattr(self, part) for part in _PARTS})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            OSError, ValueError, KeyError: it is not there, or not whole.
            CatalogueError: see the class.
        """
        found = json.loads(path.read_text(encoding="utf-8"))
        ids, texts, titles, categories = (found[part] for part in _PARTS)
        return cls(
            ids=tuple(ids),
            texts=tuple(texts),
            titles=tuple(titles),
            categories=tuple(tuple(path) for path in categories),
        )

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Item id -> row."""
        return {item: row for row, item in enumerate(self.ids)}

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 over the texts in order: what the encoder's cache is keyed by."""
        # each text with its length: no character could separate them without doubt
        return sha256("".join(f"{len(text)}\n{text}" for text in self.texts).encode("utf-8"))


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
