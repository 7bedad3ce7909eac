"""Real client libraries, each sending all its kinds: every total must arrive."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import pytest
from support.clients import sending
from support.page import Page
from support.server import Server
from support.wait import wait_for

Start = Callable[..., Server]
# Every client sends one "decrement", which is a negative counter on the wire.
NEGATIVE = 'events_error_total{reason="illegal_negative_counter"}'
TAGS = "tag_errors_total"
# As what the reference refuses a set, with words and with numbers as members.
REFUSED_SETS = ('sample_errors_total{reason="malformed_value"}', 'sample_errors_total{reason="illegal_event"}')


def about(value: float) -> object:
    """A total under sampling that the client draws at random: five standard deviations around `value`."""
    return pytest.approx(value, abs=100)


def observed(name: str, labels: str, count: object, total: object) -> dict[str, object]:
    """The two series of a summary that have exact values."""
    return {f"{name}_count{labels}": count, f"{name}_sum{labels}": total}


class Totals(NamedTuple):
    """What a client's program sent."""

    # Every series of the page, sets included.
    series: Mapping[str, object]
    # What tallyd counts as refused by default.
    errors: Mapping[str, float]
    # Lines that are events or service checks.
    events: int = 0
    # The sets, which `--compat=reference` refuses as its model does.
    sets: tuple[str, ...] = ()


DATADOG_SERIES = {
    'py_requests{app="shop",url="http://h:80/x",view="fire"}': 30,
    'py_stock{app="shop"}': 7,
    'py_temperature{app="shop",room="hall"}': 21.5,
    'py_temperature{app="shop",room="cellar"}': 7,
    'py_below_zero{app="shop"}': -3.5,
    'py_users{app="shop"}': 2,
    'py_user_ids{app="shop"}': 1,
    'py_sampled{app="shop"}': 400,
    'py_stamped{app="shop"}': 3,
    'py_stamped_level{app="shop"}': 4,
    **observed("py_sampled_size", '{app="shop"}', 400, 400),
    **observed("py_size", '{app="shop"}', 3, 600),
    **observed("py_spread", '{app="shop"}', 3, 6),
    **observed("py_latency", '{app="shop"}', 3, 0.06),
    **observed("py_tagged_latency", '{app="shop",k="v"}', 1, 0.25),
}
DATADOG = Totals(DATADOG_SERIES, {NEGATIVE: 1, TAGS: 1}, events=2, sets=("py_users", "py_user_ids"))
# The client adds up before it samples, so the counter stays whole and its rate doubles it; 5 + 2 - 3 is above zero.
DATADOG_AGGREGATED = DATADOG._replace(
    series=DATADOG_SERIES | {'py_stock{app="shop"}': 4, 'py_sampled{app="shop"}': 800},
    errors={TAGS: 1},
)
STATSD = Totals(
    {
        "py_requests": 30,
        "py_stock": 7,
        "py_temperature": 21.5,
        "py_below_zero": -5,
        "py_level": 8,
        "py_users": 2,
        "py_sampled": 400,
        "py_packed": 1,
        "py_packed_level": 3,
        **observed("py_sampled_latency", "", 400, 400),
        **observed("py_packed_latency", "", 1, 0.004),
        **observed("py_latency", "", 3, 0.06),
        **observed("py_timed", "", 1, pytest.approx(0.5, abs=0.5)),
    },
    {NEGATIVE: 1},
    sets=("py_users",),
)
AIODOGSTATSD = Totals(
    {
        'py_reqs_total{app="shop",view="fire"}': 30,
        'py_stock{app="shop"}': 7,
        'py_temperature{app="shop"}': 21.5,
        'py_below_zero{app="shop",room="cellar"}': -2,
        'py_sampled{app="shop"}': 400,
        **observed("py_size", '{app="shop"}', 3, 6),
        **observed("py_spread", '{app="shop"}', 3, 6),
        **observed("py_latency", '{app="shop"}', 3, 0.6),
        **observed("py_timed", '{app="shop"}', 1, pytest.approx(0.5, abs=0.5)),
    },
    {NEGATIVE: 1},
)
TELEGRAF = Totals(
    {
        'js_requests{app="shop",view="fire"}': 30,
        'js_stock{app="shop"}': 7,
        'js_temperature{app="shop"}': 21.5,
        'js_below_zero{app="shop"}': -5,
        'js_level{app="shop"}': 3,
        'js_users{app="shop"}': 2,
        'js_user_ids{app="shop"}': 1,
        'js_sampled{app="shop"}': 400,
        'js_first{app="shop"}': 1,
        'js_second{app="shop"}': 1,
        **observed("js_size", '{app="shop"}', 3, 6),
        **observed("js_latency", '{app="shop"}', 3, 0.06),
    },
    {NEGATIVE: 1},
    sets=("js_users", "js_user_ids"),
)
HOT_SHOTS = TELEGRAF._replace(
    series={
        **TELEGRAF.series,
        **observed("js_spread", '{app="shop"}', 3, 6),
        'js_odd{a="b_c",app="shop",col="1:2",pipe="x_y"}': 1,
    },
    errors={NEGATIVE: 1, TAGS: 1},
    events=2,
)
DATADOG_GO = Totals(
    {
        'gopher_requests{app="shop",view="fire"}': 30,
        'gopher_stock{app="shop"}': 7,
        'gopher_temperature{app="shop",room="hall"}': 21.5,
        'gopher_below_zero{app="shop"}': -3.5,
        'gopher_users{app="shop"}': 2,
        'gopher_sampled{app="shop"}': about(400),
        'gopher_stamped{app="shop"}': 3,
        'gopher_stamped_level{app="shop"}': 4,
        'gopher_odd{app="shop",col="1:2",sp=" a b"}': 1,
        **observed("gopher_sampled_size", '{app="shop"}', about(400), about(400)),
        **observed("gopher_size", '{app="shop"}', 3, 6),
        **observed("gopher_spread", '{app="shop"}', 3, 6),
        **observed("gopher_latency", '{app="shop"}', 3, 0.06),
        **observed("gopher_duration", '{app="shop"}', 1, 1.5),
    },
    {NEGATIVE: 1, TAGS: 1},
    events=2,
    sets=("gopher_users",),
)
# A StatsD meter has no counterpart in Prometheus; it stays an unknown type.
CADENCE = Totals(
    {
        'rs_requests{app="shop",view="fire"}': 30,
        'rs_stock{app="shop"}': 7,
        'rs_temperature{app="shop"}': 21.5,
        'rs_level{app="shop"}': 7,
        'rs_users{app="shop"}': 2,
        'rs_sampled{app="shop"}': 2,
        'rs_stamped{app="shop"}': 3,
        'rs_valueless{app="shop"}': 1,
        'rs_contained{app="shop",container_id="abc123"}': 1,
        **observed("rs_size", '{app="shop"}', 3, 6),
        **observed("rs_spread", '{app="shop"}', 3, 6),
        **observed("rs_latency", '{app="shop"}', 3, 0.06),
        **observed("rs_duration", '{app="shop"}', 1, 1.5),
        **observed("rs_nanoseconds", '{app="shop"}', 1, 5),
        **observed("rs_packed", '{app="shop",k="v"}', 3, 0.006),
        **observed("rs_packed_size", '{app="shop"}', 2, 4),
    },
    {NEGATIVE: 1, TAGS: 1, 'sample_errors_total{reason="illegal_event"}': 1},
    sets=("rs_users",),
)
JAVA = Totals(
    {
        'java_requests{app="shop",view="fire"}': 30,
        'java_stock{app="shop"}': 7,
        'java_temperature{app="shop"}': 21.5,
        'java_below_zero{app="shop"}': -3,
        'java_users{app="shop"}': 2,
        'java_sampled{app="shop"}': about(400),
        'java_stamped{app="shop"}': 3,
        'java_stamped_level{app="shop"}': 4,
        **observed("java_size", '{app="shop"}', 3, 6),
        **observed("java_spread", '{app="shop"}', 3, 6),
        **observed("java_latency", '{app="shop"}', 3, 0.06),
    },
    {NEGATIVE: 1},
    events=2,
    sets=("java_users",),
)


def from_container(totals: Totals) -> Totals:
    """The same totals from a client that knows its container, which becomes one more label."""
    series = {with_label(name, 'container_id="abc123"'): value for name, value in totals.series.items()}
    return totals._replace(series=series)


def with_label(series: str, label: str) -> str:
    """A series with one more label, in the order in which pages are read."""
    name, labels = series.rstrip("}").split("{")
    return f"{name}{{{','.join(sorted([*labels.split(','), label]))}}}"


# Client, mode, what it sends.
SENDERS = [
    ("datadog", "udp", DATADOG),
    ("datadog", "unix", DATADOG),
    ("datadog", "origin", from_container(DATADOG)),
    ("datadog", "aggregated", DATADOG_AGGREGATED),
    ("statsd", "udp", STATSD),
    ("statsd", "tcp", STATSD),
    ("aiodogstatsd", "udp", AIODOGSTATSD),
    ("hot-shots", "udp", HOT_SHOTS),
    ("hot-shots", "tcp", HOT_SHOTS),
    ("hot-shots", "unix", HOT_SHOTS),
    ("hot-shots", "buffered", HOT_SHOTS),
    ("hot-shots", "telegraf", TELEGRAF),
    ("datadog-go", "udp", DATADOG_GO),
    ("datadog-go", "unix", DATADOG_GO),
    ("datadog-go", "origin", from_container(DATADOG_GO)),
    ("datadog-go", "aggregated", DATADOG_GO),
    ("cadence", "udp", CADENCE),
    ("cadence", "buffered", CADENCE),
    ("cadence", "unix", CADENCE),
    ("java", "udp", JAVA),
    ("java", "unix", JAVA),
    ("java", "origin", from_container(JAVA)),
    ("java", "aggregated", JAVA),
]
NAMES = [f"{client}-{mode}" for client, mode, _ in SENDERS]
# Modes whose every sample, or nearly so, the reference refuses: it knows neither `|card:` nor `|e:`.
REFUSED_BY_REFERENCE = {("datadog", "origin"), ("datadog-go", "origin")}


@pytest.mark.parametrize(("client", "mode", "totals"), SENDERS, ids=NAMES)
def test_every_total_of_a_client_arrives(start: Start, client: str, mode: str, totals: Totals) -> None:
    """Nothing that a client sends is lost: series, refused samples, events and lines add up."""
    server = start()
    with sending(client, mode, server):
        settle(server, totals.series, totals.errors, totals.events)
    page = server.scrape()
    outcomes = page.outcomes()
    assert sum(outcomes.values()) == page.total("statsd_exporter_lines_total")
    assert outcomes.get("rejected", 0) == sum(count for reason, count in totals.errors.items() if reason != TAGS)
    assert outcomes.keys() <= {"accepted", "rejected", "empty", "event"}


@pytest.mark.parametrize(
    ("client", "mode", "totals"),
    [sender for sender in SENDERS if sender[:2] not in REFUSED_BY_REFERENCE],
    ids=[name for name, sender in zip(NAMES, SENDERS, strict=True) if sender[:2] not in REFUSED_BY_REFERENCE],
)
def test_as_a_drop_in_the_sets_of_a_client_are_refused(
    start_compatible: Start, client: str, mode: str, totals: Totals
) -> None:
    """`--compat=reference` exposes the same series but the sets."""
    server = start_compatible()
    series = {name: value for name, value in totals.series.items() if not name.startswith(totals.sets or "no set")}
    with sending(client, mode, server):
        wait_for_series(server, series)
    refused = server.scrape().errors()
    assert refused.get(NEGATIVE, 0) == totals.errors.get(NEGATIVE, 0)
    assert not totals.sets or any(refused.get(reason, 0) for reason in REFUSED_SETS)


@pytest.mark.parametrize(
    ("client", "mode", "reason"),
    [("datadog", "origin", "malformed_container_id"), ("datadog-go", "origin", "invalid_sample_factor")],
)
def test_as_a_drop_in_newer_sections_are_refused(start_compatible: Start, client: str, mode: str, reason: str) -> None:
    """`--compat=reference` refuses the samples with sections that the reference does not know."""
    server = start_compatible()
    counter = f'sample_errors_total{{reason="{reason}"}}'
    with sending(client, mode, server):
        wait_for(counter, lambda: server.scrape().errors().get(counter, 0) > 100)
    assert server.scrape().clients() == {}


def test_a_decrement_counts_under_a_rule_for_it(start: Start) -> None:
    """`counter_mode: updown` takes a client's decrements and exposes a gauge."""
    server = start(mapping="mappings:\n- match: py.stock\n  name: stock\n  counter_mode: updown\n")
    series = {name: value for name, value in STATSD.series.items() if name != "py_stock"}
    with sending("statsd", "udp", server):
        settle(server, {**series, "stock": 4}, {}, 0)
    assert server.scrape().types["stock"] == "gauge"


def settle(server: Server, series: Mapping[str, object], errors: Mapping[str, float], events: int) -> None:
    """Waits until the page holds exactly these series, errors and events; says what differs when it never does."""
    expected = (close(series), dict(errors), events)

    def found() -> tuple[dict[str, float], dict[str, float], float]:
        page = server.scrape()
        return page.clients(), page.errors(), page.outcomes().get("event", 0)

    try:
        wait_for("the totals", lambda: found() == expected, seconds=10)
    except AssertionError:
        for there, wanted in zip(found(), expected, strict=True):
            assert there == wanted


def wait_for_series(server: Server, series: Mapping[str, object]) -> Page:
    """Waits until the page holds exactly these series."""
    expected = close(series)
    try:
        wait_for("the series", lambda: server.scrape().clients() == expected, seconds=10)
    except AssertionError:
        assert server.scrape().clients() == expected
    return server.scrape()


def close(series: Mapping[str, object]) -> dict[str, object]:
    """The same with rounding errors of sums allowed."""
    return {
        name: pytest.approx(value, rel=1e-9) if isinstance(value, int | float) else value
        for name, value in series.items()
    }
