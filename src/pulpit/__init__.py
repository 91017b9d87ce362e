# SPDX-License-Identifier: Apache-2.0
"""Pulpit: a package-repository server whose every sync and publish becomes an event that reaches every listener.

It exports `pulpit.subscribe` and its types for programs that subscribe. They are imported at their first use (PEP 562),
because every command imports this package, and few of them speak AMQP.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pulpit.errors import ConfigurationError
    from pulpit.subscriber.event import Event
    from pulpit.subscriber.gaps import Gap
    from pulpit.subscriber.source import SubscriptionRefused
    from pulpit.subscriber.subscribe import subscribe
    from pulpit.subscriber.subscription import Subscription

__version__: Final = "0.1.0"
__all__ = ["ConfigurationError", "Event", "Gap", "Subscription", "SubscriptionRefused", "__version__", "subscribe"]

_PLACES: Final = {
    "ConfigurationError": "pulpit.errors",
    "Event": "pulpit.subscriber.event",
    "Gap": "pulpit.subscriber.gaps",
    "Subscription": "pulpit.subscriber.subscription",
    "SubscriptionRefused": "pulpit.subscriber.source",
    "subscribe": "pulpit.subscriber.subscribe",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
