"""Tasks, as the original client searches and shows them."""

from typing import Any

import pytest

from pulpit.clock import system_clock
from pulpit.store import tasks
from pulpit.store.tasks import NewTask, Task
from support.api import V2, Api

TASKS = f"{V2}/tasks/"
SYNC_TAGS = ["pulp:repository:zoo", "pulp:action:sync"]


def queued(api: Api, *tags: str) -> Task:
    with api.database.write() as tx:
        return tasks.add(tx, NewTask(task_type="x", arguments={}, tags=list(tags)), now=system_clock())


def search(api: Api, **criteria: Any) -> Any:
    answer = api.client.post(f"{TASKS}search/", json={"criteria": criteria})
    assert answer.status_code == 200
    return answer.json()


def test_the_look_up_before_a_sync_finds_what_is_not_over(api: Api) -> None:
    waiting, over = queued(api, *SYNC_TAGS), queued(api, *SYNC_TAGS)
    queued(api, "pulp:repository:zoo", "pulp:action:publish")
    api.client.delete(f"{TASKS}{over.id}/")
    filters = {"state": {"$nin": ["finished", "error", "canceled", "skipped"]}, "tags": {"$all": SYNC_TAGS}}
    assert [report["task_id"] for report in search(api, filters=filters)] == [waiting.id]


@pytest.mark.parametrize(
    "state",
    ["waiting", {"$in": ["waiting", "odd"]}, {"$nin": ["canceled"]}, {"$nin": ["canceled"], "$in": ["waiting"]}],
)
def test_a_plain_condition_on_states_is_looked_up_by_the_database(api: Api, state: Any) -> None:
    waiting, over = queued(api), queued(api)
    api.client.delete(f"{TASKS}{over.id}/")
    assert [report["task_id"] for report in search(api, filters={"state": state})] == [waiting.id]


def test_a_null_filter_matches_tasks_without_the_key_and_id_is_always_there(api: Api) -> None:
    first, second = queued(api, *SYNC_TAGS), queued(api)
    fields = ["tags", "task_id", "state", "start_time", "finish_time", "worker_name"]
    found = search(api, fields=fields, filters={"state": {"$in": ["running", "waiting"]}, "group_id": None})
    assert [report["task_id"] for report in found] == [first.id, second.id]
    assert set(found[0]) == {*fields, "id", "_id", "_href"}
    assert found[0]["id"] < found[1]["id"]


def test_all_tasks_without_filters(api: Api) -> None:
    queued(api)
    assert len(search(api, fields=["task_id"])) == 1


@pytest.mark.parametrize(("direction", "expected"), [("ascending", [1, 2]), ("descending", [3, 2])])
def test_an_order_by_id_is_kept_by_the_database(api: Api, direction: str, expected: list[int]) -> None:
    ids = [queued(api).id for _ in range(5)]
    found = search(api, sort=[["id", direction]], limit=2, skip=1, fields=["task_id"])
    assert [report["task_id"] for report in found] == [ids[index] for index in expected]


def test_more_tasks_than_are_read_at_once_are_all_found(api: Api) -> None:
    with api.database.write() as tx:
        for _ in range(450):
            tasks.add(tx, NewTask(task_type="x", arguments={}, tags=["a:b:c"]), now=system_clock())
    for direction in ("ascending", "descending"):
        found = search(api, sort=[["id", direction]], filters={"tags": "a:b:c"}, fields=["task_id"])
        assert len({report["task_id"] for report in found}) == 450


def test_tags_of_a_query_must_all_be_there(api: Api) -> None:
    sync = queued(api, *SYNC_TAGS)
    queued(api, SYNC_TAGS[0])
    assert len(api.client.get(TASKS, params={"tag": SYNC_TAGS[0]}).json()) == 2
    assert [one["task_id"] for one in api.client.get(TASKS, params={"tag": SYNC_TAGS}).json()] == [sync.id]


def test_cancel_answers_null_also_when_the_task_is_over(api: Api) -> None:
    href = f"{TASKS}{queued(api).id}/"
    for _ in range(2):
        answer = api.client.delete(href)
        assert (answer.status_code, answer.json()) == (200, None)
    assert api.client.get(href).json()["state"] == "canceled"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_unknown_task_is_missing(api: Api, method: str) -> None:
    answer = api.client.request(method, f"{TASKS}None/")
    assert (answer.status_code, answer.json()["resources"]) == (404, {"resource_id": "None"})


def test_purge_removes_what_ended_in_the_states_asked_for(api: Api) -> None:
    kept = queued(api)
    gone = queued(api)
    with api.database.write() as tx:
        tasks.amend(tx, gone.id, state=tasks.ERROR)
    answer = api.client.delete(f"{TASKS}?state=finished&state=error")
    assert (answer.status_code, answer.content) == (204, b"")
    assert [one["task_id"] for one in api.client.get(TASKS).json()] == [kept.id]


def test_purge_of_living_tasks_or_of_nothing_is_refused(api: Api) -> None:
    answer = api.client.delete(f"{TASKS}?state=running")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "PLP1011")
    answer = api.client.delete(TASKS)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "PLP1012")
