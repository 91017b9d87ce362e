"""From a row of the outbox to events: Pulp 2's payload, and Pulp 3's own fields under `pulp3`.

A row of an end also contains the data of its start, because a start that was not recorded must be fired first.
Nothing here reads a database or a clock.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from pulpit import events
from pulpit.ids import derived_uuid7
from pulpit.pulp3.redaction import redacted
from pulpit.store import history, tasks
from pulpit.store.history import Record
from pulpit.store.tasks import Task
from pulpit.tasks.completion import error_report
from pulpit.tasks.reports import call_report, history_report

START: Final = "start"
FINISH: Final = "finish"
WAITING: Final = "waiting"
PUBLICATION: Final = "publication"
DEFAULT_DOMAIN: Final = "default"
LONGEST_REPO_ID: Final = 255
MOST_LINES: Final = 200
"""Lines of a traceback."""

_SYNC_NAME: Final = re.compile(r"\.(?:synchronize|sync)\Z")
_PUBLISH_NAME: Final = re.compile(r"\.(?:publish|publish_verbatim)\Z")
_STATES: Final = {
    "waiting": tasks.WAITING,
    "running": tasks.RUNNING,
    "canceling": tasks.RUNNING,
    "completed": tasks.FINISHED,
    "failed": tasks.ERROR,
    "canceled": tasks.CANCELED,
    "skipped": tasks.CANCELED,
}
_RESULTS: Final = {"completed": "success", "failed": "error", "canceled": "canceled", "skipped": "canceled"}
_UNSAID: Final = {
    "failed": "Pulp says no more than that the task failed.",
    "canceled": "The task was canceled.",
    "skipped": "The task was skipped.",
}
_PLACES: Final = {"file.file": "file/file", "rpm.rpm": "rpm/rpm", "python.python": "python/python"}
_PUBLICATIONS: Final = {"file.file": "file/file", "rpm.rpm": "rpm/rpm", "python.python": "python/pypi"}
"""Paths in Pulp's API for known types; others are identified by PRN."""
_HEX_TRACE: Final = re.compile(r"(?!0{32})[0-9a-f]{32}\Z")

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A row of `pulpit.outbox`."""

    id: int
    subject: str
    object: str
    phase: str
    task: str
    at: datetime
    data: Json
    made_up: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class NewEvent:
    event_type: str
    repo_id: str | None
    payload: Json
    call_report: Json
    traceparent: str
    event_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RowEvents:
    waiting: Sequence[NewEvent] = ()
    start: Sequence[NewEvent] = ()
    """To be fired unless it was already."""
    finish: Sequence[NewEvent] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Translator:
    """Translates the rows of one Pulp."""

    pulp: str = ""
    """Its name in the configuration."""
    root: str = "/pulp/"
    """The path of its API before `api/v3/`."""
    has_domains: bool = False
    every_task: bool = False

    def translate(self, row: Row, begun: Json | None, changed: Mapping[str, Json]) -> RowEvents:
        """Translate a row.

        Args:
            row: of the outbox.
            begun: the data of the start's row, if known.
            changed: what versions have added and removed by name, by the version's id.
        """
        piece = _Piece(self, row, {**(begun or {}), **{k: v for k, v in row.data.items() if v is not None}}, changed)
        if row.phase == WAITING:
            return RowEvents(waiting=piece.task_events("waiting"))
        running = piece.task_events("running")
        if row.phase == START:
            return RowEvents(start=[*running, *piece.starts()])
        return RowEvents(
            start=[*running, *piece.starts()],
            finish=[*piece.versions(), *piece.finishes(), *piece.task_events(str(piece.task["state"]))],
        )

    def repo_id(self, repository: Json) -> str:
        """Return the repository id for events: its name, prefixed by domain and Pulp where there are several."""
        domain = repository.get("domain") or DEFAULT_DOMAIN
        before = f"{self.pulp}:" if self.pulp else ""
        name = before + ("" if domain == DEFAULT_DOMAIN else f"{domain}/") + str(repository["name"])
        if len(name) <= LONGEST_REPO_ID:
            return name
        return f"{name[: LONGEST_REPO_ID - 37]}~{repository['id']}"

    def href(self, domain: str | None, path: str) -> str:
        """Return the path of an object in Pulp's API."""
        return f"{self.root}{f'{domain or DEFAULT_DOMAIN}/' if self.has_domains else ''}api/v3/{path}/"


@dataclass(slots=True)
class _Piece:
    """One row during translation; the data of the start fills in what the row itself lacks."""

    translator: Translator
    row: Row
    data: Json
    changed: Mapping[str, Json]
    task: Json = field(init=False)
    kind: str | None = field(init=False)
    version: Json | None = field(init=False)
    repository: Json | None = field(init=False)
    report: Json = field(init=False)

    def __post_init__(self) -> None:
        self.task = self.data["task"]
        name = str(self.task.get("name"))
        of_task = history.SYNC if _SYNC_NAME.search(name) else history.PUBLISH if _PUBLISH_NAME.search(name) else None
        self.kind = history.PUBLISH if self.row.subject == PUBLICATION else of_task
        made = self.data.get("created") or []
        versions = [item["version"] for item in made if item.get("version")]
        publications = [item["publication"]["version"] for item in made if item.get("publication")]
        own = self.data.get("version") or next(iter([*versions[::-1], *publications[::-1]]), None)
        self.version = own if self.kind == history.PUBLISH else next(iter(versions[::-1]), None)
        self.repository = self.data.get("repository") or (own or {}).get("repository")
        self.report = self._call_report()

    @property
    def domain(self) -> str | None:
        """The domain of the task, or else that of its repository."""
        found = self.data.get("domain") or (self.repository or {}).get("domain")
        return None if found is None else str(found)

    @property
    def repo_id(self) -> str | None:
        return None if self.repository is None else self.translator.repo_id(self.repository)

    def starts(self) -> list[NewEvent]:
        if self.kind is None:
            return []
        payload: Json = {"repo_id": self.repo_id or self.row.task}
        if self.kind == history.PUBLISH:
            payload["distributor_id"] = self._plugin()[0]
        event_type = events.SYNC_START if self.kind == history.SYNC else events.PUBLISH_START
        return [self._event(event_type, payload | {"pulp3": self._words(version=None, publication=None)})]

    def finishes(self) -> list[NewEvent]:
        if self.kind is None:
            return []
        state = str(self.data.get("state") or self.task["state"])
        message, traceback = self._error(state)
        counted = self.kind == history.SYNC and (state == "completed" or self.version is not None)
        counts = counts_of(self.version)
        plugin_id, plugin_type_id = self._plugin()
        record = Record(
            id=self.row.object.replace("-", "")[-24:],
            kind=self.kind,
            repo_id=self.repo_id or self.row.task,
            plugin_id=plugin_id,
            plugin_type_id=plugin_type_id,
            task_id=self.row.task,
            started=self._begun_at(),
            completed=_moment(self.task.get("finished_at")) if self.row.subject != PUBLICATION else self.row.at,
            result=_RESULTS.get(state, "error"),
            added_count=sum(counts["A"].values()) if counted else None,
            updated_count=0 if counted else None,
            removed_count=sum(counts["R"].values()) if counted else None,
            summary={"added": counts["A"], "removed": counts["R"], "present": counts["P"]} if self.version else None,
            details={"progress": self._progress()},
            error_message=message,
            exception=None,
            traceback=traceback,
        )
        event_type = events.SYNC_FINISH if self.kind == history.SYNC else events.PUBLISH_FINISH
        words = self._words(version=self.version, publication=self._publication())
        return [self._event(event_type, history_report(record) | {"pulp3": words})]

    def versions(self) -> list[NewEvent]:
        """Return an event for each version that the task created and that still exists."""
        found = []
        for item in self.data.get("created") or []:
            version = item.get("version")
            if not version or not version.get("complete") or not version.get("repository"):
                continue
            counts = counts_of(version)
            repo_id = self.translator.repo_id(version["repository"])
            repository = self._named(version["repository"], "repository")
            words = self._words(version=version, publication=None) | {"repository": repository}
            payload = {
                "repo_id": repo_id,
                "version": version["number"],
                "added_count": sum(counts["A"].values()),
                "removed_count": sum(counts["R"].values()),
                "present_count": sum(counts["P"].values()),
                "pulp3": words,
            }
            event = self._event(events.REPO_VERSION_CREATE, payload, repo_id=repo_id, part=str(version["id"]))
            found.append(event)
        return found

    def task_events(self, state: str) -> list[NewEvent]:
        """Return the events about any task, if they are enabled."""
        if not self.translator.every_task or self.row.subject == PUBLICATION:
            return []
        word = _STATES.get(state, tasks.ERROR)
        payload = {
            "task_id": self.row.task,
            "task_type": self.task["name"],
            "state": word,
            "tags": self.report["tags"],
            "repo_id": self.repo_id,
            "pulp3": self._words(version=None, publication=None),
        }
        return [self._event(f"tasks.{word}", payload)]

    def _event(self, event_type: str, payload: Json, *, repo_id: str | None = None, part: str = "") -> NewEvent:
        seed = f"{self.translator.pulp}/{self.row.object}/{event_type}/{part}"
        ends = event_type in (events.SYNC_FINISH, events.PUBLISH_FINISH, events.REPO_VERSION_CREATE)
        moment = _moment(self.task.get("finished_at" if ends else "started_at"))
        event_id = derived_uuid7((moment if self.row.subject != PUBLICATION else None) or self.row.at, seed)
        return NewEvent(
            event_type=event_type,
            repo_id=repo_id or self.repo_id,
            payload=payload,
            call_report=self.report,
            traceparent=_traceparent(self.task.get("logging_cid"), self.row.task, event_id),
            event_id=event_id,
        )

    def _words(self, *, version: Json | None, publication: Json | None) -> Json:
        translator, remote = self.translator, self.data.get("remote")
        return {
            "pulp": translator.pulp or None,
            "domain": self.domain,
            "task": {
                "pulp_href": translator.href(self.domain, f"tasks/{self.row.task}"),
                "prn": f"prn:core.task:{self.row.task}",
                "name": self.task["name"],
                "state": self.task["state"],
                "logging_cid": self.task.get("logging_cid"),
            },
            "repository": self.repository and self._named(self.repository, "repository"),
            "remote": remote and self._named(remote, "remote"),
            "version": version and self._version(version),
            "publication": publication,
            "made_up": self.row.made_up,
        }

    def _named(self, thing: Json, what: str) -> Json:
        """Return a repository or a remote; its API path is known for the types of `_PLACES`."""
        place = _PLACES.get(thing["type"])
        folder = "repositories" if what == "repository" else "remotes"
        app, _, name = str(thing["type"]).partition(".")
        prn = f"prn:{app}.{name}{what}:{thing['id']}" if place else None
        is_reserved = thing is self.data.get("repository")
        return {
            "pulp_href": place and self.translator.href(self.domain, f"{folder}/{place}/{thing['id']}"),
            "prn": (self.data.get("repository_prn") if is_reserved else None) or prn,
            "name": thing["name"],
            "type": thing["type"],
        }

    def _version(self, version: Json) -> Json:
        counts = counts_of(version)
        repository = version.get("repository") or {}
        place = _PLACES.get(str(repository.get("type")))
        path = place and f"repositories/{place}/{repository['id']}/versions/{version['number']}"
        return {
            "pulp_href": path and self.translator.href(self.domain, path),
            "prn": f"prn:core.repositoryversion:{version['id']}",
            "number": version["number"],
            "added": counts["A"],
            "removed": counts["R"],
            "present": counts["P"],
            "changed": self.changed.get(str(version["id"])),
        }

    def _publication(self) -> Json | None:
        if self.row.subject == PUBLICATION:
            given = {"id": self.row.object, "type": self.data["type"], **self.data}
        else:
            made = [item for item in self.data.get("created") or [] if item.get("publication")]
            if not made or self.kind != history.PUBLISH:
                return None
            given = {**made[-1], "type": made[-1]["publication"]["type"]}
        own = self.row.object if self.row.subject == PUBLICATION else given["id"]
        place = _PUBLICATIONS.get(given["type"])
        return {
            "pulp_href": place and self.translator.href(self.domain, f"publications/{place}/{own}"),
            "prn": f"prn:{given['app']}.{given['model']}:{own}",
            "name": str(own),
            "type": given["type"],
        }

    def _plugin(self) -> tuple[str, str]:
        """Return Pulp 2's name of the importer or the distributor, and its type."""
        kind = str((self.repository or {}).get("type") or "unknown")
        remote = self.data.get("remote")
        return (str(remote["name"]) if remote and self.kind == history.SYNC else kind), kind

    def _error(self, state: str) -> tuple[str | None, list[str] | None]:
        if state == "completed":
            return None, None
        error = self.task.get("error") or {}
        said = error.get("description") or error.get("reason")  # `reason` if the task's worker died
        description = str(said or "") or _UNSAID.get(state) or "The publication was given up."
        traceback = error.get("traceback")
        lines = [redacted(line) for line in str(traceback).splitlines()[-MOST_LINES:]] if traceback else None
        return redacted(description), lines

    def _progress(self) -> list[Json]:
        reports = self.data.get("progress") or []
        return [report | {"message": redacted(str(report.get("message") or ""))} for report in reports]

    def _begun_at(self) -> datetime:
        own = _moment(self.data.get("begun_at")) if self.row.subject == PUBLICATION else None
        moments = (own, _moment(self.task.get("started_at")), _moment(self.task.get("finished_at")), self.row.at)
        return next(moment for moment in moments if moment)

    def _call_report(self) -> Json:
        task = self.task
        state = str(task["state"])
        message, _ = self._error(state) if state in _UNSAID else (None, None)
        tags = [f"pulp:repository:{self.repo_id}"] if self.repo_id else []
        tags += [f"pulp:action:{self.kind}"] if self.kind else []
        created = _moment(task.get("pulp_created")) or self.row.at
        report = Task(
            object_id=self.row.task.replace("-", "")[-24:],
            id=self.row.task,
            task_type=str(task["name"]),
            arguments={},
            tags=tags,
            resource=None,
            state=_STATES.get(state, tasks.ERROR),
            principal_login=None,
            parent_id=task.get("parent_task_id"),
            worker_name=None,
            cancel_requested=False,
            created_at=created,
            start_time=_moment(task.get("started_at")),
            finish_time=_moment(task.get("finished_at")),
            progress_report={"progress": progress} if (progress := self._progress()) else {},
            result=None,
            error=None if message is None else error_report(message),
            spawned=[],
            schedule_id=None,
        )
        href = self.translator.href(self.domain, f"tasks/{self.row.task}")
        return call_report(report) | {"_href": href, "task_group_id": task.get("task_group_id")}


def counts_of(version: Mapping[str, Any] | None) -> dict[str, dict[str, int]]:
    """Return the numbers of units that a version added (`A`), removed (`R`) and contains (`P`), by type.

    In an outbox of version 2 they are sorted already.
    """
    given = (version or {}).get("counts") or []
    listed = given if isinstance(given, list) else [(word, *pair) for word in given for pair in given[word].items()]
    counts: dict[str, dict[str, int]] = {"A": {}, "R": {}, "P": {}}
    for word, kind, count in listed:
        counts.setdefault(word, {})[kind] = count
    return counts


def _traceparent(correlation_id: Any, task: str, event_id: str) -> str:
    """Return the trace for Pulp's correlation id, and a span for the event."""
    given = str(correlation_id or task).replace("-", "").lower()
    trace = given if _HEX_TRACE.match(given) else hashlib.sha256(given.encode()).hexdigest()[:32]
    return f"00-{trace}-{event_id.replace('-', '')[-16:]}-01"


def _moment(text: Any) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if isinstance(text, str) else None


def api_root(api_url: str) -> str:
    """Return the path with which every `pulp_href` begins."""
    path = urlsplit(api_url).path.strip("/") if api_url else "pulp"
    return f"/{path or 'pulp'}/"
