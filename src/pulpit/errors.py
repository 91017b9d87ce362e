# SPDX-License-Identifier: Apache-2.0
"""Every failure that a person may read, as one tree.

    PulpitError                     str(error) is one sentence: what was wrong and what to do
    ├── ConfigurationError          mend the named key and start again
    ├── InvalidValue                400: send other values for the named properties
    │   └── MissingValue            400: send the named properties
    ├── UnsupportedValue            400: leave the named properties out
    ├── MalformedRequest            400: the body is not JSON
    │   ├── WrongJsonType           400: the body is JSON, but not an object
    │   └── RequestTooLarge         413: send less at once
    ├── MissingResource             404: nothing stands under that name
    ├── DuplicateResource           409: choose another name
    ├── ConflictingOperation        409: wait until the other work has ended
    ├── AuthenticationFailed        401: log in with other credentials
    ├── PermissionDenied            401: log in as somebody with more rights (Pulp 2 never said 403)
    ├── TooManyAttempts             429: wait, then log in again
    ├── StorageFull                 507: make room, then ask again; nothing was accepted
    ├── DatabaseUnavailable         503: ask again in a moment; nothing was accepted
    ├── StorageUnavailable          503: the files cannot be reached; ask again when they can
    └── WorkFailed                  a sync, publish or other task cannot go on; it becomes the task's error

The codes (`PLP0009`, …) and HTTP statuses are those of Pulp 2, so that an error becomes a response without a table.
"""

from collections.abc import Sequence
from typing import Any, ClassVar


class PulpitError(Exception):
    """The root: its text is fit for a person and holds no secret."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "PLP0000"

    @property
    def data(self) -> dict[str, Any]:
        """What a program may read of it; these keys also stand at the top of a REST error body."""
        return {}


class ConfigurationError(PulpitError):
    """A key of the configuration has a value that cannot work."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key = key
        self.reason = reason


class InvalidValue(PulpitError):
    """Properties were given values that are not allowed."""

    status = 400
    code = "PLP0015"

    def __init__(self, property_names: str | Sequence[str], reason: str = "") -> None:
        names = [property_names] if isinstance(property_names, str) else list(property_names)
        super().__init__(f"Invalid value for {', '.join(names)}" + (f": {reason}" if reason else "."))
        self.property_names = names
        self.reason = reason

    @property
    def data(self) -> dict[str, Any]:
        """The names under Pulp 2's key."""
        return {"property_names": self.property_names}


class MissingValue(InvalidValue):
    """Properties that must be given are absent."""

    code = "PLP0016"

    def __init__(self, property_names: str | Sequence[str]) -> None:
        super().__init__(property_names)
        self.args = (f"Missing value for {', '.join(self.property_names)}.",)

    @property
    def data(self) -> dict[str, Any]:
        """The names under Pulp 2's key."""
        return {"missing_property_names": self.property_names}


class UnsupportedValue(InvalidValue):
    """Properties were given that nobody knows here."""

    code = "PLP0017"

    def __init__(self, property_names: str | Sequence[str]) -> None:
        super().__init__(property_names)
        self.args = (f"Unknown property {', '.join(self.property_names)}.",)


class MalformedRequest(PulpitError):
    """The request's body cannot be read as JSON."""

    status = 400
    code = "PLP1009"


class WrongJsonType(MalformedRequest):
    """The request's body is JSON, but not an object."""

    code = "PLP1015"


class RequestTooLarge(MalformedRequest):
    """The request's body is longer than this resource takes."""

    status = 413
    code = "PLP0000"


class MissingResource(PulpitError):
    """Nothing stands under the given names: `MissingResource(repository="zoo")`."""

    status = 404
    code = "PLP0009"

    def __init__(self, **resources: str) -> None:
        super().__init__("Missing resource: " + ", ".join(f"{kind}={name}" for kind, name in resources.items()))
        self.resources = resources

    @property
    def data(self) -> dict[str, Any]:
        """Kind and name of what is missing."""
        return {"resources": self.resources}


class DuplicateResource(PulpitError):
    """The name is taken."""

    status = 409
    code = "PLP0018"

    def __init__(self, resource_id: str) -> None:
        super().__init__(f"A resource with the id {resource_id} already exists.")
        self.resource_id = resource_id

    @property
    def data(self) -> dict[str, Any]:
        """The taken name."""
        return {"resource_id": self.resource_id}


class ConflictingOperation(PulpitError):
    """Other work on the same thing forbids this now."""

    status = 409
    code = "PLP0010"


class AuthenticationFailed(PulpitError):
    """The credentials are missing or wrong."""

    status = 401
    code = "PLP0025"
    auth_error_code: ClassVar[str] = "authentication_failed"

    @property
    def data(self) -> dict[str, Any]:
        """The word that the original client looks for."""
        return {"auth_error_code": self.auth_error_code}


class PermissionDenied(AuthenticationFailed):
    """The user may not do this."""

    code = "PLP0026"
    auth_error_code: ClassVar[str] = "permission_denied"


class TooManyAttempts(PulpitError):
    """Too many passwords from one address wait to be judged; `retry_after` is in seconds."""

    status = 429

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"Too many logins from this address wait already; try again in {retry_after} s.")
        self.retry_after = retry_after


class StorageFull(PulpitError):
    """The disk has no room for what was asked; nothing of it was done."""

    status = 507


class DatabaseUnavailable(PulpitError):
    """The database does not answer now, or not in time; nothing was done."""

    status = 503


class StorageUnavailable(PulpitError):
    """The object store or the shared folder does not do what it should; nothing is known of the files in it."""

    status = 503


class WorkFailed(PulpitError):
    """A task cannot go on: the upstream, the network or the content is at fault, and the text says how."""

    code = "PLP0000"
