# SPDX-License-Identifier: Apache-2.0
"""What can go wrong in the client, each with the exit code that Pulp 2's client gave it (those of BSD's sysexits.h).

Failure
├── WrongUse        64  the command line is incomplete or unknown
├── WrongData       65  a value is refused, a name is unknown or taken, a certificate is for another host
│   └── LogGap      65  the log does not continue from the requested number
├── ServerTrouble   70  the server failed, or its response is not understood
│   └── Busy        70  it is unavailable (502, 503, 504): the same request may succeed later
├── NoConnection    74  nobody responds at the address
│   └── NotSent     74  the request certainly did not reach the server
├── BrokenStream    74  standard input or output is full, closed or broken
├── NotAllowed      77  credentials are missing, wrong or not enough
├── WrongSettings   78  a configuration file or an address is invalid
└── WorkNotDone      1  the request succeeded, but the task failed or was cancelled
"""

from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, ClassVar, Final

from pulpit.errors import PulpitError

EXIT_INTERRUPTED: Final = 130
"""Exit code of a program that Ctrl-C ended: 128 plus the signal, as in shells."""


class Failure(PulpitError):
    """A failure's text is printed; it may have several lines."""

    exit_code: ClassVar[int] = 1


class WrongUse(Failure):
    """Check the usage and correct the command."""

    exit_code = 64


class WrongData(Failure):
    """Give other values."""

    exit_code = 65


class LogGap(WrongData):
    """The requested events were deleted, or never existed; the log has those from `first` to `last`."""

    def __init__(self, sentence: str, first: int, last: int) -> None:
        super().__init__(sentence)
        self.first = first
        self.last = last


class ServerTrouble(Failure):
    """Look into the server's log."""

    exit_code = 70


class Busy(ServerTrouble):
    """Retry later."""


class NoConnection(Failure):
    """Start the server, or fix the network, and retry."""

    exit_code = 74


class NotSent(NoConnection):
    """Start the server, or fix the network, and retry: nothing happened."""


class BrokenStream(Failure):
    """Check the source of input and the target of output."""

    exit_code = 74


class NotAllowed(Failure):
    """Log in as another user."""

    exit_code = 77


class WrongSettings(Failure):
    """Correct the configuration."""

    exit_code = 78


class WorkNotDone(Failure):
    """Look at the task."""


_DEEPEST: Final = 10
_PASSING: Final = frozenset({502, 503, 504})
"""Transient statuses of the server or of a proxy in front of it."""


class Asker(Enum):
    """The credentials that the server was sent."""

    NOBODY = "nobody"
    USER = "a user with a password"
    FIRST_PASSWORD = "the administrator, with the password in the data folder"  # noqa: S105 - words
    TOKEN = "a token"  # noqa: S105 - a word
    SESSION = "whoever logged in"


def refusal(status: int, body: Any, *, asker: Asker) -> Failure:
    """Return the failure for a status of 300 or more."""
    if not isinstance(body, dict):
        return trouble(status, f"The server answered with status {status} and no reason.")
    if status == 401:  # noqa: PLR2004 - HTTP's own figure
        return NotAllowed(_not_allowed(body, asker))
    if status == 410 and isinstance(body.get("first"), int) and isinstance(body.get("last"), int):  # noqa: PLR2004 - as above
        return LogGap(str(body.get("error_message") or "The log has a gap there."), body["first"], body["last"])
    teller = _TELLERS.get(status)
    if teller is not None:
        return WrongData(teller(body))
    told = list(descriptions(body.get("error"))) or [str(body.get("error_message") or "it does not say why")]
    request = f"{body.get('http_request_method') or 'request'} {body.get('_href') or ''}".strip()
    return trouble(status, f"The server failed with status {status} at {request}: " + "\n".join(told))


def trouble(status: int, sentence: str) -> ServerTrouble:
    """Return a failure of the server, transient or not."""
    return Busy(sentence) if status in _PASSING else ServerTrouble(sentence)


def descriptions(error: Any, depth: int = 0) -> Iterator[str]:
    """Yield the texts of a Pulp error and its causes."""
    if not isinstance(error, dict) or depth > _DEEPEST:
        return
    if error.get("description"):
        yield str(error["description"])
    for inner in error.get("sub_errors") or ():
        yield from descriptions(inner, depth + 1)


def _bad_request(body: dict[str, Any]) -> str:
    told = list(descriptions(body.get("error")))
    if told:
        return "\n".join(told)
    for key, words in (("property_names", "These values are not valid"), ("missing_property_names", "Still needed")):
        if isinstance(body.get(key), list):
            return f"{words}: {', '.join(map(str, body[key]))}"
    return f"The server does not accept the request: {body.get('error_message') or 'it does not say why'}"


def _not_found(body: dict[str, Any]) -> str:
    resources = body.get("resources")
    if not isinstance(resources, dict):
        return f"The server does not have that: {body.get('error_message') or 'it does not say what'}"
    lines = [f"  {name} ({kind})" for kind, name in resources.items()]
    return "\n".join(["These do not exist on the server:", *lines])


def _conflict(body: dict[str, Any]) -> str:
    if body.get("resource_id"):
        return f"There is one with this id already: {body['resource_id']}"
    reasons = body.get("reasons")
    if isinstance(reasons, list) and reasons:
        lines = ["Other work stands in the way:"]
        for reason in reasons:
            if isinstance(reason, dict):
                lines.append(
                    f"  {reason.get('operation')}: {reason.get('resource_id')} ({reason.get('resource_type')})"
                )
            else:
                lines.append(f"  {reason}")
        return "\n".join(lines)
    told = list(descriptions(body.get("error"))) or [str(body.get("error_message") or "the server does not say which")]
    return "A conflict: " + "\n".join(told)


def _not_allowed(body: dict[str, Any], asker: Asker) -> str:
    if asker is Asker.NOBODY:
        return (
            "The server wants to know who asks. Give a user with -u and the password with -p, --password-file or"
            " PULPIT_PASSWORD; on the server's own machine set PULPIT_DATA_DIR to the server's data folder."
        )
    if asker is Asker.TOKEN:
        return str(body.get("error_message") or "The server does not accept this token.")
    if body.get("auth_error_code") == "permission_denied":
        return "This user may not do that."
    if asker is Asker.SESSION:
        return "The session has ended; log in again with pulp-admin login, or give a user with -u."
    if asker is Asker.FIRST_PASSWORD:
        return (
            "The server does not accept the password of the file admin-password in the data folder on this machine: it"
            " was changed, or the file is another server's. Give a user with -u."
        )
    return "The server does not accept this user name and password."


_TELLERS: Final[dict[int, Callable[[dict[str, Any]], str]]] = {
    400: _bad_request,
    404: _not_found,
    409: _conflict,
    413: _bad_request,
}
