"""`event listener KIND create` and `update`, generated from the options of each kind.

Pulpit's own kinds are known here. Kinds of the server's plug-ins are requested from the server when they are named.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from pulpit.admin.grammar import (
    BOOLEAN,
    CLEAR,
    COUNT,
    NOTHING_TO_CHANGE,
    TEXT,
    Clearable,
    Command,
    Group,
    given,
    secret,
)
from pulpit.admin.session import Session
from pulpit.client.failures import Failure, ServerTrouble, WrongData
from pulpit.client.options import Decorator, Duration, with_options
from pulpit.client.server import path_of, v1_path
from pulpit.client.settings import secret_lines
from pulpit.events import EVENT_TYPES, PULP_TYPES, TEST
from pulpit.listener_options import BUILT_IN, LONGEST_DOCUMENT, ListenerKind, Option, OptionType
from pulpit.text import shown, system_reason

EVENT_TYPE_CHOICES: Final = (*sorted(PULP_TYPES), "*", *sorted(EVENT_TYPES - PULP_TYPES - {TEST}), "#")
"""Names for the help text: Pulp 2's types and its `*`, then Pulpit's own."""

LISTENER_ID: Final = click.option("--listener-id", required=True, help="The listener's id, as `list` shows it.")


def _event_type(*, required: bool) -> Decorator:
    return click.option(
        "--event-type",
        "event_types",
        multiple=True,
        required=required,
        shell_complete=lambda _context, _parameter, begun: [
            CompletionItem(name) for name in EVENT_TYPE_CHOICES if name.startswith(begun)
        ],
        help=f"One of {', '.join(sorted(PULP_TYPES))}, * (all of these and of other systems), another type, or a "
        "pattern such as repo.*.finish; # is everything. May be repeated.",
    )


_FILTERS: Final = (
    click.option(
        "--repo-id",
        "repo_ids",
        multiple=True,
        metavar="PATTERN",
        help="Only events of repositories that match; may be repeated.",
    ),
    click.option("--result", "results", multiple=True, help="Only with this result, such as failed; may be repeated."),
    click.option(
        "--package",
        "packages",
        multiple=True,
        metavar="PATTERN",
        help="Only events that changed such a package, such as 'openssl*'; may be repeated.",
    ),
    click.option(
        "--give-up-after",
        type=Clearable(Duration()),
        help="How long an event is tried before it becomes a dead letter, such as 12h; 3d otherwise.",
    ),
)


class ListenerGroup(Group):
    """`event listener`, whose commands are verbs and kinds; unknown kinds are looked up on the server."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Find a verb or a kind."""
        command = super().get_command(ctx, cmd_name)
        if command is None and not ctx.resilient_parsing and isinstance(session := ctx.find_object(Session), Session):
            try:
                kind = next((kind for kind, _ in kinds_of(session) if kind.id == cmd_name), None)
            except Failure as error:
                reason = (
                    f"No such command {cmd_name!r}, and the server could not be asked for kinds of its own: {error}"
                )
                raise click.UsageError(reason, ctx) from None
            command = group_of(kind) if kind else None
        return command


def kinds_of(session: Session) -> list[tuple[ListenerKind, Mapping[str, Any]]]:
    """Return the kinds of the server, each with the server's description.

    Raises:
        ServerTrouble: the response is not understood.
    """
    found = session.server.get(v1_path("notifiers"))
    try:
        return [(_kind(document), document) for document in found["notifiers"]]
    except (KeyError, TypeError, ValueError):
        raise ServerTrouble("The server does not say which kinds of listeners it has.") from None


def _kind(document: Mapping[str, Any]) -> ListenerKind:
    names = ("name", "help", "required", "secret", "metavar", "flag", "given_openly")
    options = tuple(
        Option(
            **{name: option[name] for name in names},
            type=OptionType(option["type"]),
            choices=tuple(option["choices"]),
        )
        for option in document["options"]
    )
    kind = ListenerKind(id=str(document["id"]), summary=str(document["summary"]), options=options)
    if flaw := kind.flaw():
        raise ValueError(flaw)
    return kind


def group_of(kind: ListenerKind) -> Group:
    """Return the commands of a kind."""
    group = Group(kind.id, help=kind.summary, short_help=kind.summary)

    def create(session: Session, /, *, event_types: tuple[str, ...], **options: Any) -> None:
        config = _config(kind, options)
        body = {"notifier_type_id": kind.id, "notifier_config": config, "event_types": list(event_types)}
        answer = session.server.post(path_of("events"), body | _chosen_filters(**options))
        name = answer.get("id") if isinstance(answer, dict) else None
        session.screen.succeeded(f"Event listener created: {name}" if name else "Event listener created.", answer)

    def update(session: Session, /, *, listener_id: str, event_types: tuple[str, ...], **options: Any) -> None:
        """Without any change Pulp 2 printed a message and exited with 0, and so does this."""
        config = _config(kind, options)
        body = _chosen_filters(**options)
        if config:
            body["notifier_config"] = config
        if event_types:
            body["event_types"] = list(event_types)
        if not body:
            session.screen.warn(NOTHING_TO_CHANGE)
            return
        answer = session.server.put(path_of("events", listener_id), body)
        session.screen.succeeded("Event listener updated.", answer)

    of_kind = [decorator for option in kind.options for decorator in _options(option, creating=True)]
    decorators = (_event_type(required=True), *of_kind, *_FILTERS)
    group.add_command(_command("create", f"Create a listener of kind {kind.id}.", create, decorators))
    of_kind = [decorator for option in kind.options for decorator in _options(option, creating=False)]
    decorators = (LISTENER_ID, _event_type(required=False), *of_kind, *_FILTERS)
    pairs = " and ".join(option.option for option in kind.options if option.type is OptionType.PAIRS)
    replaced = f"; {pairs} replaces all that were there" if pairs else ""
    group.add_command(_command("update", f"Change a listener of kind {kind.id}{replaced}.", update, decorators))
    return group


def _command(name: str, help_text: str, run: Callable[..., None], decorators: tuple[Decorator, ...]) -> click.Command:
    return click.command(name, cls=Command, help=help_text)(with_options(*decorators)(click.pass_obj(run)))


def _options(option: Option, *, creating: bool) -> list[Decorator]:
    """Return the command options for one declared option; a secret text may have two."""
    required = option.required and creating
    if option.type is OptionType.PAIRS:
        text = f"{option.help.rstrip('.')}; may be repeated."
        one_by_one = click.option(
            option.option, option.name, multiple=True, required=required, metavar="NAME=VALUE", help=text
        )
        if not option.secret:
            return [one_by_one]
        text = "The same, a line NAME=VALUE each, from a file of mode 0600, which others on this machine do not see."
        return [one_by_one, click.option(option.option_of_file, f"{option.name}_file", metavar="PATH", help=text)]
    if option.is_from_file:
        text = f"{option.help} Read from a file of mode 0600, or from -."
        from_file = click.option(
            option.option_of_file, f"{option.name}_file", type=TEXT, metavar="PATH", required=required, help=text
        )
        if not option.given_openly:
            return [from_file]
        openly = f"{option.help} Visible to others on this machine; better {option.option_of_file}."
        return [click.option(option.option, option.name, type=TEXT, help=openly), from_file]
    kind: click.ParamType[Any] = TEXT
    match option.type:
        case OptionType.NUMBER:
            kind = COUNT
        case OptionType.FLAG:
            kind = BOOLEAN
        case OptionType.TEXT if option.choices:
            kind = Clearable(click.Choice(option.choices))
    metavar = (
        option.metavar
        or ("FILE" if option.type is OptionType.DOCUMENT else None)
        or (f"[{'|'.join(option.choices)}]" if option.choices else None)
    )
    return [click.option(option.option, option.name, type=kind, required=required, metavar=metavar, help=option.help)]


def _config(kind: ListenerKind, options: dict[str, Any]) -> dict[str, Any]:
    """Remove the kind's options from `options` and return the configuration; null for cleared ones."""
    config: dict[str, Any] = {}
    for option in kind.options:
        value = options.pop(option.name, None)
        if option.is_from_file:
            path = options.pop(f"{option.name}_file")
            value = secret(value, path) if path is not CLEAR else CLEAR
        elif option.type is OptionType.PAIRS:
            path = options.pop(f"{option.name}_file", None)
            lines = secret_lines(Path(path), option.option_of_file) if path else []
            value = _pairs(option, (*value, *lines))
        elif option.type is OptionType.LIST:
            value = _values(option, value)
        elif option.type is OptionType.DOCUMENT and isinstance(value, str):
            value = _document(option, value)
        config[option.name] = value
    return given(**config)


def _document(option: Option, path: str) -> str:
    """Read the file that an option names.

    Raises:
        WrongData: it cannot be read, or is too long.
    """
    try:
        with Path(path).open(encoding="utf-8") as file:
            text = file.read(LONGEST_DOCUMENT + 1)
    except (OSError, ValueError) as error:
        reason = system_reason(error) if isinstance(error, OSError) else "it is not UTF-8"
        raise WrongData(f"{option.option} {shown(path, 200)} cannot be read: {reason}.") from None
    if len(text) > LONGEST_DOCUMENT:
        raise WrongData(f"{option.option} {shown(path, 200)} has more than {LONGEST_DOCUMENT // 1024} KiB.")
    return text


def _pairs(option: Option, given_pairs: tuple[str, ...]) -> Any:
    """Parse `NAME=VALUE` options; a lone "" clears all."""
    if given_pairs == ("",):
        return CLEAR
    pairs = {}
    for pair in given_pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise WrongData(f"{option.option} must look like NAME=VALUE.")
        pairs[name] = value
    return pairs or None


def _values(option: Option, text: Any) -> Any:
    if text is None or (text is CLEAR and not option.required):
        return text
    found = [part.strip() for part in ("" if text is CLEAR else text).split(",") if part.strip()]
    if not found:
        raise WrongData(f"{option.option} must name at least one value.")
    return found


def _chosen_filters(
    repo_ids: tuple[str, ...], results: tuple[str, ...], packages: tuple[str, ...], give_up_after: Any
) -> dict[str, Any]:
    """Return the filters that were given; "" clears one."""
    lists = {"repo_ids": repo_ids, "results": results, "packages": packages}
    named = {key: [value for value in values if value] for key, values in lists.items() if values}
    return {**named, **given(give_up_after=give_up_after)}


GROUPS: Final[Mapping[str, Group]] = {name: group_of(kind) for name, kind in BUILT_IN.items()}
"""The commands of Pulpit's own kinds."""
