"""The command: its options, its signals, its exit codes."""

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final

import click

from pulpit.errors import ConfigurationError, PulpitError
from pulpit.subscriber.listen.address import ALLOW_PLAIN, URL_VARIABLE, choose
from pulpit.subscriber.listen.endings import Ended, Endings
from pulpit.subscriber.listen.text import as_json, as_subject, as_text
from pulpit.subscriber.message import Message, neutral
from pulpit.subscriber.sources import Papers
from pulpit.subscriber.subscribing import make
from pulpit.subscriber.subscription import Subscription
from pulpit.subscriber.wish import EVERYTHING, PREFETCH, QUEUE_TYPES, QueueType, Wish

_FAILED: Final = 1

Show = Callable[[Message], str]


class OutputGone(PulpitError):
    """Nobody reads standard output any more (`listen | head`), which is a quiet end."""


@click.command("listen", context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("-e", "--exchange", default="amq.topic", show_default=True, help="Name of the topic exchange.")
@click.option(
    "-s", "--subject", default="", help="Subject to bind to, with * for one word and # for any.  [default: everything]"
)
@click.option("-a", "--address", metavar="HOST", help="Host of the broker.  [default: localhost]")
@click.option("-p", "--port", type=click.IntRange(1, 65535), help="Port of the broker.  [default: 5672]")
@click.option("-q", "--quiet", is_flag=True, help="Show the subjects only.")
@click.option(
    "--url",
    metavar="URL",
    help=f"Broker as amqp[s]://user:password@host:port/vhost, or amqp[s]+10:// for AMQP 1.0; several, with commas"
    f" between, are tried in turn. Others on this machine can see it: to hide a password use --url-file or the"
    f" environment variable {URL_VARIABLE}.",
)
@click.option("--url-file", type=click.Path(path_type=Path), help="File (mode 0600) whose first line is such a URL.")
@click.option("--ca-path", type=click.Path(path_type=Path), help="Certificate authorities to trust for amqps.")
@click.option(
    "--client-cert",
    type=click.Path(path_type=Path),
    help="File (mode 0600) with a certificate and its key to show; it is the log-in where the URL names no user.",
)
@click.option(ALLOW_PLAIN, "allow_plain", is_flag=True, help="Let the password travel unencrypted to another machine.")
@click.option("--json", "as_json_lines", is_flag=True, help="Show each message as one JSON object on one line.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N messages.")
@click.option("--queue", metavar="NAME", help="Use a durable queue that stays and collects while nobody listens.")
@click.option(
    "--queue-type",
    type=click.Choice(QUEUE_TYPES),
    help="Kind of that queue.  [default: quorum with several brokers, else the broker's own]",
)
@click.option(
    "--timeout", type=click.FloatRange(min=0.001), metavar="SECONDS", help="End after so long; 1 if --count is not met."
)
def command(**given: Any) -> None:
    """Print the messages that a topic exchange passes on, until interrupted."""
    _accept_every_character()
    sys.exit(listen(**given))


def _accept_every_character() -> None:
    """A terminal that lacks a character shall show its number, not end us."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


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
    """Do what the options say and give the exit code."""
    logging.getLogger("pika").setLevel(logging.CRITICAL + 1)  # what matters of it is told in our own sentences
    show = as_json if as_json_lines else as_subject if quiet else as_text
    try:
        addresses = choose(
            url=url, url_file=url_file, host=address, port=port, environment=os.environ, allow_plain=allow_plain
        )
        prefetch = min(count or PREFETCH, PREFETCH)
        with _named_as_options():
            wish = Wish(
                exchange=exchange, subject=subject or EVERYTHING, queue=queue, queue_type=queue_type, prefetch=prefetch
            )
            papers = Papers(ca_path=ca_path, client_cert=client_cert, name="pulpit listen")
            subscription = make(addresses, wish, papers=papers, on_news=_tell_news, remember=0)
        with Endings(timeout, at_timeout=0 if count is None else _FAILED) as endings:
            asyncio.run(endings.until_ended(_print(subscription, show, count, endings)))
    except Ended as ended:
        if ended.while_writing:
            _forget_output()
        return ended.code
    except OutputGone:
        _forget_output()
    except PulpitError as error:
        _tell(str(error))
        return _FAILED
    return 0


@contextmanager
def _named_as_options() -> Iterator[None]:
    """Give what cannot be used the name that it has on the command line."""
    try:
        yield
    except ConfigurationError as error:
        name = f"--{error.key.replace('_', '-')}" if error.key.isidentifier() else error.key
        raise ConfigurationError(name, error.reason) from None


async def _print(subscription: Subscription, show: Show, count: int | None, endings: Endings) -> None:
    """Print each message, which is acknowledged after that."""
    printed = 0
    async with subscription:
        async for event in subscription:
            with endings.at_once():  # a reader that takes nothing may hold this up for ever
                _write(show(event))
            printed += 1
            if printed == count:
                return


def _write(text: str) -> None:
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise OutputGone from None
    except OSError as error:
        raise PulpitError(f"the output cannot be written: {error.strerror}") from None


def _tell_news(_level: int, sentence: str) -> None:
    _tell(sentence)


def _tell(sentence: str) -> None:
    sys.stderr.write(f"{neutral(sentence)}\n")
    sys.stderr.flush()


def _forget_output() -> None:
    """Point standard output at nothing, so that the interpreter's last flush has no closed pipe to complain about."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)


def main() -> None:
    """Run the command as a program of its own."""
    command(prog_name=Path(sys.argv[0]).name)
