"""What the API shows of repositories, importers, distributors, listeners and users: Pulp 2's documents.

All documents of one kind have the same keys: the original client takes the columns of a list from its first item.
"""

from collections.abc import Collection
from typing import Any, Final

from pulpit.api.plugins import SECRET_KEYS
from pulpit.api.redaction import masked
from pulpit.clock import iso
from pulpit.store.listeners import Listener
from pulpit.store.repositories import Distributor, Importer, Repository
from pulpit.store.schedules import PUBLISH, SYNC, Schedule
from pulpit.store.users import User
from pulpit.tasks.schedules import resource

V2: Final = "/pulp/api/v2"
SUPER_USERS: Final = "super-users"
"""Pulp 2's role of those who may do everything."""

_SCHEDULED_TASKS: Final = {
    SYNC: "pulp.server.tasks.repository.sync_with_auto_publish",
    PUBLISH: "pulp.server.tasks.repository.publish",
}
"""Pulp 2's names; nothing here reads them."""


def listener(value: Listener, secret_keys: Collection[str], delivery: dict[str, Any]) -> dict[str, Any]:
    """A listener with its secrets masked, and how its delivery goes; the original client hides keys with `_`."""
    return {
        "id": value.id,
        "notifier_type_id": value.notifier_type_id,
        "notifier_config": masked(value.notifier_config, secret_keys),
        "event_types": value.event_types,
        "_filters": {
            "repo_ids": value.repo_ids,
            "results": value.results,
            "give_up_after": value.give_up_after,
        },
        "_delivery": delivery,
        "_href": f"{V2}/events/{value.id}/",
        "_id": {"$oid": value.id},
        "_ns": "event_listeners",
    }


def repository(value: Repository, unit_counts: dict[str, int]) -> dict[str, Any]:
    """A repository without its importers and distributors."""
    return {
        "id": value.id,
        "display_name": value.display_name,
        "description": value.description,
        "notes": value.notes,
        "scratchpad": value.scratchpad,
        "content_unit_counts": unit_counts,
        "last_unit_added": iso(value.last_unit_added),
        "last_unit_removed": iso(value.last_unit_removed),
        "_href": f"{V2}/repositories/{value.id}/",
        "_id": {"$oid": value.object_id},
        "_ns": "repos",
    }


def importer(value: Importer, secret_keys: Collection[str]) -> dict[str, Any]:
    """An importer with its secrets masked."""
    return {
        "id": value.id,
        "importer_type_id": value.importer_type_id,
        "repo_id": value.repo_id,
        "config": masked(value.config, secret_keys),
        "last_sync": iso(value.last_sync),
        "last_updated": iso(value.last_updated),
        "last_override_config": {},
        "scratchpad": None,  # what it remembers of its upstream is its own, and may be long
        "_href": f"{V2}/repositories/{value.repo_id}/importers/{value.id}/",
        "_id": {"$oid": value.object_id},
        "_ns": "repo_importers",
    }


def distributor(value: Distributor, secret_keys: Collection[str]) -> dict[str, Any]:
    """A distributor with its secrets masked."""
    return {
        "id": value.id,
        "distributor_type_id": value.distributor_type_id,
        "repo_id": value.repo_id,
        "auto_publish": value.auto_publish,
        "config": masked(value.config, secret_keys),
        "last_publish": iso(value.last_publish),
        "last_updated": iso(value.last_updated),
        "last_override_config": {},
        "scratchpad": value.scratchpad,
        "_href": f"{V2}/repositories/{value.repo_id}/distributors/{value.id}/",
        "_id": {"$oid": value.object_id},
        "_ns": "repo_distributors",
    }


def schedule(value: Schedule) -> dict[str, Any]:
    """A schedule; `last_run` is what the original client looks for, and `last_run_at` what it was sent."""
    kind, args = (
        ("importers", [value.repo_id]) if value.action == SYNC else ("distributors", [value.repo_id, value.plugin_id])
    )
    return {
        "_id": value.id,
        "_href": f"{V2}/repositories/{value.repo_id}/{kind}/{value.plugin_id}/schedules/{value.action}/{value.id}/",
        "schedule": value.schedule,
        "enabled": value.enabled,
        "failure_threshold": value.failure_threshold,
        "consecutive_failures": value.consecutive_failures,
        "first_run": iso(value.first_run),
        "last_run": iso(value.last_run_at),
        "last_run_at": iso(value.last_run_at),
        "next_run": iso(value.next_run),
        "remaining_runs": value.remaining_runs,
        "total_run_count": value.total_run_count,
        "last_updated": value.last_updated.timestamp(),
        "args": args,
        "kwargs": {"overrides": masked(value.override_config, SECRET_KEYS)},
        "resource": resource(value),
        "task": _SCHEDULED_TASKS[value.action],
    }


def user(value: User) -> dict[str, Any]:
    """A user without any trace of the password; Pulp 2's only fixed role is that of the administrator."""
    return {
        "login": value.login,
        "name": value.name,
        "roles": [SUPER_USERS] if value.role == "admin" else [],
        "role": value.role,
        "_href": f"{V2}/users/{value.login}/",
        "id": value.object_id,
        "_id": {"$oid": value.object_id},
        "_ns": "users",
    }
