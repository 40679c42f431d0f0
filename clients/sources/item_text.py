"""What the encoder reads of an item: one rule for the platform's files and for what is posted."""

from collections.abc import Iterable


def item_text(title: str | None, more: Iterable[str | None], path: tuple[str, ...]) -> str:
    """The title, further texts, then the category's words."""
    parts = [title, *more, ", ".join(path)]
    return ". ".join(part for part in parts if part)
