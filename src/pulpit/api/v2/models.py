"""The bodies of the API as types: for parsing by FastAPI, and for the OpenAPI document.

Values that cannot be checked by type alone (event types, configurations) are accepted unchecked and validated by the
endpoint, in Pulp 2's order; `SkipValidation` keeps their type in the description.
"""

from typing import Annotated, Any, Final

from pydantic import BaseModel, Field, SkipValidation, StrictBool, StrictInt, StrictStr

from pulpit.api.endpoints import Document

AnyList = Annotated[list[str] | None, SkipValidation]
AnyObject = Annotated[dict[str, Any] | None, SkipValidation]
AnyText = Annotated[str | None, SkipValidation]
Config = dict[str, Any]

V2: Final = "/pulp/api/v2"


class TaskReference(Document):
    """A reference to a task."""

    href: str = Field(alias="_href")
    task_id: str


class CallReport(Document):
    """The body of a 202: the tasks that were queued."""

    result: Any = None
    error: Any = None
    spawned_tasks: list[TaskReference]


class ObjectId(Document):
    """An id in MongoDB's form."""

    oid: str = Field(alias="$oid")


class TaskReport(Document):
    """A task."""

    href: str = Field(alias="_href")
    task_id: str
    task_type: str
    state: str
    tags: list[str]
    worker_name: str | None
    queue: str | None = None
    start_time: str | None
    finish_time: str | None
    progress_report: dict[str, Any]
    result: Any
    error: dict[str, Any] | None
    exception: None
    traceback: None
    spawned_tasks: list[TaskReference]
    id: str
    object_id: ObjectId = Field(alias="_id")


class SearchBody(BaseModel):
    """A search."""

    criteria: SkipValidation[dict[str, Any]]


class RepositorySearchBody(SearchBody):
    """A search for repositories, with their importers and distributors (`details`: both) if asked for."""

    importers: bool = False
    distributors: bool = False
    details: bool = False


class ContentSearchBody(SearchBody):
    """A search among the units of a type; `include_repos` adds the repositories that hold each."""

    include_repos: bool = False


class Selection(BaseModel):
    """What an action applies to: everything, without criteria."""

    criteria: SkipValidation[dict[str, Any]] = Field(default_factory=dict)


class ListenerFilterChanges(BaseModel):
    """A listener's filters; null or an empty list removes a filter."""

    repo_ids: AnyList = None
    results: AnyList = None
    packages: AnyList = None
    give_up_after: Annotated[int | None, SkipValidation] = None


class NewListener(ListenerFilterChanges):
    """A new listener."""

    notifier_type_id: AnyText = None
    notifier_config: AnyObject = None
    event_types: AnyList = None


class ListenerChanges(ListenerFilterChanges):
    """A change of a listener: the configuration key by key, the event types as a whole."""

    notifier_config: AnyObject = None
    event_types: AnyList = None


class ListenerDocument(Document):
    """A listener."""

    id: str
    notifier_type_id: str
    notifier_config: Config
    event_types: list[str]
    filters: dict[str, Any] = Field(alias="_filters")
    delivery: dict[str, Any] = Field(alias="_delivery")
    href: str = Field(alias="_href")
    object_id: ObjectId = Field(alias="_id")


class NewDistributor(BaseModel):
    """A new distributor."""

    distributor_type_id: StrictStr
    distributor_id: StrictStr | None = None
    distributor_config: Config | None = None
    auto_publish: StrictBool = False


class NewImporter(BaseModel):
    """A new importer."""

    importer_type_id: StrictStr
    importer_config: Config | None = None


class NewRepository(BaseModel):
    """A new repository, with or without importer and distributors."""

    id: StrictStr
    display_name: StrictStr | None = None
    description: StrictStr | None = None
    notes: dict[str, Any] | None = None
    importer_type_id: StrictStr | None = None
    importer_config: Config | None = None
    distributors: list[NewDistributor] | None = None


class RepositoryDelta(BaseModel):
    """Changes of a repository itself; an absent key is unchanged, a null note is deleted."""

    display_name: StrictStr | None = None
    description: StrictStr | None = None
    notes: dict[str, Any] | None = None


class RepositoryChanges(BaseModel):
    """An update of a repository, its importer and its distributors; configurations merge, null removes a key."""

    delta: RepositoryDelta | None = None
    importer_config: Config | None = None
    distributor_configs: dict[str, Config] | None = None


class ImporterChanges(BaseModel):
    """An update of an importer."""

    importer_config: Config


class DistributorDelta(BaseModel):
    """Changes of a distributor outside its configuration."""

    auto_publish: StrictBool | None = None


class DistributorChanges(BaseModel):
    """An update of a distributor."""

    distributor_config: Config = Field(default_factory=dict)
    delta: DistributorDelta | None = None


class RepositoryDocument(Document):
    """A repository; importers and distributors only on request."""

    id: str
    display_name: str | None
    description: str | None
    notes: dict[str, Any]
    scratchpad: dict[str, Any]
    content_unit_counts: dict[str, int]
    total_repository_units: int | None = None
    locally_stored_units: int | None = None
    last_unit_added: str | None
    last_unit_removed: str | None
    href: str = Field(alias="_href")
    object_id: ObjectId = Field(alias="_id")
    importers: list[dict[str, Any]] = Field(default_factory=list)
    distributors: list[dict[str, Any]] = Field(default_factory=list)


class UserDocument(Document):
    """A user."""

    login: str
    name: str
    role: str
    repo_ids: list[str] | None
    roles: list[str]
    href: str = Field(alias="_href")
    id: str


class CopyOrder(Selection):
    """A copy of units out of another repository."""

    source_repo_id: StrictStr
    override_config: Config | None = None


class UnitDocument(Document):
    """A unit of a repository, under `metadata`, and when it was added."""

    repo_id: str
    unit_id: str
    unit_type_id: str
    created: str
    updated: str
    metadata: dict[str, Any]
    object_id: ObjectId = Field(alias="_id")


class SyncOrder(BaseModel):
    """A sync."""

    override_config: Config | None = None


class PublishOrder(BaseModel):
    """A publish by one distributor."""

    id: StrictStr
    override_config: Config | None = None


class LoginDocument(Document):
    """A private key and a certificate, both as PEM."""

    key: str
    certificate: str


class NewUser(BaseModel):
    """A new user; `role` is `admin`, `operator` or `reader`, `repo_ids` restricts the latter two.

    Without a password the user cannot log in until one is set.
    """

    login: StrictStr
    password: StrictStr | None = None
    name: StrictStr | None = None
    role: StrictStr = "reader"
    repo_ids: list[StrictStr] | None = None


class RoleMember(BaseModel):
    """A new member of a role."""

    login: StrictStr


class NewRole(BaseModel):
    """A new role, which Pulpit does not support."""

    role_id: StrictStr
    display_name: StrictStr | None = None
    description: StrictStr | None = None


class PermissionsOfUser(BaseModel):
    """A user's permissions on a resource."""

    login: StrictStr
    resource: StrictStr
    operations: list[StrictStr]


class PermissionsOfRole(BaseModel):
    """A role's permissions on a resource."""

    role_id: StrictStr
    resource: StrictStr
    operations: list[StrictStr]


class UserDelta(BaseModel):
    """Changes of a user."""

    name: StrictStr | None = None
    password: StrictStr | None = None
    role: StrictStr | None = None
    roles: list[StrictStr] | None = None
    repo_ids: list[StrictStr] | None = None


class UserChanges(BaseModel):
    """An update of a user."""

    delta: UserDelta = Field(default_factory=UserDelta)


class Orphan(BaseModel):
    """One orphan to remove."""

    content_type_id: StrictStr
    unit_id: StrictStr


class Counted(Document):
    """The number of orphans of one type."""

    count: StrictInt
    href: str = Field(alias="_href")
