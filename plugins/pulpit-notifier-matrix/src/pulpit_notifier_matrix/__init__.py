# SPDX-License-Identifier: Apache-2.0
"""Listeners that post to a Matrix room: `PUT /rooms/ROOM/send/m.room.message/EVENT-ID`, one event after another.

The client-server API takes a transaction id for each message and drops one that it has had from the same token. The
event's id is that, so an event which is sent again after a lost answer is shown once.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from pulpit.delivery.notifiers.port import DELIVERED, Notifier, Outcome, Pace, Refused, Retry, Surroundings
from pulpit.errors import InvalidValue
from pulpit.events import Event
from pulpit.listener_options import ListenerKind, Option

TIMEOUT_S: Final = 15
_REFUSING: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE})
"""What says of this very message that it will never do; other statuses may be mended by people or time."""


class Matrix:
    """The kind; the server makes one, and runs it in a thread and on an event loop of its own."""

    kind: Final = ListenerKind(
        id="matrix",
        summary="Listeners that post to a Matrix room.",
        options=(
            Option(name="server", required=True, help="Address of the Matrix server, such as https://matrix.org."),
            Option(name="room", required=True, help="The room's id, such as !abc:example.org."),
            Option(name="token", required=True, secret=True, help="Access token of a user who is in the room."),
            Option(name="kind", choices=("notice", "text"), help="How the message is marked; notice otherwise."),
        ),
        shown=("server", "room"),
    )
    pace: Final = Pace(batch=20, overlap=1, first_retry=timedelta(seconds=2), longest_retry=timedelta(minutes=5))

    def __init__(self, surroundings: Surroundings) -> None:
        self._source: Final = surroundings.source

    def check_config(self, config: Mapping[str, Any]) -> None:
        """Check what the declaration of the options does not say; types and names are right already.

        Raises:
            InvalidValue: `notifier_config`.
        """
        if not config["server"].startswith(("https://", "http://")):
            raise InvalidValue("notifier_config", "server must begin with https:// or http://.")
        if not config["room"].startswith("!"):
            raise InvalidValue("notifier_config", "room must be a room's id, which begins with '!', not an alias.")

    def open(self, config: Mapping[str, Any]) -> Notifier:
        """Post to the room of one listener."""
        return _Room(config, self._source)

    async def close(self) -> None:
        """Have nothing that the listeners share."""


class _Room:
    def __init__(self, config: Mapping[str, Any], source: str) -> None:
        self._config: Final = config
        self._source: Final = source
        self._session: aiohttp.ClientSession | None = None

    async def prepare(self) -> None:
        """Have nothing to prepare: the server is not asked before there is an event."""

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Post one after another, up to the first that must be tried again."""
        outcomes: list[Outcome] = []
        for event in events:
            outcomes.append(await self._post(event))
            if isinstance(outcomes[-1], Retry):
                break
        return outcomes

    def describe(self, event: Event) -> dict[str, Any]:
        """The request."""
        return {"method": "PUT", "url": self._url(event), "body": self._content(event)}

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _post(self, event: Event) -> Outcome:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
        headers = {"Authorization": f"Bearer {self._config['token']}"}
        try:
            async with self._session.put(self._url(event), json=self._content(event), headers=headers) as response:
                if response.status == HTTPStatus.OK:
                    return DELIVERED
                reason = f"{self._config['server']} answered {response.status}: {(await response.text())[:300]}"
                return Refused(reason=reason) if response.status in _REFUSING else Retry(reason=reason)
        except TimeoutError:
            return Retry(reason=f"{self._config['server']} did not answer within {TIMEOUT_S} seconds.")
        except aiohttp.ClientError as error:
            return Retry(reason=f"The request to {self._config['server']} failed ({error}).")

    def _url(self, event: Event) -> str:
        room = quote(self._config["room"], safe="")
        return f"{self._config['server'].rstrip('/')}/_matrix/client/v3/rooms/{room}/send/m.room.message/{event.id}"

    def _content(self, event: Event) -> dict[str, Any]:
        words = [event.event_type, event.repo_id or "", event.result or ""]
        body = f"{' '.join(filter(None, words))} ({self._source}, event {event.number})"
        return {"msgtype": f"m.{self._config.get('kind') or 'notice'}", "body": body}
