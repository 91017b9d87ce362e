# SPDX-License-Identifier: Apache-2.0
"""What `pulpit listen` does: choosing the broker, formatting messages, and ending."""

import asyncio
import base64
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final, Self

from pulpit.amqp.address import BrokerAddress, parse_all
from pulpit.client.failures import BrokenStream
from pulpit.client.streams import forget_output, write_line
from pulpit.errors import ConfigurationError, PulpitError
from pulpit.net.addresses import is_host
from pulpit.net.config_files import first_line, read_secret
from pulpit.subscriber.event import Message, parse_body, plain
from pulpit.subscriber.source import EVERYTHING, PREFETCH, Binding, QueueType
from pulpit.subscriber.subscribe import Identity, make
from pulpit.subscriber.subscription import Subscription
from pulpit.text import escaped

URL_VARIABLE: Final = "PULPIT_AMQP_URL"
ALLOW_PLAIN: Final = "--allow-plain-without-tls"
SEPARATOR: Final = "-" * 70
_FAILED: Final = 1

Show = Callable[[Message], str]


def listen(
    *,
    exchange: str,
    subject: str,
    address: str | None,
    port: int | None,
    quiet: bool,
    url: str | None,
    url_file: Path | None,
    ca_path: Path | None,
    client_cert: Path | None,
    allow_plain: bool,
    as_json_lines: bool,
    count: int | None,
    queue: str | None,
    queue_type: QueueType | None,
    timeout: float | None,
) -> int:
    """Carry out the command and return the exit code."""
    logging.getLogger("pika").setLevel(logging.CRITICAL + 1)  # its important messages are repeated in our own words
    show = as_json if as_json_lines else as_subject if quiet else as_text
    try:
        addresses = choose(
            url=url, url_file=url_file, host=address, port=port, environment=os.environ, allow_plain=allow_plain
        )
        prefetch = min(count or PREFETCH, PREFETCH)
        with _named_as_options():
            binding = Binding(
                exchange=exchange, subject=subject or EVERYTHING, queue=queue, queue_type=queue_type, prefetch=prefetch
            )
            identity = Identity(name="pulpit listen", ca_path=ca_path, client_cert=client_cert)
            subscription = make(
                addresses, binding, identity=identity, on_news=lambda _level, sentence: _tell(sentence), remember=0
            )
        with _Ender(timeout) as ender:
            asyncio.run(ender.until_ended(_print(subscription, show, count, ender)))
    except _Ended as ended:
        if ended.while_writing:
            forget_output()
        return ended.code
    except BrokenStream:
        raise
    except PulpitError as error:
        _tell(str(error))
        return _FAILED
    return 0


@contextmanager
def _named_as_options() -> Iterator[None]:
    """Name invalid arguments as on the command line."""
    try:
        yield
    except ConfigurationError as error:
        name = f"--{error.key.replace('_', '-')}" if error.key.isidentifier() else error.key
        raise ConfigurationError(name, error.reason) from None


async def _print(subscription: Subscription, show: Show, count: int | None, ender: "_Ender") -> None:
    printed = 0
    async with subscription:
        ender.at_timeout = 0 if count is None else _FAILED
        async for event in subscription:
            try:
                text = show(event)
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not be redelivered for ever
                _tell(f"a message with the subject {event.subject} cannot be shown ({error!r}) and is rejected")
                subscription.reject(event)
                continue
            with ender.at_once():  # a blocked reader may hold this up for ever
                write_line(text)
            printed += 1
            if printed == count:
                return


def _tell(sentence: str) -> None:
    sys.stderr.write(f"{escaped(sentence)}\n")
    sys.stderr.flush()


# Choosing the broker -----------------------------------------------------------------------------------------------


def choose(
    *,
    url: str | None,
    url_file: Path | None,
    host: str | None,
    port: int | None,
    environment: Mapping[str, str],
    allow_plain: bool = False,
) -> tuple[BrokerAddress, ...]:
    """Take the URLs from the option, else the file, else the environment; host and port override them.

    Raises:
        ConfigurationError: it is not an AMQP URL or not a host, or the file cannot be read or is readable by others,
            or the password would be sent unencrypted to another machine and `allow_plain` does not permit it.
    """
    source, named = _named_brokers(url, url_file, environment)
    addresses = tuple(replace(address, host=host or address.host, port=port or address.port) for address in named)
    if host and not is_host(host):
        raise ConfigurationError("--address", "it must be the host alone; give the port by --port, a URL by --url.")
    source = "--address" if host else source
    for address in addresses:
        address.check_password_is_safe(source, allowed=allow_plain, permission=ALLOW_PLAIN)
    return addresses


def _named_brokers(
    url: str | None, url_file: Path | None, environment: Mapping[str, str]
) -> tuple[str, tuple[BrokerAddress, ...]]:
    if url is not None:
        return "--url", parse_all(url, "--url")
    if url_file is not None:
        return "--url-file", parse_all(first_line(read_secret(url_file, "--url-file")), "--url-file")
    if environment.get(URL_VARIABLE):
        return URL_VARIABLE, parse_all(environment[URL_VARIABLE], URL_VARIABLE)
    return "--address", (BrokerAddress(),)


# Formatting messages ------------------------------------------------------------------------------------------------


def as_subject(message: Message) -> str:
    """Return the one line of quiet mode."""
    return escaped(message.subject)


def as_text(message: Message) -> str:
    """Return a separator, the properties, an empty line, and the body; JSON is indented."""
    known = {
        "subject": message.subject,
        "exchange": message.exchange,
        **message.properties,
        **{f"header {name}": value for name, value in message.headers.items()},
    }
    width = max(map(len, known)) + 1
    lines = []
    for name, value in known.items():
        simple = plain(value)
        text = simple if isinstance(simple, str) else json.dumps(simple, ensure_ascii=False)
        lines.append(f"{escaped(name) + ':':<{width}} {escaped(text)}")
    return "\n".join([SEPARATOR, *lines, "", _readable_body(message.body)])


def as_json(message: Message) -> str:
    """Return one JSON object on one line of plain ASCII; a binary body is in `body_base64`."""
    document: dict[str, Any] = {
        "subject": message.subject,
        "exchange": message.exchange,
        "headers": plain(message.headers),
        "properties": plain(message.properties),
        "redelivered": message.redelivered,
    }
    parsed = parse_body(message.body)
    if not isinstance(parsed, bytes):
        try:
            return json.dumps({**document, "body": parsed}, allow_nan=False)
        except (ValueError, RecursionError):  # a number out of range, or nested too deep
            pass
    document["body_base64"] = base64.b64encode(message.body).decode("ascii")
    return json.dumps(document)


def _readable_body(body: bytes) -> str:
    parsed = parse_body(body)
    if isinstance(parsed, bytes):
        return repr(parsed)
    try:
        text = parsed if isinstance(parsed, str) else json.dumps(parsed, indent=2, ensure_ascii=False)
    except RecursionError:
        text = body.decode()
    return escaped(text, keep="\n\t")


# Ending -------------------------------------------------------------------------------------------------------------


class _Ended(BaseException):
    """A signal requests the end, with this exit code; not caught by `except Exception`."""

    def __init__(self, code: int, *, while_writing: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.while_writing = while_writing


class _Ender:
    """Within this context, Ctrl-C and SIGTERM end the work with 0, and the timeout, if any, with `at_timeout`.

    Until the subscription exists, a timeout is a failure.

    Awaiting work is cancelled, so that it can close cleanly. Blocking code (`at_once`) is interrupted by the signal.
    """

    def __init__(self, timeout: float | None) -> None:
        self.at_timeout = _FAILED
        self._timeout: Final = timeout
        self._before: dict[signal.Signals, Any] = {}
        self._code: int | None = None
        self._at_once = False
        self._work: tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None

    def __enter__(self) -> Self:
        heard = [signal.SIGTERM, signal.SIGALRM]
        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # ignored if a shell started this in the background
            heard.append(signal.SIGINT)
        self._before = {number: signal.signal(number, self._end) for number in heard}
        signal.setitimer(signal.ITIMER_REAL, self._timeout or 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    async def until_ended(self, work: Coroutine[Any, Any, None]) -> None:
        """Run the work.

        Raises:
            _Ended: a signal came first.
        """
        task = asyncio.ensure_future(work)
        self._work = asyncio.get_running_loop(), task
        if self._code is not None:
            task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            raise _Ended(self._code or 0) from None

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Let a signal interrupt this block, which awaits nothing."""
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False

    def _end(self, number: int, _frame: FrameType | None) -> None:
        if self._code is None:
            self._code = self.at_timeout if number == signal.SIGALRM else 0
        if self._at_once:
            raise _Ended(self._code, while_writing=True)
        if self._work:
            loop, task = self._work
            loop.call_soon_threadsafe(task.cancel)
