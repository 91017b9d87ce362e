"""The command: its options, its signals, its exit codes."""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final

import click

from pulpit.errors import ConfigurationError, PulpitError
from pulpit.listen.address import ALLOW_PLAIN, URL_VARIABLE, choose, parameters
from pulpit.listen.subscription import EVERYTHING, Handle, Subscription, Wish
from pulpit.listen.text import Message, as_json, as_subject, as_text, neutral

_FAILED: Final = 1


_SECONDS_TO_CLOSE: Final = 2.0


class Ended(BaseException):
    """A signal asks for the end, with this exit code; no `except Exception` on the way shall hold it."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


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
    help=f"Broker as amqp[s]://user:password@host:port/vhost. Others on this machine can see it: to hide a password"
    f" use --url-file or the environment variable {URL_VARIABLE}.",
)
@click.option("--url-file", type=click.Path(path_type=Path), help="File (mode 0600) whose first line is such a URL.")
@click.option("--ca-path", type=click.Path(path_type=Path), help="Certificate authorities to trust for amqps.")
@click.option(ALLOW_PLAIN, "allow_plain", is_flag=True, help="Let the password travel unencrypted to another machine.")
@click.option("--json", "as_json_lines", is_flag=True, help="Show each message as one JSON object on one line.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N messages.")
@click.option("--queue", metavar="NAME", help="Use a durable queue that stays and collects while nobody listens.")
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
    allow_plain: bool,
    as_json_lines: bool,
    count: int | None,
    queue: str | None,
    timeout: float | None,
) -> int:
    """Do what the options say and give the exit code."""
    logging.getLogger("pika").setLevel(logging.CRITICAL + 1)  # what matters of it is told in our own sentences
    show = as_json if as_json_lines else as_subject if quiet else as_text
    try:
        _check_names(exchange=exchange, subject=subject, queue=queue or "")
        chosen = choose(
            url=url, url_file=url_file, host=address, port=port, environment=os.environ, allow_plain=allow_plain
        )
        wish = Wish(exchange=exchange, subject=subject or EVERYTHING, queue=queue, at_most=count)
        subscription = Subscription(parameters(chosen, ca_path), str(chosen), wish, _tell)
        with _endings(timeout, at_timeout=0 if count is None else _FAILED):
            subscription.follow(_printer(show, count), time.sleep)
    except Ended as ended:
        return ended.code
    except OutputGone:
        _forget_output()
    except PulpitError as error:
        _tell(str(error))
        return _FAILED
    return 0


def _check_names(**names: str) -> None:
    """Refuse what cannot be said in AMQP: a short string has 255 bytes (AMQP 0-9-1 section 4.2.5.3)."""
    for option, name in names.items():
        if len(name.encode("utf-8", "surrogateescape")) > 255:  # noqa: PLR2004 - the figure is the specification's
            raise ConfigurationError(f"--{option}", "must not be longer than 255 bytes")
    if not names["exchange"]:
        raise ConfigurationError("--exchange", "must name an exchange; nobody can subscribe to the nameless one")


def _printer(show: Callable[[Message], str], count: int | None) -> Handle:
    left = count

    def handle(message: Message) -> bool:
        nonlocal left
        try:
            sys.stdout.write(show(message) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            raise OutputGone from None
        except OSError as error:
            raise PulpitError(f"the output cannot be written: {error.strerror}") from None
        left = None if left is None else left - 1
        return left != 0

    return handle


@contextmanager
def _endings(timeout: float | None, *, at_timeout: int) -> Iterator[None]:
    """While this lasts, Ctrl-C and SIGTERM end the work with 0, and the clock, if asked, with `at_timeout`.

    The first of them leaves two seconds for a polite end of the connection.
    """
    code: int | None = None

    def end(number: int, _: object) -> None:
        nonlocal code
        code = code if code is not None else at_timeout if number == signal.SIGALRM else 0
        signal.setitimer(signal.ITIMER_REAL, _SECONDS_TO_CLOSE)
        raise Ended(code)

    before = {number: signal.signal(number, end) for number in _signals_heard()}
    signal.setitimer(signal.ITIMER_REAL, timeout or 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _signals_heard() -> list[signal.Signals]:
    """Those that end the work; a shell that starts this in its background has Ctrl-C ignored, and it stays so."""
    ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    return [signal.SIGTERM, signal.SIGALRM, *([] if ignored else [signal.SIGINT])]


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
