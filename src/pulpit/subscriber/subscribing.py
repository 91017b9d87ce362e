"""`pulpit.subscribe`: the door to all of this."""

import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from pulpit.errors import ConfigurationError
from pulpit.subscriber.address import Address, check_safe, parse_all
from pulpit.subscriber.following import Following, News
from pulpit.subscriber.gaps import Gaps
from pulpit.subscriber.sources import Papers, sources
from pulpit.subscriber.subscription import OnGap, Subscription, counting
from pulpit.subscriber.wish import EVERYTHING, PREFETCH, QueueType, Wish

LOGGER: Final = logging.getLogger("pulpit.subscriber")
REMEMBERED: Final = 10_000
"""Ids of events by which duplicates are known, a megabyte or so."""

Acknowledge = Literal["automatic", "explicit"]


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
        client_cert: file (mode 0600) with a certificate and its key to show over TLS; it is the log-in where the URL
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
        check_safe(address, "url", allowed=allow_plain_without_tls, permission="allow_plain_without_tls")
    wish = Wish(exchange=exchange, subject=subject, queue=queue, queue_type=queue_type, prefetch=prefetch)
    return make(
        addresses,
        wish,
        papers=Papers(
            ca_path=None if ca_path is None else Path(ca_path),
            client_cert=None if client_cert is None else Path(client_cert),
            name=name,
        ),
        on_news=on_news,
        remember=remember,
        automatic=acknowledge == "automatic",
        gaps=counting(on_gap, subject, last_numbers or {}),
        on_gap=on_gap,
    )


def make(
    addresses: Sequence[Address],
    wish: Wish,
    *,
    papers: Papers,
    on_news: News,
    remember: int,
    automatic: bool = True,
    gaps: Gaps | None = None,
    on_gap: OnGap | None = None,
) -> Subscription:
    """Put a subscription together from what has been read and checked already.

    A durable queue at several brokers is of type quorum unless the wish says otherwise: they are the nodes of a
    cluster, and a classic queue is away with the one node that has it.

    Raises:
        ConfigurationError: as `sources`.
    """
    if wish.stays and wish.queue_type is None and len(addresses) > 1:
        wish = replace(wish, queue_type="quorum")
    following = Following(sources(addresses, papers), wish, on_news, random.random)
    return Subscription(following, automatic=automatic, remember=remember, gaps=gaps, on_gap=on_gap)
