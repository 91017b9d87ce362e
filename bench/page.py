"""What the page costs, and what it stands.

Deliveries with ten open pages against none; how soon a page is seen with a full log; how a page in a browser fares
while 100,000 events come in a minute beside 1,000 listeners.
"""

import contextlib
import http.client
import os
import re
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support import browser as browsers
from support.browser import Browser
from support.server import Server, pulpit
from support.waiting import until

ROUNDS = 5
EVENTS = 5_000
AT_ONCE = 500
MOST_AT_ONCE = 10_000
PAGES = 10
FULL_LOG = 100_000
FLOOD = 100_000
FLOOD_SECONDS = 60
LISTENERS = 1_000
PAINT = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
LONGEST_STALL = """
    window.stall = 0;
    let last = performance.now();
    setInterval(() => {
        const now = performance.now();
        window.stall = Math.max(window.stall, now - last - 50);
        last = now;
    }, 50);
"""
WEIGHT = """
    return [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
        .reduce((sum, entry) => sum + entry.transferSize, 0);
"""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="pulpit-bench-") as folder, pulpit(Path(folder, "data")) as server:
        cookie = log_in(server)
        listener = server.listen("bench", "bench.*")
        fire_and_wait(server, listener)  # to warm up
        alone, watched = [], []
        for _ in range(ROUNDS):
            alone.append(fire_and_wait(server, listener))
            with open_pages(server, cookie, PAGES):
                watched.append(fire_and_wait(server, listener))
        tell(f"fired over REST and delivered over AMQP, {EVENTS} events", alone, alone)
        tell(f"  the same with {PAGES} open pages", watched, alone)
        for _ in range((FULL_LOG - server_head(server)) // MOST_AT_ONCE + 1):
            server.call("POST", "/pulpit/v1/events", some_events(MOST_AT_ONCE))
        if browsers.why_not():
            print(f"skipped, what a browser sees: {browsers.why_not()}")
            return
        with browsers.browser(Path(folder, "profile")) as browser:
            browser.open(f"{server.url}/ui/login")
            browser.fill("login", "admin")
            browser.fill("password", server.password)
            browser.press("Log in")
            first_paint(server, browser)
            flood(server, browser)


def log_in(server: Server) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("GET", "/ui/login")
    response = connection.getresponse()
    token = re.search(r'name="form_token" value="([^"]+)"', response.read().decode())
    assert token
    fields = {"form_token": token[1], "login": "admin", "password": server.password}
    cookie = (response.getheader("set-cookie") or "").partition(";")[0]
    connection.request("POST", "/ui/login", urlencode(fields), {"Cookie": cookie})
    response = connection.getresponse()
    response.read()
    return (response.getheader("set-cookie") or "").partition(";")[0]


@contextlib.contextmanager
def open_pages(server: Server, cookie: str, count: int) -> Iterator[None]:
    """Follow the events as so many pages do, each through a filter of its own, until the end of the block."""
    connections = []
    for number in range(count):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        filters = {"type": "bench.*"} if number % 2 else {}
        connection.request(
            "GET", f"/ui/stream?{urlencode({**filters, 'after': server_head(server)})}", headers={"Cookie": cookie}
        )
        response = connection.getresponse()
        assert response.status == 200
        threading.Thread(target=read_to_the_end, args=(response,), daemon=True).start()
        connections.append(connection)
    try:
        yield
    finally:
        for connection in connections:
            if connection.sock:
                connection.sock.close()


def read_to_the_end(response: http.client.HTTPResponse) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException, AttributeError, ValueError):
        while response.read1(65536):
            pass


@dataclass(frozen=True)
class Cost:
    """Seconds of one round: by the clock, and of the processor, which other work on the machine changes little."""

    wall: float
    processor: float


def fire_and_wait(server: Server, listener: str) -> Cost:
    """Fire all events, and wait until they are delivered."""
    begun, used = time.perf_counter(), processor_seconds(server.pid)
    batch = some_events(AT_ONCE)
    for _ in range(EVENTS // AT_ONCE):
        server.call("POST", "/pulpit/v1/events", batch)
    while server.call("GET", f"/pulpit/v1/listeners/{listener}")["delivery"]["lag_events"]:
        time.sleep(0.1)
    return Cost(time.perf_counter() - begun, processor_seconds(server.pid) - used)


def some_events(count: int) -> list[dict[str, Any]]:
    return [
        {"event_type": "bench.event", "repo_id": f"zoo-{number % 50}", "payload": {"note": "x" * 700}}
        for number in range(count)
    ]


def processor_seconds(pid: int) -> float:
    """What a process has used of the processor."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def tell(what: str, costs: Sequence[Cost], peers: Sequence[Cost]) -> None:
    """A line: medians, and their ratio to those of the rounds without pages."""
    wall, processor = (statistics.median(times) for times in zip(*((c.wall, c.processor) for c in costs), strict=True))
    peer_wall, peer_processor = (
        statistics.median(times) for times in zip(*((c.wall, c.processor) for c in peers), strict=True)
    )
    print(
        f"{what:58}{EVENTS / wall:8,.0f} /s ({peer_wall / wall:.2f} of that with none)  "
        f"{processor:6.2f} s CPU ({peer_processor / processor:.2f})"
    )


def server_head(server: Server) -> int:
    return int(server.call("GET", "/pulpit/v1/events?after=-1&limit=1")["head"])


def first_paint(server: Server, browser: Browser) -> None:
    """How soon a browser shows something of the first page, and what comes over the wire, with nothing in its cache."""
    paints, weights = [], []
    browser.driver.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": True})
    for _ in range(ROUNDS):
        browser.open(f"{server.url}/ui/")
        browser.until_text("live")
        until(lambda: browser.run(PAINT), what="the first paint")
        paints.append(float(browser.run(PAINT)))
        weights.append(int(browser.run(WEIGHT)))
    head = server_head(server)
    print(f"first paint with {head:,} events in the log         {statistics.median(paints):10,.0f} ms")
    print(f"weight of that page without a cache               {max(weights) / 1000:10,.0f} kB")


def flood(server: Server, browser: Browser) -> None:
    """Whether so many events come in a minute, and for how long the page that shows them ever stands still."""
    for number in range(LISTENERS - 1):
        server.listen("bench", f"bench{number}.*")
    browser.open(f"{server.url}/ui/")
    browser.until_text("live")
    browser.run(LONGEST_STALL)
    begun = time.perf_counter()
    for number in range(FLOOD // AT_ONCE):
        server.call("POST", "/pulpit/v1/events", some_events(AT_ONCE))
        ahead = begun + (number + 1) * FLOOD_SECONDS * AT_ONCE / FLOOD - time.perf_counter()
        time.sleep(max(0.0, ahead))
    took = time.perf_counter() - begun
    browser.until_text("more came at the same time")
    rows, stall = browser.run("return [document.querySelectorAll('#rows tr').length, window.stall]")
    print(
        f"{FLOOD:,} events in {took:.0f} s beside {LISTENERS:,} listeners: the page keeps {rows} rows "
        f"and never stands still for more than {stall:,.0f} ms"
    )


if __name__ == "__main__":
    main()
