# SPDX-License-Identifier: Apache-2.0
"""Publishing over AMQP 0-9-1 with pipelined confirms; hides pika's callbacks.

One `Publisher` is one connection, opened when it is needed and again after it was lost. Every user of it opens a
`ConfirmChannel` of its own, because the broker reacts to an error by closing only the channel.
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import Final

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.exceptions import AMQPError
from pika.frame import Method

from pulpit.amqp import RESERVED_PREFIX, BrokerUnavailable
from pulpit.amqp.address import BrokerAddress
from pulpit.amqp.amqp091 import connection as amqp091
from pulpit.amqp.amqp091.confirm_channel import ConfirmChannel, PublisherConnection
from pulpit.amqp.amqp091.connection import open_channel, sentence

_ACCESS_REFUSED, _NOT_FOUND, _PRECONDITION_FAILED = 403, 404, 406
HEARTBEAT: Final = 20
"""Seconds between heartbeats; a peer that is silent for twice as long is gone."""


class Publisher:
    """One connection, shared by all publishers; with several brokers the next one is tried when one is unavailable.

    `by_certificate`: whether the client certificate of `context` is the login at addresses that name no user.
    """

    def __init__(
        self,
        addresses: Sequence[BrokerAddress],
        context: ssl.SSLContext | None = None,
        *,
        by_certificate: bool = False,
    ) -> None:
        self._addresses: Final = tuple(addresses)
        self._context: Final = context
        self._by_certificate: Final = by_certificate
        self._turn = 0
        self._connection: PublisherConnection | None = None
        self._connecting: Final = asyncio.Lock()
        self.blocked: str | None = None
        """Why the broker is blocking publishers now, in its own words."""
        self.on_lost: Callable[[], None] = lambda: None
        """Called when a connection is lost that was not closed here."""

    @property
    def address(self) -> str:
        """Host and port of the current broker, for messages."""
        return self._address.place

    @property
    def connected(self) -> bool:
        """Whether there is an open connection at this moment."""
        return self._connection is not None and self._connection.is_open

    async def channel(self) -> ConfirmChannel:
        """Open a channel in confirm mode, connecting first if needed.

        Raises:
            BrokerUnavailable: the broker cannot be reached, or refuses.
        """
        connection = await self._connected()
        try:
            channel = ConfirmChannel(await open_channel(connection), connection)
        except TimeoutError:
            self.abandon()
            raise BrokerUnavailable(f"The broker at {self.address} opened no channel in time.") from None
        except AMQPError as error:
            raise BrokerUnavailable(sentence(error)) from None
        await channel.confirm()
        return channel

    async def channel_for(self, exchange: str) -> ConfirmChannel:
        """Open a channel for an exchange, which is declared if it is missing; an existing one is used as it is.

        Raises:
            BrokerUnavailable: as above, or it is not a topic exchange, or missing and may not be declared.
        """
        channel = await self.channel()
        if exchange.startswith(RESERVED_PREFIX):
            return channel
        exchanges = channel.exchanges
        if (asked := exchanges.get(exchange)) is not None:
            return channel if await asyncio.shield(asked) else await self._declared(channel, exchange)
        asked = exchanges[exchange] = asyncio.get_running_loop().create_future()
        try:
            channel = await self._declared(channel, exchange)
        except BaseException:
            exchanges.pop(exchange, None)
            asked.set_result(False)  # each waiter asks for itself
            raise
        asked.set_result(True)
        return channel

    async def _declared(self, channel: ConfirmChannel, exchange: str) -> ConfirmChannel:
        try:
            await channel.declare_exchange(exchange)
        except BrokerUnavailable as error:
            if error.code == _ACCESS_REFUSED:
                return await self._channel_for_what_is_there(exchange, error)
            if error.code != _PRECONDITION_FAILED:
                raise
            if "'type'" in str(error):
                reason = f"The exchange {exchange} exists and is no topic exchange: {error}"
                raise BrokerUnavailable(reason) from None
            return await self.channel()  # it exists with another durability or the like
        return channel

    async def _channel_for_what_is_there(self, exchange: str, refusal: BrokerUnavailable) -> ConfirmChannel:
        """Open a channel for a user who may not declare exchanges, if the exchange exists."""
        channel = await self.channel()
        try:
            await channel.declare_exchange(exchange, passive=True)
        except BrokerUnavailable as error:
            if error.code != _NOT_FOUND:
                raise
            reason = f"The exchange {exchange} is missing and this user may not make it ({str(refusal).rstrip('.')})."
            raise BrokerUnavailable(reason) from None
        return channel

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
            amqp091.abort(connection)

    async def close(self) -> None:
        """Close the connection cleanly, within two seconds."""
        connection, self._connection = self._connection, None
        if connection:
            await amqp091.close(connection)

    @property
    def _address(self) -> BrokerAddress:
        return self._addresses[self._turn % len(self._addresses)]

    async def _connected(self) -> PublisherConnection:
        async with self._connecting:
            if self._connection is None or not self._connection.is_open:
                self._connection = await self._connect()
            return self._connection

    async def _connect(self) -> PublisherConnection:
        self.blocked = None
        try:
            connection = await amqp091.connect(PublisherConnection, self._parameters(), prepare=self._watch_for_blocks)
        except (AMQPError, OSError, TimeoutError) as error:
            failed = BrokerUnavailable(f"The broker at {self.address} cannot be used: {sentence(error)}")
            self._turn += 1
            raise failed from None
        connection.add_on_close_callback(self._on_close)
        return connection

    def _on_close(self, connection: AsyncioConnection, _reason: Exception) -> None:
        if connection is self._connection:
            self.on_lost()

    def _parameters(self) -> pika.ConnectionParameters:
        return amqp091.parameters(
            self._address,
            name="pulpit events",
            heartbeat=HEARTBEAT,
            context=self._context,
            by_certificate=self._by_certificate,
        )

    def _watch_for_blocks(self, connection: AsyncioConnection) -> None:
        def on_blocked(_connection: object, frame: Method) -> None:
            self.blocked = str(frame.method.reason)

        def on_unblocked(_connection: object, _frame: Method) -> None:
            self.blocked = None

        connection.add_on_connection_blocked_callback(on_blocked)
        connection.add_on_connection_unblocked_callback(on_unblocked)
