"""Every operation that changes something fires an event, or is listed here with the reason why not."""

from typing import Any, Final

import pytest

from support.api import V1, V2, Api
from support.database import log
from support.made_events import check

TASK: Final = "it queues a task, which is announced by tasks.*"
ASKS: Final = "it only asks"
PEOPLE: Final = "users and log-ins are nobody's business on a message bus"
GROUPS: Final = "a group names repositories and changes none of them"
REFUSED: Final = "groups have no distributors, so it is always refused"
BITS: Final = "the bits of an upload are nothing until they are imported"
KEPT: Final = "it keeps or lets go of what was published; what becomes published is announced by repo.publish.*"
DELIVERY: Final = "it is about delivery itself; to announce it would be to answer an echo"

FIRES: Final[dict[str, list[str]]] = {
    "create_repository": ["repo.create"],
    "update_repository": ["repo.update"],
    "create_importer": ["repo.update"],
    "update_importer": ["repo.update"],
    "delete_importer": ["repo.update"],
    "create_distributor": ["repo.update"],
    "create_sync_schedule": ["repo.update"],
    "update_sync_schedule": ["repo.update"],
    "delete_sync_schedule": ["repo.update"],
    "create_publish_schedule": ["repo.update"],
    "update_publish_schedule": ["repo.update"],
    "delete_publish_schedule": ["repo.update"],
    "cancel_task": ["tasks.canceled"],
    "fire_events": ["build.image.done"],
}
SILENT: Final = {
    "sync_repository": TASK,
    "publish_repository": TASK,
    "delete_repository": TASK,
    "update_distributor": TASK,
    "delete_distributor": TASK,
    "import_upload": TASK,
    "copy_units": TASK,
    "remove_units": TASK,
    "remove_orphan": TASK,
    "export_publication": TASK,
    "promote_publication": TASK,
    "roll_back": TASK,
    "pin_publication": KEPT,
    "unpin_publication": KEPT,
    "remove_publication": KEPT,
    "change_place": KEPT,
    "remove_place": KEPT,
    "remove_orphans": TASK,
    "remove_orphans_of_type": TASK,
    "remove_chosen_orphans": TASK,
    "search_repositories": ASKS,
    "search_tasks": ASKS,
    "search_units": ASKS,
    "search_content_units": ASKS,
    "search_distributors": ASKS,
    "search_users": ASKS,
    "search_repository_groups": ASKS,
    "log_in": PEOPLE,
    "create_user": PEOPLE,
    "update_user": PEOPLE,
    "delete_user": PEOPLE,
    "add_role_member": PEOPLE,
    "remove_role_member": PEOPLE,
    "create_role": PEOPLE,
    "update_role": PEOPLE,
    "delete_role": PEOPLE,
    "grant_to_user": PEOPLE,
    "revoke_from_user": PEOPLE,
    "grant_to_role": PEOPLE,
    "revoke_from_role": PEOPLE,
    "create_repository_group": GROUPS,
    "update_repository_group": GROUPS,
    "delete_repository_group": GROUPS,
    "add_repositories_to_group": GROUPS,
    "remove_repositories_from_group": GROUPS,
    "create_group_distributor": REFUSED,
    "update_group_distributor": REFUSED,
    "delete_group_distributor": REFUSED,
    "publish_repository_group": REFUSED,
    "write_user_metadata": "a note about a unit changes no repository",
    "begin_upload": BITS,
    "write_upload": BITS,
    "delete_upload": BITS,
    "purge_tasks": "ended tasks have been announced when they ended",
    "create_listener": DELIVERY,
    "update_listener": DELIVERY,
    "delete_listener": DELIVERY,
    "pause_listener": DELIVERY,
    "resume_listener": DELIVERY,
    "replay_listener": DELIVERY,
    "send_event_to_listener": DELIVERY,
    "test_listener": DELIVERY,
    "drop_dead_letters": DELIVERY,
    "send_dead_letters_again": DELIVERY,
    "create_token": "it is about a program's access, not about a repository",
    "revoke_token": "as above",
    "put_consumer": "it is about somebody's position in the log",
    "acknowledge": "as above",
    "move_consumer": "as above",
    "delete_consumer": "as above",
    "preview_listener": "nothing changes",
    "dry_run_listener": "as above",
    "create_hook": "it is about another system; what that tells is fired",
    "delete_hook": "as above",
}
REPO: Final = f"{V2}/repositories/zoo/"
SYNCS: Final = f"{REPO}importers/iso_importer/schedules/sync/"
PUBLISHES: Final = f"{REPO}distributors/d/schedules/publish/"
MADE: Final = "what the call before has made"
CALLS: Final[list[tuple[str, str, str, Any]]] = [
    ("create_repository", "POST", f"{V2}/repositories/", {"id": "zoo"}),
    ("update_repository", "PUT", REPO, {"delta": {"description": "d"}}),
    ("create_importer", "POST", f"{REPO}importers/", {"importer_type_id": "iso_importer", "importer_config": {}}),
    ("update_importer", "PUT", f"{REPO}importers/iso_importer/", {"importer_config": {"feed": "http://f/"}}),
    ("create_sync_schedule", "POST", SYNCS, {"schedule": "PT6H"}),
    ("update_sync_schedule", "PUT", MADE, {"enabled": False}),
    ("delete_sync_schedule", "DELETE", MADE, None),
    ("delete_importer", "DELETE", f"{REPO}importers/iso_importer/", None),
    (
        "create_distributor",
        "POST",
        f"{REPO}distributors/",
        {"distributor_id": "d", "distributor_type_id": "iso_distributor", "distributor_config": {}},
    ),
    ("create_publish_schedule", "POST", PUBLISHES, {"schedule": "PT6H"}),
    ("update_publish_schedule", "PUT", MADE, {"enabled": False}),
    ("delete_publish_schedule", "DELETE", MADE, None),
    ("fire_events", "POST", "/pulpit/v1/events", {"event_type": "build.image.done", "payload": {}}),
]


def operations(api: Api) -> set[str]:
    changing = ("post", "put", "delete", "patch")
    documents = [api.client.get(f"{prefix}/openapi.json").json() for prefix in (V2, V1)]
    paths = [path for document in documents for path in document["paths"].values()]
    return {operation["operationId"] for path in paths for verb, operation in path.items() if verb in changing}


def test_no_operation_is_forgotten(api: Api) -> None:
    assert operations(api) == FIRES.keys() | SILENT.keys()


def test_what_should_fire_does_and_keeps_the_contract(api: Api) -> None:
    database, made = api.services.database, ""
    for name, verb, path, body in CALLS:
        before = len(log(database))
        where = made if path == MADE else path
        answer = api.client.request(verb, where, json=body, auth=("admin", "correct horse"))
        made = answer.headers.get("Location", made)
        assert answer.status_code < 300, (name, answer.text)
        fired = log(database)[before:]
        assert [event.event_type for event in fired] == FIRES[name], name
        for event in fired:
            check(event)
    assert {name for name, *_ in CALLS} | {"cancel_task"} == FIRES.keys()


@pytest.mark.parametrize("secret", ["hunter2"])
def test_a_change_is_announced_without_its_values(api: Api, secret: str) -> None:
    for _, verb, path, body in CALLS[:3]:
        api.client.request(verb, path, json=body, auth=("admin", "correct horse"))
    delta = {"importer_config": {"basic_auth_password": secret, "feed": f"http://u:{secret}@f/"}}
    api.client.put(f"{REPO}importers/iso_importer/", json=delta, auth=("admin", "correct horse"))
    assert all(secret not in event.body for event in log(api.services.database))
