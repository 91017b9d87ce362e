"""Passwords in clear text: AMQP's PLAIN sends one as it is, so it takes TLS or a way that nobody else can listen on.

One rule for everything that logs in to a broker, over either version of AMQP: the server (`[messaging]`) and the
subscriber (`pulpit listen`).
"""

from pulpit.errors import ConfigurationError
from pulpit.net.addresses import is_loopback


def check_password_is_safe(source: str, host: str, *, tls: bool, allowed: bool, permission: str) -> None:
    """Let a password go to a broker encrypted, to this machine, or where somebody has allowed it by name.

    Args:
        source: the key or option that names the broker.
        host: as it stands there, a name or an address.
        tls: whether the connection is encrypted.
        allowed: what `permission` is set to.
        permission: the key or option that allows it all the same.

    Raises:
        ConfigurationError: it would be readable on the way to `host`.
    """
    if tls or allowed or is_loopback(host):
        return
    reason = f"the password would travel to {host} unencrypted; use TLS (amqps://), or set {permission} to allow it."
    raise ConfigurationError(source, reason)
