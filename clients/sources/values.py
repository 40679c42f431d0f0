"""Cell values as ids: one spelling for an id, however the column is stored."""

import polars as pl

from shared.errors import SourceError

# What exports write where there is no user; one pretended "user" would hold all of those events.
MISSING_USERS = ("null", "NULL", "Null", "nan", "NaN", "none", "None", "\\N")


def as_id(column: str, schema: pl.Schema, where: str) -> pl.Expr:
    """`column` as text, still with outer blanks (see `trimmed`); null where there is none.

    Whole numbers stored as floats lose their point (17850.0 is "17850"): a numeric id column with
    gaps becomes floats in many tools, and the id must still be the one people write.

    Raises:
        SourceError: the column holds lists or records.
    """
    dtype, value = schema[column], pl.col(column)
    if dtype.is_nested() or dtype in (pl.Object, pl.Binary):
        raise SourceError(
            expected=f"plain values in column {column!r}",
            got=f"{dtype}",
            where=where,
            remedy="Choose a column of text or numbers.",
        )
    if dtype.is_float() or dtype.is_decimal():
        number = value.cast(pl.Float64)
        whole = (number == number.floor()) & (number.abs() < 2**63)
        plain = pl.when(whole).then(pl.when(whole).then(number).cast(pl.Int64, strict=False))
        number = pl.when(number.is_finite()).then(value)
        return pl.coalesce(plain.cast(pl.String), number.cast(pl.String))
    return value if dtype == pl.String else value.cast(pl.String)


def trimmed(text: pl.Expr) -> pl.Expr:
    """Without outer blanks; null where nothing is left."""
    text = text.str.strip_chars()
    return pl.when(text.str.len_bytes() > 0).then(text)
