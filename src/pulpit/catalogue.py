# SPDX-License-Identifier: Apache-2.0
"""The contract of Pulpit's own events: a JSON Schema (2020-12) for the body of every type, and an AsyncAPI document.

A consumer may rely on every required key. Within a version, keys may be added but never removed. The version is part of
the schema's `$id`; a breaking change gets a new one.
"""

from typing import Any, Final

from pulpit import events
from pulpit.events import EVENT_TYPES, SUBJECT_PREFIX

VERSION: Final = 1
Schema = dict[str, Any]


def _object(
    properties: Schema, *, optional: Schema | None = None, description: str = "", or_null: bool = False
) -> Schema:
    """Return the schema of an object in which all but the optional properties are required."""
    schema: Schema = {"type": ["object", "null"] if or_null else "object", "required": sorted(properties)}
    schema |= {"description": description} if description else {}
    return schema | {"properties": {**properties, **(optional or {})}}


_TEXT: Final[Schema] = {"type": "string"}
_TEXT_OR_NULL: Final[Schema] = {"type": ["string", "null"]}
_COUNT: Final[Schema] = {"type": ["integer", "null"]}
_TIME: Final[Schema] = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"}
_TIME_OR_NULL: Final[Schema] = {**_TIME, "type": ["string", "null"]}
_TEXTS_OR_NULL: Final[Schema] = {"type": ["array", "null"], "items": _TEXT}
_ANYTHING: Final[Schema] = {}

_UNIT: Final[Schema] = {
    "type": _TEXT,
    "id": _TEXT,
    "name": _TEXT,
    "version": _TEXT_OR_NULL,
    "arch": _TEXT_OR_NULL,
    "file": _TEXT_OR_NULL,
    "purl": _TEXT_OR_NULL,
}
_ADVISORY: Final = _object(
    {"type": _TEXT_OR_NULL, "severity": _TEXT_OR_NULL, "title": _TEXT_OR_NULL}, description="Of an erratum."
)
_NAMED_UNIT: Final = _object(_UNIT, optional={"advisory": _ADVISORY})
_NUMBER: Final[Schema] = {"type": "integer", "minimum": 0}
_CHANGED_UNIT: Final = _object(
    {"change": {"enum": ["added", "removed", "replaced"]}, **_UNIT},
    optional={"advisory": _ADVISORY, "before": {**_NAMED_UNIT, "description": "What was replaced."}},
)
_CHANGED: Final[Schema] = {
    "added": _NUMBER,
    "removed": _NUMBER,
    "replaced": _NUMBER,
    "truncated": {"type": "boolean", "description": "Whether `units` is shorter than the counts say."},
    "units": {"type": "array", "items": _CHANGED_UNIT},
}
_CHANGES: Final = _object(
    _CHANGED, description="What the task changed in the repository, in order; all changes, or the first ones."
)
_NUMBERS: Final = _object(
    {"from": {"type": ["integer", "null"]}, "to": {"type": "integer"}},
    description="The numbers of the publication that the place showed before (null if none) and shows now. "
    "Absent when nothing new is shown.",
)
_SHOWN: Final = _object(
    _CHANGED,
    optional={"publications": _NUMBERS},
    description="What changed for readers of the place, compared with what it showed before.",
)

_FINISH: Final[Schema] = {
    "repo_id": _TEXT,
    "started": _TIME,
    "completed": _TIME,
    "summary": _ANYTHING,
    "details": _ANYTHING,
    "error_message": _TEXT_OR_NULL,
    "exception": _TEXT_OR_NULL,
    "traceback": _TEXTS_OR_NULL,
    "id": {"type": "string", "pattern": "^[0-9a-f]{24}$"},
}
_PROMOTION: Final[Schema] = {
    "place": {**_TEXT, "description": "For a promotion: where the publication is shown now, below `/pulp/`."},
    "promoted_from": _object(
        {"repo_id": _TEXT, "publication": {"type": "integer"}},
        description="For a promotion: the publication, which existed before.",
    ),
}
_TASK: Final[Schema] = {
    "task_id": _TEXT,
    "task_type": _TEXT,
    "state": _TEXT,
    "tags": {"type": "array", "items": _TEXT},
    "repo_id": _TEXT_OR_NULL,
}
_REPOSITORY: Final[Schema] = {"repo_id": _TEXT, "display_name": _TEXT_OR_NULL, "notes": {"type": "object"}}
_NAMED: Final[Schema] = {
    "type": ["object", "null"],
    "properties": {"pulp_href": _TEXT_OR_NULL, "prn": _TEXT_OR_NULL, "name": _TEXT, "type": _TEXT},
}
_BY_TYPE: Final[Schema] = {"type": "object", "additionalProperties": {"type": "integer"}}
_VERSION_OF_3: Final = _object(
    {
        "pulp_href": _TEXT_OR_NULL,
        "prn": _TEXT,
        "number": {"type": "integer"},
        "added": _BY_TYPE,
        "removed": _BY_TYPE,
        "present": _BY_TYPE,
        "changed": _object(
            {
                "added": {"type": "array", "items": _TEXT},
                "removed": {"type": "array", "items": _TEXT},
                "complete": {"type": "boolean"},
            },
            or_null=True,
        ),
    },
    or_null=True,
)
_PULP3: Final = _object(
    {
        "pulp": _TEXT_OR_NULL,
        "domain": _TEXT_OR_NULL,
        "task": _object(
            {"pulp_href": _TEXT, "prn": _TEXT, "name": _TEXT, "state": _TEXT, "logging_cid": _TEXT_OR_NULL}
        ),
        "repository": _NAMED,
        "remote": _NAMED,
        "version": _VERSION_OF_3,
        "publication": _NAMED,
        "made_up": {"type": "boolean"},
    },
    description="Pulp 3's own words, where the event comes from a Pulp 3.",
)
_LISTENER: Final[Schema] = {"listener_id": _TEXT, "notifier_type_id": _TEXT}

_HOPS: Final[Schema] = {
    events.HOPS: {"type": "integer", "minimum": 1, "description": "How many hooks led to the task, if one started it."}
}

_MEANINGS: Final[dict[str, tuple[str, Schema]]] = {
    events.SYNC_START: ("A sync has begun.", {"repo_id": _TEXT}),
    events.SYNC_FINISH: (
        "A sync has ended, however it ended.",
        _FINISH
        | {
            "importer_id": _TEXT,
            "importer_type_id": _TEXT,
            "result": {"enum": ["success", "failed", "error", "canceled"]},
            "added_count": _COUNT,
            "updated_count": _COUNT,
            "removed_count": _COUNT,
            "changes": _CHANGES,
            "_ns": {"const": "repo_sync_results"},
        },
    ),
    events.PUBLISH_START: ("A publish has begun.", {"repo_id": _TEXT, "distributor_id": _TEXT}),
    events.PUBLISH_FINISH: (
        "A publish has ended, however it ended.",
        _FINISH
        | {
            "distributor_id": _TEXT,
            "distributor_type_id": _TEXT,
            "result": {"enum": ["success", "failed", "skipped", "error", "canceled"]},
            "changes": _SHOWN,
            "_ns": {"const": "repo_publish_results"},
        },
    ),
    events.REPO_CREATE: ("A repository was created.", _REPOSITORY),
    events.REPO_UPDATE: (
        "A repository, its importer or a distributor was changed; `changed` names what, never to which value.",
        {"repo_id": _TEXT, "changed": {"type": "array", "items": _TEXT}},
    ),
    events.CONTENT_UPDATE: (
        "An upload, a copy or a removal changed the content of a repository; `action` says which.",
        {"repo_id": _TEXT, "action": _TEXT, "changes": _CHANGES},
    ),
    events.UNIT_WITHDRAWN: (
        "A sync found that the upstream has withdrawn content of the repository; reported once.",
        {
            "repo_id": _TEXT,
            "name": {**_TEXT, "description": "What all the units belong to: a project."},
            "how": {**_TEXT, "description": "`yanked`, of files, or `quarantined`, of a project."},
            "reason": {**_TEXT_OR_NULL, "description": "The upstream's own words."},
            "count": _NUMBER,
            "truncated": {"type": "boolean", "description": "Whether `units` is shorter than `count`."},
            "units": {"type": "array", "items": _NAMED_UNIT},
        },
    ),
    events.REPO_DELETE: ("A repository was deleted, with everything that it had published.", {"repo_id": _TEXT}),
    events.REPO_VERSION_CREATE: (
        "A repository of a Pulp 3 has a new version, whichever task created it.",
        {
            "repo_id": _TEXT,
            "version": {"type": "integer"},
            "added_count": {"type": "integer"},
            "removed_count": {"type": "integer"},
            "present_count": {"type": "integer"},
        },
    ),
    **{f"tasks.{state}": (f"A task is now {state}.", _TASK) for state in events.TASK_STATES},
    events.LISTENER_FAILING: (
        "Deliveries to a listener fail; its events wait in the log. Sent to the other listeners that subscribe to it.",
        _LISTENER | {"reason": _TEXT},
    ),
    events.LISTENER_RECOVERED: ("Deliveries to a listener succeed again.", _LISTENER),
    events.SCHEDULE_DISABLED: (
        "A schedule failed too often in a row and is disabled until somebody enables it again.",
        {
            "schedule_id": _TEXT,
            "repo_id": _TEXT,
            "resource": _TEXT,
            "schedule": _TEXT,
            "consecutive_failures": {"type": "integer"},
            "reason": _TEXT,
        },
    ),
    events.TEST: (
        "A test of a listener by an operator; it is not in the log and has the number 0.",
        {"listener_id": _TEXT},
    ),
}


_OF_PULP3: Final = events.PULP_TYPES | {events.REPO_VERSION_CREATE} | {f"tasks.{state}" for state in events.TASK_STATES}
"""The types that can come from a Pulp 3."""

_OPTIONAL: Final = {events.SYNC_FINISH: {"changes"}, events.PUBLISH_FINISH: {"changes"}}
"""Keys that are absent when a Pulp 3 did the work."""


def schema(event_type: str) -> Schema:
    """Return the schema of a type's body.

    Raises:
        KeyError: the type is not one of Pulpit's own.
    """
    meaning, payload = _MEANINGS[event_type]
    optional = {"pulp3": _PULP3} if event_type in _OF_PULP3 else {}
    if event_type in events.PULP_TYPES:
        optional |= _HOPS
    if event_type in {events.PUBLISH_START, events.PUBLISH_FINISH}:
        optional |= _PROMOTION
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:pulpit:event:{event_type}:{VERSION}",
        "title": event_type,
        "description": meaning,
        "type": "object",
        "required": ["event_type", "payload", "call_report"],
        "additionalProperties": False,
        "properties": {
            "event_type": {"const": event_type},
            "payload": {
                "type": "object",
                "required": sorted(payload.keys() - _OPTIONAL.get(event_type, set())),
                "properties": payload | optional,
            },
            "call_report": _CALL_REPORT,
        },
    }


def asyncapi(version: str) -> Schema:
    """Describe the AMQP side as an AsyncAPI 3 document: one channel, an exchange, with one message for every type."""
    types = sorted(EVENT_TYPES)
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Pulpit events", "version": version, "license": {"name": "GPL-3.0-or-later"}},
        "defaultContentType": "application/json",
        "channels": {
            "events": {
                "address": SUBJECT_PREFIX + "{event_type}",
                "description": "A durable topic exchange, named by the listener; the address is the routing key.",
                "parameters": {"event_type": {"enum": types}},
                "messages": {name: _message(name) for name in types},
                "bindings": {"amqp": {"is": "routingKey", "exchange": {"type": "topic", "durable": True}}},
            }
        },
        "operations": {
            "receive": {
                "action": "send",
                "channel": {"$ref": "#/channels/events"},
                "summary": "Pulpit sends; bind a queue with a topic pattern to receive.",
            }
        },
    }


def _message(event_type: str) -> Schema:
    return {
        "name": event_type,
        "summary": _MEANINGS[event_type][0],
        "headers": {"type": "object", "properties": _HEADERS, "patternProperties": _CLOUDEVENTS},
        "payload": {"schemaFormat": "application/schema+json;version=draft-2020-12", "schema": schema(event_type)},
    }


_CALL_REPORT: Final[Schema] = {
    "type": ["object", "null"],
    "required": ["task_id", "state", "tags", "start_time", "finish_time", "progress_report", "principal_login"],
    "properties": {
        "task_id": _TEXT,
        "task_type": _TEXT,
        "state": _TEXT,
        "tags": {"type": "array", "items": _TEXT},
        "start_time": _TIME_OR_NULL,
        "finish_time": _TIME_OR_NULL,
        "progress_report": {"type": "object"},
        "principal_login": _TEXT_OR_NULL,
    },
}
_HEADERS: Final[Schema] = {
    "qpid.subject": {**_TEXT, "description": "`pulp.server.` and the type, as in Pulp 2."},
    "pulpit-number": {"type": "integer", "description": "Position in the log."},
    "pulpit-repo-id": {**_TEXT, "description": "The repository, if the event is about one."},
    "pulpit-repo-number": {"type": "integer", "description": "Counts a repository's events without holes."},
    "traceparent": {**_TEXT, "description": "W3C Trace Context; all events of a task are one trace."},
}
_CLOUDEVENTS: Final[Schema] = {
    "^cloudEvents:": {**_TEXT, "description": "Attributes of CloudEvents 1.0, of listeners with that format."},
}
