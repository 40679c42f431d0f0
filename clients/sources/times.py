"""Written and numeric times, as microseconds since 1970 (UTC)."""

import polars as pl

# The first one that fits wins; a log mostly keeps to one, and the rest see only what is left.
_WRITTEN = (
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y-%m-%d",
    "%Y-%m-%d %H:%M",
    "%Y%m%d",
)
_MICROSECONDS = {"s": 1e6, "ms": 1e3, "us": 1.0}
_LARGEST = 9.2e18  # just inside int64; anything beyond is a time nobody means


def time_us(column: str, dtype: pl.DataType, unit: str) -> pl.Expr:
    """`column` as Int64 microseconds since 1970; null where it is no time.

    Args:
        dtype: of the column: text, number, date or datetime.
        unit: "s", "ms" or "us" for numbers (also written ones), "iso" for written dates.
    """
    value = pl.col(column)
    if dtype == pl.Date or isinstance(dtype, pl.Datetime):
        moment = value.cast(pl.Datetime("us"))
        if isinstance(dtype, pl.Datetime) and dtype.time_zone:
            moment = value.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return moment.dt.cast_time_unit("us").to_physical()
    if unit == "iso":
        return value.cast(pl.String).map_batches(
            _written, return_dtype=pl.Int64, is_elementwise=True
        )
    number = as_number(column, dtype) * _MICROSECONDS[unit]
    finite = pl.when(number.is_finite()).then(number.clip(-_LARGEST, _LARGEST))
    return finite.round().cast(pl.Int64, strict=False)


def as_number(column: str, dtype: pl.DataType) -> pl.Expr:
    """`column` as Float64; null where it is not a number."""
    value = pl.col(column)
    if dtype == pl.String:
        return value.map_batches(_numbers, return_dtype=pl.Float64, is_elementwise=True)
    return value.cast(pl.Float64, strict=False)


def _numbers(values: pl.Series) -> pl.Series:
    found = values.cast(pl.Float64, strict=False)
    left = found.is_null() & values.is_not_null()
    if left.any():  # blanks around a number are rare, and stripping is dear
        again = values.filter(left).str.strip_chars().cast(pl.Float64, strict=False)
        found = found.scatter(left.arg_true(), again)
    return found


def _written(values: pl.Series) -> pl.Series:
    text = values.str.strip_chars().str.replace("T", " ", literal=True)
    text = text.str.replace(r"\s?(Z|UTC)$", "+00:00")
    found = pl.repeat(None, len(values), dtype=pl.Int64, eager=True).alias(values.name)
    for pattern in _WRITTEN:
        left = found.is_null() & text.is_not_null()
        if not left.any():
            break
        moment = text.filter(left).str.to_datetime(pattern, strict=False, time_unit="us")
        if moment.dtype.time_zone:  # type: ignore[attr-defined]
            moment = moment.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        found = found.scatter(left.arg_true(), moment.to_physical())
    return found
