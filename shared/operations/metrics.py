"""Measures for Prometheus: described once, read when asked for.

A side describes its measures in a table and gives a function that reads their values, mostly from
files that are there anyway; nothing is counted twice and nothing is lost with a process.  A value
for a measure or a label that the table does not have is an error, so no label is ever made up on
the way: labels are names from the federation's settings and words of ours, never a user's data.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from shared.errors import ConfigError

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Value = float | Mapping[tuple[str, ...], float]
Samples = Mapping[str, Value]


@dataclass(frozen=True)
class Metric:
    """One measure.

    Args:
        name: as Prometheus knows it, with its unit; a counter's ends in `_total`.
        kind: a counter only grows while a run goes on; a gauge is what is now.
        help: what it says, for people.
        labels: what it is told apart by.
    """

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    labels: tuple[str, ...] = ()


class Metrics:
    """The measures of `described`, as `read` finds them.

    Args:
        read: measure -> its value; one with labels: label values, in order -> value.  A measure
            that it leaves out has no samples.
    """

    def __init__(self, described: Sequence[Metric], read: Callable[[], Samples]) -> None:
        from prometheus_client import CollectorRegistry

        self._described = {one.name: one for one in described}
        self._read = read
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def describe(self) -> list[Any]:
        """Nothing: the registry need not read every value to know the names."""
        return []

    def collect(self) -> Iterator[Any]:
        """Prometheus's interface: the families with their samples now.

        Raises:
            ConfigError: `read` returned what is not described.
        """
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        samples = self._read()
        if unknown := set(samples) - set(self._described):
            raise ConfigError(
                expected="measures that are described",
                got=", ".join(sorted(unknown)),
                where="metrics",
            )
        for metric in self._described.values():
            family = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            found = family(metric.name, metric.help, labels=metric.labels)
            if metric.name in samples:
                value = samples[metric.name]
                for labels, number in (
                    value.items() if isinstance(value, Mapping) else [((), value)]
                ):
                    if len(labels) != len(metric.labels):
                        raise ConfigError(
                            expected=f"{len(metric.labels)} labels",
                            got=str(len(labels)),
                            where=metric.name,
                        )
                    found.add_metric(labels, float(number))
            yield found

    def text(self) -> bytes:
        """What a scrape gets."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)


def table(described: Sequence[Metric]) -> str:
    """The measures as a Markdown table, for the documentation."""
    rows = [
        f"| `{one.name}` | {one.kind} | {', '.join(f'`{label}`' for label in one.labels)} "
        f"| {one.help} |"
        for one in described
    ]
    return "\n".join(["| measure | kind | labels | says |", "|---|---|---|---|", *rows]) + "\n"
