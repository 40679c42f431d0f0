"""Measures are described once; what is not described cannot come out."""

import pytest

from shared.errors import ConfigError
from shared.operations.metrics import Metric, Metrics, Samples, table

DESCRIBED = (
    Metric("fed_rounds_total", "counter", "Rounds done."),
    Metric("fed_epsilon", "gauge", "Spent.", ("platform",)),
    Metric("fed_free_bytes", "gauge", "Room left."),
)


def test_the_text_a_scrape_gets() -> None:
    values: Samples = {"fed_rounds_total": 3, "fed_epsilon": {("shop",): 1.5, ("films",): 2}}
    text = Metrics(DESCRIBED, lambda: values).text().decode()
    assert text == (
        "# HELP fed_rounds_total Rounds done.\n"
        "# TYPE fed_rounds_total counter\n"
        "fed_rounds_total 3.0\n"
        "# HELP fed_epsilon Spent.\n"
        "# TYPE fed_epsilon gauge\n"
        'fed_epsilon{platform="shop"} 1.5\n'
        'fed_epsilon{platform="films"} 2.0\n'
        "# HELP fed_free_bytes Room left.\n"
        "# TYPE fed_free_bytes gauge\n"
    )


@pytest.mark.parametrize(
    "values", [{"fed_users": 7}, {"fed_epsilon": {("shop", "user-1"): 1.0}}, {"fed_epsilon": 1.0}]
)
def test_a_measure_or_label_that_is_not_described_is_an_error(values: Samples) -> None:
    with pytest.raises(ConfigError):
        Metrics(DESCRIBED, lambda: values).text()


def test_values_are_read_anew_for_every_scrape() -> None:
    count = iter(range(5))
    metrics = Metrics(DESCRIBED, lambda: {"fed_rounds_total": next(count)})
    assert b"fed_rounds_total 0.0" in metrics.text()
    assert b"fed_rounds_total 1.0" in metrics.text()


def test_the_table_for_the_documentation() -> None:
    assert (
        table(DESCRIBED[1:2]).splitlines()[2] == "| `fed_epsilon` | gauge | `platform` | Spent. |"
    )
