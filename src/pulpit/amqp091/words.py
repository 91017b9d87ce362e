"""What pika says in nested exceptions, in words."""

from collections.abc import Iterator

from pika.exceptions import ChannelClosedByBroker, ProbableAccessDeniedError, ProbableAuthenticationError


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
    if isinstance(error, TimeoutError):
        return "no answer in time."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}."
    inner = [*error.args, *getattr(error, "exceptions", ()), getattr(error, "exception", None)]
    last = next((cause for cause in reversed(inner) if isinstance(cause, BaseException)), None)
    return sentence(last) if last else f"{type(error).__name__} {error}".strip()
