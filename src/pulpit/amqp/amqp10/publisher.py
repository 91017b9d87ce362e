# SPDX-License-Identifier: Apache-2.0
"""Publishing over AMQP 1.0: one connection for all listeners, a link for each, with any broker."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pulpit.amqp import RESERVED_PREFIX, BrokerUnavailable
from pulpit.amqp.address import BrokerAddress
from pulpit.amqp.amqp091 import publisher as amqp091
from pulpit.amqp.amqp10.client import ClientSettings, Connection, connect
from pulpit.amqp.amqp10.client_links import ClientSender
from pulpit.amqp.amqp10.profiles import PROFILES, Creation, Profile, recognised
from pulpit.amqp.amqp10.types import NOT_FOUND, Lost


@dataclass(frozen=True, kw_only=True, slots=True)
class ExchangeLink:
    """A link for one listener's messages to one exchange."""

    sender: ClientSender
    profile: Profile


class Publisher:
    """One connection, opened when it is needed and again after it was lost; with several brokers the next one is tried.

    `profile` (a name) and `template` (of an address) are the operator's description of the broker, instead of
    recognising it.
    """

    def __init__(
        self, addresses: Sequence[BrokerAddress], settings: ClientSettings, *, profile: str = "", template: str = ""
    ) -> None:
        self._addresses: Final = tuple(addresses)
        self._settings: Final = settings
        self._named: Final = profile
        self._template: Final = template
        self._turn = 0
        self._connection: Connection | None = None
        self._connecting: Final = asyncio.Lock()
        self.on_lost: Callable[[], None] = lambda: None
        """Called when a connection is lost that was not closed here."""

    @property
    def address(self) -> str:
        """Host and port of the current broker, for messages."""
        return self._address.place

    @property
    def connected(self) -> bool:
        """Whether there is an open connection at this moment."""
        return self._connection is not None and self._connection.lost is None

    @property
    def profile(self) -> Profile | None:
        return self._profile_of(self._connection) if self._connection else None

    async def link(self, exchange: str) -> ExchangeLink:
        """Attach a link to an exchange, which is created as the broker's profile says.

        Raises:
            BrokerUnavailable: the broker cannot be reached, or refuses.
        """
        connection = await self._connected()
        profile = self._profile_of(connection)
        if profile.creation is Creation.FIRST:
            await self._create(exchange)
        try:
            return ExchangeLink(sender=await connection.sender(profile.target(exchange)), profile=profile)
        except Lost as lost:
            missing = lost.condition is not None and lost.condition.name == NOT_FOUND
            if not missing or profile.creation is not Creation.WHEN_MISSING:
                raise BrokerUnavailable(str(lost)) from None
        await self._create(exchange)
        try:
            return ExchangeLink(sender=await connection.sender(profile.target(exchange)), profile=profile)
        except Lost as lost:
            raise BrokerUnavailable(str(lost)) from None

    async def connect(self) -> None:
        """Connect, unless connected.

        Raises:
            BrokerUnavailable: the broker cannot be reached, or refuses.
        """
        await self._connected()

    def abandon(self) -> None:
        """Abort an unresponsive connection; the next user opens a new one."""
        connection, self._connection = self._connection, None
        self._turn += 1
        if connection:
            connection.abandon()

    async def close(self) -> None:
        """Close the connection cleanly, within two seconds."""
        connection, self._connection = self._connection, None
        if connection:
            await connection.close()

    @property
    def _address(self) -> BrokerAddress:
        return self._addresses[self._turn % len(self._addresses)]

    def _profile_of(self, connection: Connection) -> Profile:
        if self._template:
            return replace(PROFILES[self._named or "plain"], address=self._template)
        return PROFILES[self._named] if self._named else recognised(connection.remote)

    async def _connected(self) -> Connection:
        async with self._connecting:
            if self._connection is None or self._connection.lost:
                self._connection = None
                self._connection = await self._connect()
            return self._connection

    async def _connect(self) -> Connection:
        try:
            connection = await connect(self._address, self._settings)
        except Lost as lost:
            self._turn += 1
            raise BrokerUnavailable(str(lost)) from None

        def tell() -> None:
            if connection is self._connection:
                self.on_lost()

        connection.on_lost = tell
        return connection

    async def _create(self, exchange: str) -> None:
        """Declare a durable topic exchange over AMQP 0-9-1, which brokers of this kind speak on the same port.

        Raises:
            BrokerUnavailable: that fails, so an operator must do it.
        """
        if exchange.startswith(RESERVED_PREFIX):
            return
        address, settings = self._address, self._settings
        other = amqp091.Publisher([address], settings.context, by_certificate=settings.by_certificate)
        try:
            await other.channel_for(exchange)
        except BrokerUnavailable as error:
            reason = f"The exchange {exchange} cannot be created at {address.place} over AMQP 0-9-1"
            sentence = f"{reason} ({str(error).rstrip('.')}); create it there, durable and of type topic."
            raise BrokerUnavailable(sentence) from None
        finally:
            with contextlib.suppress(Exception):
                await other.close()
