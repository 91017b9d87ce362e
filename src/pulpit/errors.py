# SPDX-License-Identifier: Apache-2.0
"""Every failure that a user may see, as one tree.

    PulpitError                     str(error) is one sentence: what was wrong and what to do
    ├── ConfigurationError          correct the named key and start again
    ├── InvalidValue                400: send other values for the named properties
    │   └── MissingValue            400: send the named properties
    ├── UnsupportedValue            400: omit the named properties
    ├── MalformedRequest            400: the body is not JSON
    │   ├── WrongJsonType           400: the body is JSON, but not an object
    │   └── RequestTooLarge         413: send less at once
    ├── MissingResource             404: nothing has that name
    ├── DuplicateResource           409: choose another name
    ├── ConflictingOperation        409: wait until the other task has ended
    ├── AuthenticationFailed        401: log in with other credentials
    ├── PermissionDenied            401: log in as a user with more permissions (Pulp 2 never sent 403)
    ├── TooManyAttempts             429: wait, then log in again
    ├── StorageFull                 507: free some space, then retry; nothing was accepted
    ├── DatabaseUnavailable         503: retry later; nothing was accepted
    ├── StorageUnavailable          503: the file storage cannot be reached; retry later
    └── WorkFailed                  a sync, publish or other task cannot go on; it becomes the task's error

The codes (`PLP0009`, …) and HTTP statuses are those of Pulp 2, so that an error becomes a response without a table.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar


class PulpitError(Exception):
    """The root: its text is written for users and holds no secret."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "PLP0000"
    data: Mapping[str, Any] = MappingProxyType({})
    """The machine-readable part, under Pulp 2's keys; they also appear at the top level of a REST error body."""


class ConfigurationError(PulpitError):
    """A key of the configuration has an invalid value."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key = key
        self.reason = reason


class InvalidValue(PulpitError):
    """Properties have values that are not allowed."""

    status = 400
    code = "PLP0015"

    def __init__(self, property_names: str | Sequence[str], reason: str = "") -> None:
        names = [property_names] if isinstance(property_names, str) else list(property_names)
        super().__init__(f"Invalid value for {', '.join(names)}" + (f": {reason}" if reason else "."))
        self.property_names = names
        self.reason = reason
        self.data = {"property_names": names}


class MissingValue(InvalidValue):
    """Required properties are missing."""

    code = "PLP0016"

    def __init__(self, property_names: str | Sequence[str]) -> None:
        super().__init__(property_names)
        self.args = (f"Missing value for {', '.join(self.property_names)}.",)
        self.data = {"missing_property_names": self.property_names}


class UnsupportedValue(InvalidValue):
    """The request has unknown properties."""

    code = "PLP0017"

    def __init__(self, property_names: str | Sequence[str]) -> None:
        super().__init__(property_names)
        self.args = (f"Unknown property {', '.join(self.property_names)}.",)
        self.data = {"property_names": self.property_names, "unsupported_property_names": self.property_names}


class MalformedRequest(PulpitError):
    """The request's body cannot be read as JSON."""

    status = 400
    code = "PLP1009"


class WrongJsonType(MalformedRequest):
    """The request's body is JSON, but not an object."""

    code = "PLP1015"


class RequestTooLarge(MalformedRequest):
    """The request's body is longer than this resource accepts."""

    status = 413
    code = "PLP0000"


class MissingResource(PulpitError):
    """Nothing has the given name: `MissingResource(repository="zoo")`."""

    status = 404
    code = "PLP0009"

    def __init__(self, **resources: str) -> None:
        super().__init__("Missing resource: " + ", ".join(f"{kind}={name}" for kind, name in resources.items()))
        self.resources = resources
        self.data = {"resources": resources}


class DuplicateResource(PulpitError):
    """The name is taken."""

    status = 409
    code = "PLP0018"

    def __init__(self, resource_id: str) -> None:
        super().__init__(f"A resource with the id {resource_id} already exists.")
        self.resource_id = resource_id
        self.data = {"resource_id": resource_id}


class ConflictingOperation(PulpitError):
    """Another operation on the same resource forbids this one now."""

    status = 409
    code = "PLP0010"


class AuthenticationFailed(PulpitError):
    """The credentials are missing or wrong."""

    status = 401
    code = "PLP0025"
    auth_error_code: ClassVar[str] = "authentication_failed"
    """What the original client looks for."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.data = {"auth_error_code": self.auth_error_code}


class PermissionDenied(AuthenticationFailed):
    """The user may not do this."""

    code = "PLP0026"
    auth_error_code: ClassVar[str] = "permission_denied"


class TooManyAttempts(PulpitError):
    """Too many logins from one address are waiting for verification; `retry_after` is in seconds."""

    status = 429

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"Too many logins from this address wait already; try again in {retry_after} s.")
        self.retry_after = retry_after


class StorageFull(PulpitError):
    """The disk is full; nothing was done."""

    status = 507


class DatabaseUnavailable(PulpitError):
    """The database is unavailable or timed out; nothing was done."""

    status = 503


class StorageUnavailable(PulpitError):
    """The object store or the shared folder is unavailable; the state of its files is unknown."""

    status = 503


class WorkFailed(PulpitError):
    """A task cannot go on because of the upstream, the network or the content; the text says why."""

    code = "PLP0000"
