"""The web page without a browser: requests with a session cookie, and its forms filled in and sent."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from httpx2 import Response
from starlette.testclient import TestClient

from pulpit.api.app import create_app
from pulpit.api.services import Services
from pulpit.ui import app as ui
from pulpit.ui.sessions import Session, Sessions
from support.api import PASSWORD, PASSWORD_HASH, services

UI = "/ui"


class _Text(HTMLParser):
    """What can be read, and the elements there are."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@dataclass(kw_only=True)
class Seen:
    response: Response

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def text(self) -> str:
        return " ".join(" ".join(self._read().text).split())

    @property
    def tags(self) -> list[tuple[str, dict[str, str | None]]]:
        return self._read().tags

    @property
    def form_token(self) -> str:
        found = re.search(r'name="form_token" value="([^"]+)"', self.response.text)
        assert found, self.response.text
        return found[1]

    def _read(self) -> _Text:
        reader = _Text()
        reader.feed(self.response.text)
        return reader


@dataclass(kw_only=True)
class Page:
    """The page of a server in this process."""

    client: TestClient
    services: Services
    sessions: Sessions

    def take_session(self, login: str) -> None:
        """Be somebody without a login, which costs a hash."""
        token = self.sessions.token(self.sessions.begin(login), PASSWORD_HASH)
        self.client.cookies.set("pulpit-session", token, domain="testserver.local", path="/ui")

    def get(self, path: str, **query: str) -> Seen:
        return Seen(response=self.client.get(f"{UI}{path}", params=query))

    def post(self, path: str, fields: dict[str, Any] | None = None, *, of: str = "/", **headers: str) -> Seen:
        """Send a form with the token of some page, and follow to where it leads."""
        token = self.get(of).form_token
        return self.send(path, {"form_token": token, **(fields or {})}, **headers)

    def send(self, path: str, fields: dict[str, Any], **headers: str) -> Seen:
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        body = urlencode(fields, doseq=True)
        return Seen(response=self.client.post(f"{UI}{path}", content=body, headers=kind | headers))

    def log_in(self, login: str, password: str = PASSWORD) -> Seen:
        return self.post("/login", {"login": login, "password": password}, of="/login")


@contextlib.contextmanager
def page(data_dir: Path) -> Iterator[Page]:
    """The page with nobody logged in; `admin` and `reader` have the password of `support.api`."""
    with services(data_dir) as provided:
        app = create_app(provided)
        Sessions(data_dir, provided.clock).token(Session(login="", nonce="", began=0, seen=0), "")  # the keys
        ui.install(app, provided)
        with TestClient(app, raise_server_exceptions=False) as client:
            yield Page(client=client, services=provided, sessions=Sessions(data_dir, provided.clock))
