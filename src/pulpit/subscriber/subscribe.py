# SPDX-License-Identifier: Apache-2.0
"""`pulpit.subscribe`, and the construction of subscriptions."""

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
"""Event ids that are remembered to drop duplicates, about a megabyte."""

Acknowledge = Literal["automatic", "explicit"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """TLS and connection options for brokers."""

    name: str
    """The connection's name, for the broker's operators."""
    ca_path: Path | None = None
    """CA certificates to trust, a file or a folder; null is the system's."""
    client_cert: Path | None = None
    """Client certificate and key, in one file; without a user it is also the login (EXTERNAL)."""


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
    """Subscribe to the events of a topic exchange.

    Entering the result (`async with`) waits until the broker and the exchange exist and the subscription is made.
    From then on it is maintained: a lost connection is reopened, at the next broker if needed.

    Args:
        url: `amqp[s]://user:password@host:port/vhost`, or `amqp[s]+10://…` for AMQP 1.0 (extra `amqp10`); several, as a
            sequence or separated by commas, are the nodes of a cluster, tried in turn.
        exchange: name of the topic exchange.
        subject: pattern of subjects: `*` stands for one word, `#` for any number.
        queue: name of a durable queue, which collects events while nobody listens; by default a temporary queue,
            which is deleted with the connection.
        queue_type: type of that queue; by default `quorum` for several URLs, else the broker's default.
        acknowledge: `automatic` when the next event is requested, or `explicit` by `Subscription.acknowledge`.
        on_gap: called with what is missing, before the event that reveals it is returned. Use it only if the
            listener has the event type `*` or `#` and no filter by result.
        last_numbers: those of an earlier subscription (`Subscription.last_numbers`), to detect what is missing since.
        remember: number of ids that are remembered to drop duplicates; 0 drops none.
        prefetch: messages that the broker sends before the first is acknowledged.
        ca_path: CA certificates to trust for TLS, a file or folder; by default the system's.
        client_cert: file (mode 0600) with a client certificate and its key for TLS; it is the login if the URL
            names no user.
        allow_plain_without_tls: whether a password may be sent unencrypted to another machine.
        on_news: called with a level of `logging` and a sentence when something happens to the subscription.
        name: the connection's name, as the broker shows it.

    Raises:
        ConfigurationError: an argument is invalid, or the extra is not installed; the text says which. Entering and
            iterating raise `SubscriptionRefused` when the broker refuses permanently.
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
    """Create a subscription from checked arguments.

    A durable queue at several brokers is of type quorum unless the binding says otherwise: they are the nodes of a
    cluster, and a classic queue is unavailable while its one node is down.

    Raises:
        ConfigurationError: as `sources`.
    """
    if binding.stays and binding.queue_type is None and len(addresses) > 1:
        binding = replace(binding, queue_type="quorum")
    stream = MessageStream(sources(addresses, identity), binding, on_news, random.random)
    return Subscription(stream, automatic=automatic, remember=remember, gaps=gaps, on_gap=on_gap)


def sources(addresses: Sequence[BrokerAddress], identity: Identity) -> list[Source]:
    """Return a source for each broker.

    Raises:
        ConfigurationError: a file cannot be used, or the extra for AMQP 1.0 is not installed.
    """
    # The clients are imported here, because help texts do not need them.
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
