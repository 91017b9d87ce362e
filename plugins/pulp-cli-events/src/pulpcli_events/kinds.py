"""`listener KIND create` and `update`, made from what the server says of each kind of listener that it has."""

import re
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import click
from pulp_cli.generic import PulpCLIContext, PulpGroup

from pulpcli_events.server import LISTENERS, V1, Pulpit, path_of

Decorator = Callable[[Any], Any]
Json = dict[str, Any]
CLEAR: Final = object()
"""Stands for "" on the command line, which takes a value away."""
LONGEST_DOCUMENT: Final = 64 * 1024
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Span(click.ParamType):
    """A span of time such as 90s, 15m, 12h or 3d, read as seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        found = re.fullmatch(r"([0-9]{1,9})([smhd])", str(value))
        if not found:
            self.fail(f"{value!r} is no time such as 90s, 15m, 12h or 3d", param, ctx)
        return int(found[1]) * _UNITS[found[2]]


class Clearable(click.ParamType):
    """Another type whose "" takes the value away."""

    def __init__(self, inner: click.ParamType) -> None:
        self.inner = inner
        self.name = inner.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Let the inner type judge everything but ""."""
        return CLEAR if value == "" or value is CLEAR else self.inner.convert(value, param, ctx)


def with_options(*options: Decorator) -> Decorator:
    """All of the options, in this order."""

    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


ID: Final = click.option("--listener-id", required=True, help="The listener's id, as `list` shows it.")
_FILTERS: Final = (
    click.option("--repo-id", "repo_ids", multiple=True, metavar="PATTERN", help="Only of such repositories."),
    click.option("--result", "results", multiple=True, help="Only with this result, such as error."),
    click.option(
        "--package", "packages", multiple=True, metavar="PATTERN", help="Only what has changed such a package."
    ),
    click.option(
        "--give-up-after", type=Clearable(Span()), help="A dead letter after so long, such as 12h; 3d otherwise."
    ),
)


def _event_type(*, required: bool) -> Decorator:
    return click.option(
        "--event-type",
        "event_types",
        multiple=True,
        required=required,
        help="repo.sync.start, repo.sync.finish, repo.publish.start, repo.publish.finish, * (all of these), "
        "repo.version.create, or a pattern such as repo.*.finish; # is everything. May be repeated.",
    )


class ListenerGroup(PulpGroup):
    """`event listener`, whose commands are verbs and the kinds of listeners that the server has."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, and the kinds if the server can be asked."""
        try:
            kinds = [str(kind["id"]) for kind in _kinds(ctx)]
        except click.ClickException:
            kinds = []
        return sorted({*super().list_commands(ctx), *kinds})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Find a verb or a kind."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            return command
        kind = next((kind for kind in _kinds(ctx) if kind["id"] == cmd_name), None)
        return _group(kind) if kind else None

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Say why there are no kinds if the server cannot be asked."""
        try:
            _kinds(ctx)
        except click.ClickException as error:
            formatter.write_paragraph()
            formatter.write_text(f"Which kinds of listeners there are, the server could not be asked: {error.message}")


def _kinds(ctx: click.Context) -> list[Json]:
    """The kinds that the server has; it is asked once."""
    known = ctx.meta.get(__name__)
    if known is None:
        context = ctx.find_object(PulpCLIContext)
        if ctx.resilient_parsing or context is None:
            return []
        known = ctx.meta[__name__] = Pulpit(context).call("GET", f"{V1}/notifiers")["notifiers"]
    return list(known)


def _group(kind: Json) -> click.Group:
    group = PulpGroup(kind["id"], help=kind["summary"], short_help=kind["summary"])
    for verb, decorators in (
        ("create", (_event_type(required=True), *_of_kind(kind, creating=True), *_FILTERS)),
        ("update", (ID, _event_type(required=False), *_of_kind(kind, creating=False), *_FILTERS)),
    ):

        def run(
            context: PulpCLIContext, /, event_types: tuple[str, ...], listener_id: str | None = None, **options: Any
        ) -> None:
            body = {"notifier_config": _config(kind, options), **_filters({"event_types": event_types, **options})}
            pulpit = Pulpit(context)
            if listener_id is None:
                pulpit.show(pulpit.call("POST", LISTENERS, {"notifier_type_id": kind["id"], **body}))
                return
            body = {key: value for key, value in body.items() if value != {}}
            if not body:
                raise click.UsageError("Name what to change.")
            pulpit.show(pulpit.call("PUT", path_of(listener_id), body))

        words = "Create a listener" if verb == "create" else 'Change a listener; "" takes a value away. A listener is'
        help_text = f"{words} of kind {kind['id']}."
        group.add_command(click.command(verb, help=help_text)(with_options(*decorators)(click.pass_obj(run))))
    return group


def _flag(option: Json) -> str:
    return f"--{option['flag'] or option['name'].replace('_', '-')}"


def _of_kind(kind: Json, *, creating: bool) -> Iterator[Decorator]:
    """The options of a command that the declared options of a kind become; a secret has one for a file."""
    for option in kind["options"]:
        flag, name, text = _flag(option), option["name"], option["help"]
        required, is_text = option["required"] and creating, option["type"] == "text"
        if option["secret"]:
            what = "it" if is_text else "lines NAME=VALUE"
            yield click.option(
                f"{flag}-file",
                f"{name}_file",
                required=required and is_text and not option["given_openly"],
                metavar="PATH",
                help=f"{text} File of mode 0600 with {what}, or - for standard input.",
            )
            if is_text and not option["given_openly"]:
                continue
            text += f" Visible to others on this machine; better {flag}-file."
            required = False
        if option["type"] == "pairs":
            yield click.option(flag, name, multiple=True, required=required, metavar="NAME=VALUE", help=text)
            continue
        types = {"number": click.IntRange(min=1), "flag": click.BOOL}
        inner = click.Choice(option["choices"]) if option["choices"] else types.get(option["type"], click.STRING)
        metavar = option["metavar"] or ("FILE" if option["type"] == "document" else None)
        yield click.option(flag, name, type=Clearable(inner), required=required, metavar=metavar, help=text)


def _config(kind: Json, options: Json) -> Json:
    """Take the options of the kind out and give the configuration that they are; null for what is cleared."""
    config: Json = {}
    for option in kind["options"]:
        flag, name = _flag(option), option["name"]
        value, path = options.pop(name, None), options.pop(f"{name}_file", None)
        if option["type"] == "pairs":
            lines = _secret(path, f"{flag}-file").splitlines() if path else []
            value = _pairs(flag, [*(value or ()), *(line.strip() for line in lines if line.strip())])
        elif value is None and path is not None:
            value = _secret(path, f"{flag}-file").partition("\n")[0] if path else CLEAR
        elif option["type"] == "list" and isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        elif option["type"] == "document" and isinstance(value, str):
            value = _document(flag, value)
        if value is not None:
            config[name] = None if value is CLEAR else value
    return config


def _filters(given: Json) -> Json:
    """What was given; lists without their "", which alone takes a filter away."""
    found = {
        key: [item for item in value if item] if isinstance(value, tuple) else value for key, value in given.items()
    }
    return {key: None if found[key] is CLEAR else found[key] for key in given if given[key] not in (None, ())}


def _pairs(flag: str, pairs: list[str]) -> Any:
    if pairs == [""]:
        return CLEAR
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise click.UsageError(f"{flag} must look like NAME=VALUE.")
        found[name] = value
    return found or None


def _secret(path: str, flag: str) -> str:
    """Read a file that nobody else may read, or standard input."""
    if path == "-":
        return sys.stdin.readline()
    file = Path(path).expanduser()
    try:
        if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise click.ClickException(f"{flag}: {file} is open to others; run: chmod 600 {file}")
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise click.ClickException(f"{flag}: {file} cannot be read ({reason}).") from None


def _document(flag: str, path: str) -> str:
    try:
        with Path(path).expanduser().open(encoding="utf-8") as file:
            text = file.read(LONGEST_DOCUMENT + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise click.ClickException(f"{flag}: {path} cannot be read ({reason}).") from None
    if len(text) > LONGEST_DOCUMENT:
        raise click.ClickException(f"{flag}: {path} has more than {LONGEST_DOCUMENT // 1024} KiB.")
    return text
