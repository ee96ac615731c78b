"""Prometheus' text format, version 0.0.4."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

GAUGE = "gauge"
COUNTER = "counter"
#: For names of postgres_exporter's that break the rules of their kind (a counter without `_total`,
#: a gauge that ends in `_count`): `promtool check metrics` takes them as they are, and queries see
#: no difference.
UNTYPED = "untyped"


@dataclass
class Family:
    """A metric with its values by labels."""

    name: str
    kind: str
    says: str
    values: list[tuple[Mapping[str, str], float]] = field(default_factory=list)

    def add(self, value: float | None, **labels: str) -> "Family":
        """Takes a value; None is one that nobody knows, and is left out."""
        if value is not None:
            self.values.append((labels, float(value)))
        return self


def text(families: Iterable[Family]) -> str:
    """What a scrape is answered. A family without values is not mentioned."""
    lines = []
    for family in families:
        if not family.values:
            continue
        lines.append(f"# HELP {family.name} {family.says}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        lines += (f"{family.name}{_labels(labels)} {value!r}" for labels, value in family.values)
    return "".join(f"{line}\n" for line in lines)


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    pairs = (f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return "{" + ",".join(pairs) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
