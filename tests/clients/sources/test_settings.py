"""Settings of sources that could not mean anything are refused by name."""

from typing import Any

import pytest

from shared.config.sources import Cleaning, EventSource, ItemSource, epoch_us
from shared.errors import ConfigError


@pytest.mark.parametrize(
    ("kind", "values", "says"),
    [
        (EventSource, {}, "either `path` or `url`"),
        (EventSource, {"path": "x", "url": "sqlite://", "query": "q"}, "either `path` or `url`"),
        (EventSource, {"url": "sqlite://"}, "`query` together with `url`"),
        (EventSource, {"path": "x", "format": "sql"}, '`url` for format "sql"'),
        (EventSource, {"path": "x", "header": ["a", "a"]}, "distinct column names"),
        (EventSource, {"path": "x", "encoding": "latin-99"}, "an encoding Python knows"),
        (EventSource, {"path": "x", "actions": ["buy"]}, "`action`, the column"),
        (EventSource, {"path": "x", "time_unti": "s"}, "Did you mean 'time_unit'?"),
        (EventSource, {"path": "x", "separator": ""}, "separator"),
        (ItemSource, {"path": "x", "duplicates": "last"}, "duplicates"),
        (Cleaning, {"min_time": "soon"}, "a date such as 2026-11-30"),
        (Cleaning, {"max_events_per_user_day": 0}, "max_events_per_user_day"),
    ],
)
def test_refused(kind: Any, values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        kind.load(values, where="test.toml")
    assert says in str(caught.value)
    assert caught.value.exit_code == 2


def test_settings_survive_a_round_trip() -> None:
    source = EventSource(path="log.csv", time="t")  # type: ignore[arg-type]
    assert EventSource.load(source.model_dump(mode="json"), where="run folder") == source
    assert source.replace(time=None).time is None


def test_dates_are_utc_unless_they_say_otherwise() -> None:
    assert epoch_us("1970-01-02") == 86_400_000_000
    assert epoch_us("1970-01-01T02:00:00.000001+02:00") == 1
    assert epoch_us("1969-12-31T23:59:59") == -1_000_000
