"""Events on the screen, one line each, as they are fired: what `pulpit tail` and `pulp-admin event tail` do."""

import itertools
import sys
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from pulpit.client import log
from pulpit.client.output import write_line
from pulpit.client.render import clean
from pulpit.client.server import Query, Server

Decorated = TypeVar("Decorated", bound=Callable[..., object])

_NARROWING: Final = (
    click.option("--event-type", "event_type", multiple=True, help="Only this type or pattern; may be repeated."),
    click.option("--repo-id", "repo_id", multiple=True, help="Only this repository or shell pattern; may be repeated."),
    click.option("--result", multiple=True, help="Only this result, such as failed; may be repeated."),
)
_TAIL: Final = (
    click.option(
        "--after",
        type=click.IntRange(min=0),
        metavar="N",
        help="Begin behind event N of the log, 0 for all of it.  [default: only what is fired from now on]",
    ),
    click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N events."),
    *_NARROWING,
)


def narrowing_options(function: Decorated) -> Decorated:
    """Give a command the options that narrow what it shows of the log."""
    return _with(_NARROWING, function)


def tail_options(function: Decorated) -> Decorated:
    """Give a command all options of `follow_log`."""
    return _with(_TAIL, function)


def _with(options: tuple[Callable[[Any], Any], ...], function: Decorated) -> Decorated:
    for option in reversed(options):
        function = option(function)
    return function


def narrowed(**filters: tuple[str, ...]) -> Query:
    """The filters that were given, as a query."""
    return {key: list(values) for key, values in filters.items() if values}


def follow_log(
    server: Server, *, after: int | None, count: int | None, as_json: bool, **filters: tuple[str, ...]
) -> None:
    """Print events until Ctrl-C, which is the usual end, or until there were `count`.

    Raises:
        Failure: the server refuses. One that is away is waited for.
        OutputGone: nobody reads any more.
    """
    written = log.as_json if as_json else log.as_line
    events = log.follow(server, log.FROM_NOW_ON if after is None else after, narrowed(**filters), _tell)
    try:
        for event in itertools.islice(events, count):
            write_line(written(event))
    except KeyboardInterrupt:
        return


def _tell(sentence: str) -> None:
    sys.stderr.write(f"{clean(sentence)}\n")
    sys.stderr.flush()
