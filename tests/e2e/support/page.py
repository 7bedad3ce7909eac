"""Reading a scraped page: every series by its name and sorted labels."""

import re

from prometheus_client.parser import text_string_to_metric_families

# Families of the server itself and of the process; everything else came from a client.
OWN = re.compile(r"^(statsd_exporter|statsd_metric_mapper|tallyd|process|go|promhttp)_")
LINE = re.compile(r"^(?P<name>[^{ ]+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")
LABEL = re.compile(r'([^=,]+)="((?:[^"\\]|\\.)*)"')


class Page:
    """One scrape in the Prometheus text format.

    The official parser reads it too, so a page that Prometheus' own library cannot read fails here.
    """

    def __init__(self, text: str) -> None:
        list(text_string_to_metric_families(text))
        self.text = text
        self.types: dict[str, str] = {}
        self.series: dict[str, float] = {}
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                self.types[name] = kind
            elif line and not line.startswith("#"):
                self._add(line)

    def _add(self, line: str) -> None:
        match = LINE.match(line)
        assert match, f"no sample line: {line!r}"
        labels = sorted(LABEL.findall(match["labels"] or ""))
        block = ",".join(f'{key}="{value}"' for key, value in labels)
        key = f"{match['name']}{{{block}}}" if block else match["name"]
        assert key not in self.series, f"{key} stands twice on the page"
        self.series[key] = float(match["value"])

    def clients(self) -> dict[str, float]:
        """The series that clients made; quantiles are left out, as tests check counts and sums."""
        return {key: value for key, value in self.series.items() if not OWN.match(key) and 'quantile="' not in key}

    def errors(self) -> dict[str, float]:
        """Every non-zero count of something refused or in conflict, without the common prefix."""
        prefix = "statsd_exporter_"
        kinds = ("sample_errors_total", "tag_errors_total", "events_error_total", "events_conflict_total")
        return {
            key.removeprefix(prefix): value
            for key, value in self.series.items()
            if key.startswith(tuple(prefix + kind for kind in kinds)) and value
        }

    def outcomes(self) -> dict[str, float]:
        """`tallyd_lines_total` by outcome, zeroes left out."""
        found = {}
        for key, value in self.series.items():
            match = re.match(r'tallyd_lines_total\{outcome="(\w+)"\}$', key)
            if match and value:
                found[match[1]] = value
        return found

    def total(self, name: str) -> float:
        """The sum of all series of one sample name; 0 when there is none."""
        return sum(v for k, v in self.series.items() if k == name or k.startswith(name + "{"))
