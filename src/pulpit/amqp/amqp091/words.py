"""What pika says in nested exceptions, in words."""

from collections.abc import Iterator
from ssl import SSLError

from pika.exceptions import (
    ChannelClosedByBroker,
    IncompatibleProtocolError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
    StreamLostError,
)

from pulpit.net import tls


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and those that pika has packed into it."""
    yield error
    packed = [*error.args, *getattr(error, "exceptions", ()), getattr(error, "exception", None)]
    for inner in packed:
        if isinstance(inner, BaseException):
            yield from causes(inner)


def sentence(error: BaseException) -> str:
    """What went wrong, for a person."""
    if isinstance(error, ProbableAuthenticationError):
        return "the log-in was refused."
    if isinstance(error, ProbableAccessDeniedError):
        return "the user may not use this virtual host, or it does not exist."
    if isinstance(error, ChannelClosedByBroker):
        return f"the broker closed the channel: {error.reply_text} ({error.reply_code})."
    if isinstance(error, OSError) and (words := _of_system(error)):
        return words
    inner = [*error.args, *getattr(error, "exceptions", ()), getattr(error, "exception", None)]
    last = next((cause for cause in reversed(inner) if isinstance(cause, BaseException)), None)
    return sentence(last) if last else _of_pika(error)


def _of_pika(error: BaseException) -> str:
    """What pika gives only as a text or a type."""
    if words := tls.reason_in(str(error)):
        return words
    if isinstance(error, IncompatibleProtocolError | StreamLostError):
        return "it broke off the connection; it may not speak AMQP 0-9-1."
    return f"{type(error).__name__} {error}".strip()


def _of_system(error: OSError) -> str | None:
    if isinstance(error, SSLError):
        return tls.in_words(error)
    if isinstance(error, TimeoutError):
        return "no answer in time."
    return f"{error.strerror}." if error.strerror else None
