"""A platform's items, as written, turned into a `Catalogue`."""

import json
from contextlib import closing, suppress

import polars as pl

from clients.sources.item_text import item_text
from clients.sources.tables import open_tables
from clients.sources.values import as_id, trimmed
from shared.catalogue import Catalogue
from shared.config.sources import ItemSource
from shared.errors import CatalogueError

PLACEHOLDER = "unknown item"


def read_items(source: ItemSource) -> tuple[Catalogue, dict[str, int]]:
    """The catalogue in the order of the source, and the rows left out, by reason.

    Reasons: `item_without_id`; `item_without_text` (with `empty_text = "drop"`); `repeated_item`
    (rows merged into one under `duplicates` "first" or "most_frequent").

    Raises:
        SourceError: the source cannot be read as configured.
        CatalogueError: no items, an id twice, or no item with a text.
    """
    texts = {f"text[{k}]": column for k, column in enumerate(source.text)}
    wanted = {"item": source.item, "title": source.title, **texts}
    if source.category is not None:
        wanted["category"] = source.category
    frames, where = [], "items"
    with closing(open_tables(source, wanted)) as tables:
        for table in tables:
            schema, where = table.schema(), table.where
            columns = [
                _cell(name, column, schema, where).alias(name) for name, column in wanted.items()
            ]
            frame = table.frame.select(columns).with_columns(rows=pl.lit(1, dtype=pl.UInt32))
            if source.duplicates != "error":  # a catalogue read from a log: fold while streaming
                frame = frame.group_by(list(wanted), maintain_order=True).agg(pl.col("rows").sum())
            frames.append(table.collect(frame))
    items = pl.concat(frames)
    read = int(items["rows"].sum())
    dropped = {"item_without_id": int(items.filter(pl.col("item").is_null())["rows"].sum())}
    items = items.filter(pl.col("item").is_not_null())
    items = _distinct(items, source, where)
    dropped["repeated_item"] = read - dropped["item_without_id"] - len(items)
    ids, titles = items["item"].to_list(), items["title"].to_list()
    extra = items.select(list(texts)).rows() if texts else [()] * len(items)
    paths: list[tuple[str, ...]] = [()] * len(items)
    if source.category is not None:
        paths = [_path(value, source.category_separator) for value in items["category"].to_list()]
    written = [
        item_text(title, more, path) for title, more, path in zip(titles, extra, paths, strict=True)
    ]
    if ids and not any(written):
        raise CatalogueError(
            expected=f"text in column {source.title!r}",
            got="none for any item",
            where=f"{where} (items.title)",
            remedy="Name a column that holds the items' titles, or add columns with items.text.",
        )
    keep = [k for k, text in enumerate(written) if text or source.empty_text == "placeholder"]
    dropped["item_without_text"] = len(ids) - len(keep)
    catalogue = Catalogue(
        ids=tuple(ids[k] for k in keep),
        texts=tuple(written[k] or PLACEHOLDER for k in keep),
        titles=tuple(titles[k] or ids[k] for k in keep),
        categories=tuple(paths[k] for k in keep),
    )
    return catalogue, {reason: count for reason, count in dropped.items() if count}


def _cell(name: str, column: str, schema: pl.Schema, where: str) -> pl.Expr:
    dtype = schema[column]
    if isinstance(dtype, pl.List) and name != "item":
        joined = pl.col(column).cast(pl.List(pl.String)).list.join("\x1f", ignore_nulls=True)
        return joined if name == "category" else joined.str.replace_all("\x1f", " ", literal=True)
    value = trimmed(as_id(column, schema, where))
    return value if name in ("item", "category") else value.str.replace_all(r"\s+", " ")


def _distinct(items: pl.DataFrame, source: ItemSource, where: str) -> pl.DataFrame:
    """One row per id, in the order in which ids first appear."""
    if source.duplicates == "error":
        repeated = len(items) - items["item"].n_unique()
        if repeated:
            raise CatalogueError(
                expected="distinct item ids",
                got=f"{repeated} repeated",
                where=f"{where} (items.item)",
                remedy="Keep one row per item, or set items.duplicates to first or most_frequent.",
            )
        return items
    items = items.with_row_index("position").with_columns(
        first=pl.col("position").min().over("item"), titled=pl.col("title").is_not_null()
    )
    if source.duplicates == "most_frequent":
        length = pl.col("title").str.len_chars().fill_null(0)
        items = items.with_columns(
            times=pl.col("rows").sum().over("item", "title"), length=length
        ).sort("titled", "times", "length", "position", descending=[True, True, True, False])
    else:
        items = items.sort("titled", "position", descending=[True, False])
    return items.unique("item", keep="first", maintain_order=True).sort("first")


def _path(value: str | None, separator: str) -> tuple[str, ...]:
    """The levels of a category path; JSON lists and lists in Parquet are paths already."""
    if not value:
        return ()
    levels = value.split("\x1f") if "\x1f" in value else value.split(separator)
    if value.startswith("[") and value.endswith("]"):
        with suppress(ValueError):
            levels = [str(level) for level in json.loads(value)]
    return tuple(" ".join(level.split()) for level in levels if level.strip())
