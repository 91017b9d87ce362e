"""One connection over AMQP 1.0 for all listeners, and a link on it for each, whatever broker is at the far end."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote

from pulpit.amqp.amqp10.address import Address
from pulpit.amqp.amqp10.attached import Sender
from pulpit.amqp.amqp10.client import Connection, Manner, connect
from pulpit.amqp.amqp10.lost import Lost
from pulpit.amqp.amqp10.words import NOT_FOUND
from pulpit.delivery.notifiers import amqp_link
from pulpit.delivery.notifiers.amqp10_profiles import PROFILES, Creation, Profile, recognised
from pulpit.delivery.notifiers.amqp_config import OF_THE_BROKER

PRECONDITION_FAILED: Final = 406


class LinkLost(Exception):
    """The broker cannot be used now; the text says why, without any secret."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """A link on which one listener's messages go to one exchange."""

    sender: Sender
    profile: Profile


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What an operator says about the broker instead of leaving it to be recognised."""

    profile: str = ""
    address: str = ""

    def of(self, connection: Connection) -> Profile:
        """The profile of the broker at the far end."""
        if self.address:
            return replace(PROFILES[self.profile or "plain"], address=self.address)
        if self.profile:
            return PROFILES[self.profile]
        return recognised(connection.remote)


class Link:
    """One connection, made when it is needed and again when it was lost; of several brokers the next is tried."""

    def __init__(self, addresses: Sequence[Address], manner: Manner, reading: Reading = Reading()) -> None:
        self._addresses: Final = tuple(addresses)
        self._manner: Final = manner
        self._reading: Final = reading
        self._turn = 0
        self._connection: Connection | None = None
        self._connecting: Final = asyncio.Lock()

    @property
    def address(self) -> str:
        """Host and port of the broker whose turn it is, for people."""
        return str(self._address)

    @property
    def connected(self) -> bool:
        """Whether there is an open connection at this moment."""
        return self._connection is not None and self._connection.lost is None

    @property
    def profile(self) -> Profile | None:
        """The broker's reading of AMQP 1.0, as far as it is known."""
        return self._reading.of(self._connection) if self._connection else None

    async def way(self, exchange: str) -> Way:
        """Attach a link to an exchange, which is created where the broker's profile says how.

        Raises:
            LinkLost: the broker cannot be reached, or says no.
        """
        connection = await self._connected()
        profile = self._reading.of(connection)
        if profile.creation is Creation.FIRST:
            await self._create(exchange)
        try:
            return Way(sender=await connection.sender(profile.target(exchange)), profile=profile)
        except Lost as lost:
            missing = lost.condition is not None and lost.condition.name == NOT_FOUND
            if not missing or profile.creation is not Creation.WHEN_MISSING:
                raise LinkLost(str(lost)) from None
        await self._create(exchange)
        try:
            return Way(sender=await connection.sender(profile.target(exchange)), profile=profile)
        except Lost as lost:
            raise LinkLost(str(lost)) from None

    def abandon(self) -> None:
        """Give up a connection on which nothing moves; the next user makes a new one."""
        connection, self._connection = self._connection, None
        self._turn += 1
        if connection:
            connection.abandon()

    async def close(self) -> None:
        """Say goodbye to the broker, for two seconds at most."""
        connection, self._connection = self._connection, None
        if connection:
            await connection.close()

    @property
    def _address(self) -> Address:
        return self._addresses[self._turn % len(self._addresses)]

    async def _connected(self) -> Connection:
        async with self._connecting:
            if self._connection is None or self._connection.lost:
                self._connection = None
                self._connection = await self._connect()
            return self._connection

    async def _connect(self) -> Connection:
        try:
            return await connect(self._address, self._manner)
        except Lost as lost:
            self._turn += 1
            raise LinkLost(str(lost)) from None

    async def _create(self, exchange: str) -> None:
        """Create a durable topic exchange over AMQP 0-9-1, which brokers of this kind speak on the same port.

        Raises:
            LinkLost: that cannot be done, so somebody must.
        """
        if exchange.startswith(OF_THE_BROKER):
            return
        address, url = self._address, _url091(self._address)
        external = self._manner.external and address.tls and address.user is None
        other = amqp_link.Link([url], self._manner.tls if address.tls else None, certified=[url] if external else [])
        try:
            await (await other.channel()).declare_exchange(exchange)
        except amqp_link.LinkLost as lost:
            if lost.code == PRECONDITION_FAILED and "'type'" not in str(lost):
                return  # it differs in durability or the like, and is used as it is
            reason = f"The exchange {exchange} cannot be created at {address} over AMQP 0-9-1 ({str(lost).rstrip('.')})"
            raise LinkLost(f"{reason}; create it there, durable and of type topic.") from None
        finally:
            with contextlib.suppress(Exception):
                await other.close()


def _url091(address: Address) -> str:
    user = "" if address.user is None else f"{quote(address.user, safe='')}:{quote(address.password, safe='')}@"
    path = quote(address.virtual_host or "/", safe="")
    return f"{'amqps' if address.tls else 'amqp'}://{user}{address}/{path}"
