# SPDX-License-Identifier: Apache-2.0
"""`pulpit.subscribe`, and how a subscription is put together from what was asked for."""

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from pulpit.amqp.address import BrokerAddress, parse_all
from pulpit.errors import ConfigurationError
from pulpit.net.tls import CertificateFiles, configured_context
from pulpit.subscriber.gaps import Gaps
from pulpit.subscriber.source import EVERYTHING, PREFETCH, Binding, MessageStream, News, QueueType, Source
from pulpit.subscriber.subscription import OnGap, Subscription, counting

LOGGER: Final = logging.getLogger("pulpit.subscriber")
REMEMBERED: Final = 10_000
"""Ids of events by which duplicates are known, a megabyte or so."""

Acknowledge = Literal["automatic", "explicit"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """What is checked of brokers, and shown to them."""

    name: str
    """Of the connection, for the broker's operators."""
    ca_path: Path | None = None
    """Authorities to trust, a file or a folder; null is the system's."""
    client_cert: Path | None = None
    """Certificate and key of one's own, in one file; without a user it is the login, too (EXTERNAL)."""


def log_news(level: int, sentence: str) -> None:
    """Log what happens to a subscription under `pulpit.subscriber`."""
    LOGGER.log(level, sentence, extra={"action": "subscription_news"})


def subscribe(
    url: str | Sequence[str] = "amqp://localhost",
    *,
    exchange: str = "amq.topic",
    subject: str = EVERYTHING,
    queue: str | None = None,
    queue_type: QueueType | None = None,
    acknowledge: Acknowledge = "automatic",
    on_gap: OnGap | None = None,
    last_numbers: Mapping[str, int] | None = None,
    remember: int = REMEMBERED,
    prefetch: int = PREFETCH,
    ca_path: Path | str | None = None,
    client_cert: Path | str | None = None,
    allow_plain_without_tls: bool = False,
    on_news: News = log_news,
    name: str = "pulpit subscriber",
) -> Subscription:
    """Subscribe to the events that a topic exchange passes on.

    Entering the result (`async with`) waits until the broker and the exchange are there and the subscription is made.
    From then on it is kept up: a connection that is lost is made again, at the next broker if need be.

    Args:
        url: `amqp[s]://user:password@host:port/vhost`, or `amqp[s]+10://…` for AMQP 1.0 (extra `amqp10`); several, as a
            sequence or with commas between, are the nodes of a cluster, tried in turn.
        exchange: name of the topic exchange.
        subject: pattern of subjects: `*` stands for one word, `#` for any number.
        queue: name of a durable queue, which collects while nobody listens; without one a queue of its own is made,
            which goes with the connection.
        queue_type: kind of that queue; without a word `quorum` for several URLs, else what the broker makes.
        acknowledge: `automatic` when the next event is asked for, or `explicit` by `Subscription.acknowledge`.
        on_gap: is called with what is missing, before the event that shows it is handed out. Give it only if the
            listener has the event type `*` or `#` and no filter by result.
        last_numbers: those of an earlier subscription (`Subscription.last_numbers`), to see what is missing since.
        remember: how many ids are kept to drop duplicates by; 0 drops none.
        prefetch: messages that the broker hands out before the first is acknowledged.
        ca_path: authorities to trust for TLS, a file or folder; else the system's.
        client_cert: file (mode 0600) with a certificate and its key to show over TLS; it is the login where the URL
            names no user.
        allow_plain_without_tls: whether a password may travel unencrypted to another machine.
        on_news: takes a level of `logging` and a sentence when something happens to the subscription.
        name: what the broker shows as the connection's name.

    Raises:
        ConfigurationError: an argument cannot be used, or the extra is not installed; the text says which. Entering and
            iterating raise `SubscriptionRefused` when the broker says no for good.
    """
    if acknowledge not in {"automatic", "explicit"}:
        raise ConfigurationError("acknowledge", "must be automatic or explicit")
    if remember < 0:
        raise ConfigurationError("remember", "must not be negative; 0 drops no duplicates")
    addresses = parse_all(url, "url")
    for address in addresses:
        address.check_password_is_safe("url", allowed=allow_plain_without_tls, permission="allow_plain_without_tls")
    binding = Binding(exchange=exchange, subject=subject, queue=queue, queue_type=queue_type, prefetch=prefetch)
    return make(
        addresses,
        binding,
        identity=Identity(
            name=name,
            ca_path=None if ca_path is None else Path(ca_path),
            client_cert=None if client_cert is None else Path(client_cert),
        ),
        on_news=on_news,
        remember=remember,
        automatic=acknowledge == "automatic",
        gaps=counting(on_gap, subject, last_numbers or {}),
        on_gap=on_gap,
    )


def make(
    addresses: Sequence[BrokerAddress],
    binding: Binding,
    *,
    identity: Identity,
    on_news: News,
    remember: int,
    automatic: bool = True,
    gaps: Gaps | None = None,
    on_gap: OnGap | None = None,
) -> Subscription:
    """Put a subscription together from what has been read and checked already.

    A durable queue at several brokers is of type quorum unless the binding says otherwise: they are the nodes of a
    cluster, and a classic queue is away with the one node that has it.

    Raises:
        ConfigurationError: as `sources`.
    """
    if binding.stays and binding.queue_type is None and len(addresses) > 1:
        binding = replace(binding, queue_type="quorum")
    stream = MessageStream(sources(addresses, identity), binding, on_news, random.random)
    return Subscription(stream, automatic=automatic, remember=remember, gaps=gaps, on_gap=on_gap)


def sources(addresses: Sequence[BrokerAddress], identity: Identity) -> list[Source]:
    """One for each broker.

    Raises:
        ConfigurationError: a file cannot be used, or AMQP 1.0 is asked for and the extra is not installed.
    """
    # The clients are loaded here, so that a help text need not wait for them.
    from pulpit.subscriber.amqp091 import Amqp091Source  # noqa: PLC0415 - see above

    in_version_10: Callable[[Amqp091Source], Source] | None = None
    if any(address.speaks_10 for address in addresses):
        from pulpit.amqp.amqp10 import proton  # noqa: PLC0415 - see above
        from pulpit.subscriber.amqp10 import Amqp10Source  # noqa: PLC0415 - see above

        proton.load()
        in_version_10 = Amqp10Source
    certificate = None
    if identity.client_cert is not None:
        path = identity.client_cert
        certificate = CertificateFiles(certificate=path, key=path, source="client_cert")
    uses_tls = any(address.tls for address in addresses)
    context = configured_context(identity.ca_path, "ca_path", certificate) if uses_tls else None
    found: list[Source] = []
    for address in addresses:
        source = Amqp091Source(address, identity.name, context, by_certificate=certificate is not None)
        found.append(in_version_10(source) if in_version_10 and address.speaks_10 else source)
    return found
