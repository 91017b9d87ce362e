"""The page in a real browser, with a real server behind it: what people do there, and what they see of it.

`PULPIT_SCREENSHOTS=folder` has each page's picture put there.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import browser as browsers
from support.browser import Browser
from support.server import Server, pulpit
from support.upstream import Upstream, running

pytestmark = pytest.mark.skipif(browsers.why_not() is not None, reason=browsers.why_not() or "")

PICTURES = os.environ.get("PULPIT_SCREENSHOTS")
CONF = "[server]\nwebhook_allow: 127.0.0.0/8\n"


@dataclass(kw_only=True)
class House:
    """A server, its upstream and a browser that is logged in as the administrator."""

    server: Server
    upstream: Upstream
    browser: Browser

    def open(self, path: str) -> Browser:
        self.browser.open(f"{self.server.url}/ui{path}")
        return self.browser

    def log_in(self, login: str, password: str) -> None:
        self.browser.driver.delete_all_cookies()
        self.open("/login")
        self.browser.fill("login", login)
        self.browser.fill("password", password)
        self.browser.press("Log in")

    def picture(self, name: str) -> None:
        """Keep what is seen, if somebody wants it."""
        if PICTURES:
            self.browser.picture(Path(PICTURES) / f"{name}.png")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("page")
    with (
        pulpit(folder / "data", CONF) as server,
        running() as upstream,
        browsers.browser(folder / "profile") as browser,
    ):
        upstream.put("a.iso", b"a" * 4096)
        upstream.put("b.iso", b"b" * 10)
        upstream.manifest()
        server.create_iso("files", upstream.url)
        yield House(server=server, upstream=upstream, browser=browser)


@pytest.fixture
def admin(house: House) -> House:
    """The browser with the administrator logged in."""
    house.open("/")
    if house.browser.find("[name='password']"):
        house.log_in("admin", house.server.password)
    return house


def types(browser: Browser) -> list[str]:
    """The types of the events that are shown, newest first."""
    return list(browser.run("return [...document.querySelectorAll('#rows .type')].map(cell => cell.textContent)"))


def test_events_are_seen_as_they_come(admin: House) -> None:
    browser = admin.open("/?type=repo.*.*")
    browser.until_text("live")
    admin.server.ended(admin.server.sync("files"))
    browser.until_text("repo.publish.finish")
    assert types(browser)[:4] == ["repo.publish.finish", "repo.publish.start", "repo.sync.finish", "repo.sync.start"]
    assert "+2 ~0 -0" in browser.text
    browser.fill("type", "repo.*.finish")
    browser.press("Filter")
    assert types(browser) == ["repo.publish.finish", "repo.sync.finish"]
    assert browser.complaints() == []
    admin.picture("now")
