"""The status page in a real browser: without scripts, live, against hostile input, for every eye and by keyboard."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from support.browser import Browser
from support.server import Server
from support.wait import wait_for

Start = Callable[..., Server]

TAB, ENTER = 9, 13
MAPPING = """
mappings:
- {match: shop.*.requests, name: shop_requests_total, labels: {page: $1}, help: Requests by page.}
- {match: debug.*, name: x, action: drop}
"""
# Names, tags and lines that would do something if they were taken for HTML.
HOSTILE = [
    "<script>window.owned=1</script>:1|c",
    "\"><img src=x onerror=window.owned=1>:1|c|#<b>k:'\"><svg onload=window.owned=1>",
    "</style><script>window.owned=1</script>:bad|c",
    "javascript:alert(1):1|c",
    "bidi\u202etxt:1|c",
    "nul\x00\x1b[31m:1|c",
    "long" * 2000 + ":1|c",
    "shop.<i>.requests:1|c",
    "shop_requests_total:7|g|#x:<script>window.owned=1</script>",
]
# What a keyboard has to reach, and whether it is to be seen there.
REACHABLE = "a[href], button:not([hidden]), input, select, summary, [tabindex='0']"
# Every text with less contrast to what it stands on than WCAG 2.1 AA asks for; large text may have 3.
POOR_CONTRAST = """
(() => {
  const parse = (css) => (css.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const linear = (c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.length < 4 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const poor = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !element.checkVisibility() || element.closest("script, option, .skip")) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(parse(style.color)), light(ground(element))].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    const needed = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < needed) poor.push(texts.currentNode.data.trim().slice(0, 40) + " " + ratio.toFixed(2));
  }
  return poor;
})()
"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for all tests; starting it takes longer than most of them."""
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """The browser, as a visitor has it who has just come."""
    chromium.open("about:blank")
    chromium.events.clear()
    chromium.call("Emulation.setScriptExecutionDisabled", value=False)
    chromium.resize(1280)
    chromium.prefer("light")
    yield chromium
    assert chromium.complaints() == []


def test_the_page_is_complete_without_scripts(start: Start, browser: Browser) -> None:
    """Lists, the filter and the box to try a line in."""
    server = start(mapping=MAPPING)
    send(server, "shop.home.requests:1|c", "cache.hits:1|c", "debug.x:1|c", "no line", "cache.hits:1|g")
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(page_of(server))
    text = browser.evaluate("document.body.innerText")
    for expected in ("shop_requests_total", "Requests by page.", "cache.hits", "no line", "malformed line", "debug.*"):
        assert expected in text
    browser.evaluate("document.getElementById('filter').focus()")
    browser.type("SHOP")
    submit(browser)
    assert browser.evaluate("[...document.querySelectorAll('#families-list tbody tr')].length") == 1
    browser.evaluate("document.getElementById('line').focus()")
    browser.type("shop.home.requests:3|c")
    submit(browser)
    result = browser.evaluate("document.getElementById('try-result').innerText")
    assert "shop.*.requests" in result and 'shop_requests_total{page="home"}' in result


def test_numbers_change_under_a_visitor_who_types_and_reads(start: Start, browser: Browser) -> None:
    """No reload: focus, what was typed, the selection and the scroll position stay."""
    server = start(mapping=MAPPING)
    send(server, "shop.home.requests:1|c", *(f"family.n{n}:1|c" for n in range(60)))
    browser.open(page_of(server))
    browser.evaluate("window.sameDocument = true; document.getElementById('line').focus()")
    browser.type("half a li")
    browser.evaluate("document.getElementById('line').setSelectionRange(2, 5); scrollTo(0, 700)")
    scrolled = browser.evaluate("scrollY")
    send(server, *(["arrived.later:1|c"] * 30))
    has_row = "document.getElementById('families-list').innerText.includes('arrived_later')"
    browser.wait("the new family", lambda: browser.evaluate(has_row))
    kept = browser.evaluate(
        "[sameDocument, document.activeElement.id, document.activeElement.value,"
        " document.activeElement.selectionStart, document.activeElement.selectionEnd]"
    )
    assert kept == [True, "line", "half a li", 2, 5]
    assert abs(browser.evaluate("scrollY") - scrolled) < 60
    browser.evaluate("document.getElementById('live-pause').click()")
    assert browser.evaluate("document.getElementById('live-state').textContent") == "paused"


def test_what_clients_send_is_never_run(start: Start, browser: Browser, tmp_path: Path) -> None:
    """Whatever names, tags, lines and files look like, they are text, on the page and after an update."""
    server = start(hostile_files(tmp_path), mapping=MAPPING)
    send(server, "shop_requests_total:1|c", *HOSTILE)
    for query in ("", *(f"?line={quote(line)}&q={quote(line)}" for line in HOSTILE[:3])):
        browser.open(page_of(server) + query)
        send(server, *HOSTILE)
        updated = len(browser.saw("Network.loadingFinished"))
        browser.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        browser.wait("an update", lambda: len(browser.saw("Network.loadingFinished")) > updated)
        strangers = "[document.querySelectorAll('img, iframe, b, i, svg:not(.spark), object').length,"
        found = browser.evaluate(f"{strangers} document.scripts.length, typeof window.owned]")
        assert found == [0, 1, "undefined"]
        assert "\u202e" not in browser.evaluate("document.documentElement.outerHTML")
    origin = f"http://127.0.0.1:{server.web_port}/"
    assert [url for url in browser.requests() if not url.startswith((origin, "data:"))] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(start: Start, browser: Browser, scheme: str, tmp_path: Path) -> None:
    """Enough contrast in both schemes, and no page wider than the screen down to 360 pixels."""
    server = start(hostile_files(tmp_path), mapping=MAPPING)
    send(server, "shop_requests_total:1|c", *HOSTILE)
    browser.prefer(scheme)
    for width in (360, 768, 1280):
        browser.resize(width)
        browser.open(page_of(server) + "?line=bad%3Aline%7Cc")
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        assert browser.evaluate("getComputedStyle(document.body).fontSize") == "16px"
    assert browser.evaluate(POOR_CONTRAST) == []
    is_dark = browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 19, 23)"
    assert is_dark == (scheme == "dark")


def test_a_keyboard_reaches_everything(start: Start, browser: Browser, tmp_path: Path) -> None:
    """The skip link comes first, all else in the order of the page, and the focus is always seen."""
    server = start(hostile_files(tmp_path), mapping=MAPPING)
    send(server, "shop.home.requests:1|c", "cache.hits:1|c", "no line", "cache.hits:1|g")
    browser.open(page_of(server))
    browser.evaluate("document.getElementById('live-pause').click()")
    browser.evaluate("document.activeElement.blur()")
    all_reachable = f"[...document.querySelectorAll(`{REACHABLE}`)]"
    count = browser.evaluate(f"{all_reachable}.length")
    here = f"{all_reachable}.indexOf(document.activeElement)"
    is_seen = (
        "(() => { const box = document.activeElement.getBoundingClientRect(); const style ="
        " getComputedStyle(document.activeElement); return box.width > 0 && style.outlineStyle !== 'none'"
        " && parseFloat(style.outlineWidth) >= 2 })()"
    )
    browser.evaluate("getSelection().removeAllRanges(); document.body.focus()")
    places = []
    for _ in range(count):
        browser.press("Tab", TAB)
        places.append(browser.evaluate(here))
        assert browser.evaluate(is_seen), browser.evaluate("document.activeElement.outerHTML.slice(0, 200)")
    assert sorted(places) == list(range(count))
    assert browser.evaluate("document.querySelector('.skip').getAttribute('href')") == "#main"
    landmarks = "['header', 'nav', 'main', 'footer', 'h1'].map((n) => document.querySelectorAll(n).length)"
    assert browser.evaluate(landmarks) == [1, 1, 1, 1, 1]


def hostile_files(directory: Path) -> str:
    """The flag for a worker's files with help and labels that would do something, one of them with a client's name."""
    folder = directory / "<b>files"
    folder.mkdir()
    (folder / "counter_<img src=x onerror=window.owned=1>.db").write_bytes(b"\xff" * 9000)
    values = MmapedDict(str(folder / f"gauge_max_{os.getpid()}.db"))
    for name in ("shop_requests_total", "queue"):
        values.write_value(mmap_key(name, name, ["k"], [HOSTILE[1]], HOSTILE[0]), 1.0, 0.0)
    values.close()
    return f"--multiproc.dir={folder}"


def send(server: Server, *lines: str) -> None:
    """Sends lines, each in a datagram of its own, and waits until all have been counted."""
    before = server.scrape().series["statsd_exporter_lines_total"]
    server.send(*lines)
    count = before + len(lines)
    wait_for("the lines", lambda: server.scrape().series["statsd_exporter_lines_total"] >= count)


def page_of(server: Server) -> str:
    """Where the page is."""
    return f"http://127.0.0.1:{server.web_port}/"


def submit(browser: Browser) -> None:
    """Presses Enter in a form and waits for the next page."""
    seen = len(browser.events)
    browser.press("Enter", ENTER)
    browser.wait("the next page", lambda: browser.saw("Page.loadEventFired", seen))
