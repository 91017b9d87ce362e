"""Consumers: unacknowledged events come again, and a gap is reported."""

from typing import Any

import pytest

from pulpit.store import event_log
from support.api import V1, V2, Api, basic

CONSUMERS = f"{V1}/consumers"
EVENTS = f"{V1}/events"


def fire(api: Api, *repo_ids: str) -> None:
    events = [{"event_type": "ci.build.finish", "repo_id": repo_id} for repo_id in repo_ids]
    assert api.client.post(EVENTS, json=events).status_code == 201


def put(api: Api, name: str = "cache", **body: Any) -> Any:
    answer = api.client.put(f"{CONSUMERS}/{name}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def numbers(api: Api, **query: Any) -> list[int]:
    page = api.client.get(EVENTS, params={"consumer": "cache", **query}).json()
    return [event["number"] for event in page["events"]]


def acknowledge(api: Api, number: int) -> Any:
    return api.client.post(f"{CONSUMERS}/cache/acknowledge", json={"number": number})


def test_what_is_not_acknowledged_comes_again(api: Api) -> None:
    fire(api, "zoo")
    assert put(api)["position"] == 1
    fire(api, "zoo", "zoo")
    assert numbers(api) == numbers(api) == [2, 3]
    assert acknowledge(api, 2).json()["position"] == 2
    assert numbers(api) == [3]
    assert acknowledge(api, 1).json()["position"] == 2
    assert numbers(api, after=0, limit=1) == [3]


def test_it_is_there_once_made_and_goes_where_it_is_sent(api: Api) -> None:
    fire(api, "zoo", "zoo")
    assert put(api, after=0)["position"] == 0
    acknowledge(api, 1)
    assert put(api)["position"] == 1
    assert put(api, after=0)["position"] == 1
    for after, position in ((-1, 2), (0, 0)):
        assert api.client.post(f"{CONSUMERS}/cache/move", json={"after": after}).json()["position"] == position


def test_its_lag_is_told_as_that_of_a_listener(api: Api) -> None:
    put(api, after=0)
    fire(api, "zoo", "zoo")
    [document] = api.client.get(CONSUMERS).json()["consumers"]
    assert (document["lag_events"], document["lag_seconds"] >= 0, document["user"]) == (2, True, "admin")
    assert document["acknowledged_at"] is None
    assert 'pulpit_consumer_lag_events{consumer="cache",user="admin"} 2.0' in api.client.get("/metrics").text
    acknowledged = acknowledge(api, 2).json()
    assert (acknowledged["lag_events"], acknowledged["lag_seconds"]) == (0, 0.0)
    assert acknowledged["acknowledged_at"] is not None


def test_one_that_fell_behind_retention_is_told_the_gap_and_goes_on(api: Api) -> None:
    put(api, after=0)
    fire(api, *["zoo"] * 5)
    acknowledge(api, 1)
    with api.database.write() as tx:
        assert event_log.forget(tx, older_than=None, beyond=2, past_cursors=False, limit=100) == 3
    gone = api.client.get(EVENTS, params={"consumer": "cache"})
    assert (gone.status_code, gone.json()["first"], gone.json()["last"]) == (410, 4, 5)
    acknowledge(api, gone.json()["first"] - 1)
    assert numbers(api) == [4, 5]


@pytest.mark.parametrize("name", [".hidden", "a b", "x" * 101, "ä"])
def test_a_name_that_cannot_be_one_is_refused(api: Api, name: str) -> None:
    assert api.client.put(f"{CONSUMERS}/{name}", json={}).status_code == 400
    assert api.client.get(EVENTS, params={"consumer": name}).status_code in (400, 404)


def test_bad_numbers_are_refused(api: Api) -> None:
    put(api)
    for number in (1, -1, 2**63, "1", None):
        answer = api.client.post(f"{CONSUMERS}/cache/acknowledge", json={"number": number})
        assert answer.status_code == 400, number
    assert api.client.put(f"{CONSUMERS}/cache", json={"after": 7}).status_code == 400
    for body in ({"after": 7}, {}, {"after": None}):
        assert api.client.post(f"{CONSUMERS}/cache/move", json=body).status_code == 400
    assert api.client.post(f"{CONSUMERS}/nobody/move", json={"after": 0}).status_code == 404
    assert api.client.put(f"{CONSUMERS}/cache", json={"after": -2}).status_code == 400
    assert api.client.post(f"{CONSUMERS}/nobody/acknowledge", json={"number": 0}).status_code == 404
    assert numbers(api) == []


def test_names_are_ones_own_and_a_consumer_sees_what_its_user_sees(api: Api) -> None:
    body = {"login": "mario", "password": "x", "role": "operator", "repo_ids": ["fedora-*"]}
    assert api.client.post(f"{V2}/users/", json=body).status_code == 201
    mario = basic("mario", "x")
    put(api, after=0)
    assert api.client.get(f"{CONSUMERS}/cache", headers=mario).status_code == 404
    assert api.client.put(f"{CONSUMERS}/cache", json={"after": 0}, headers=mario).json()["user"] == "mario"
    fire(api, "rhel-9", "fedora-41")
    page = api.client.get(EVENTS, params={"consumer": "cache"}, headers=mario).json()
    assert [event["repo_id"] for event in page["events"]] == ["fedora-41"]
    assert len(api.client.get(CONSUMERS, headers=mario).json()["consumers"]) == 1
    assert len(api.client.get(CONSUMERS).json()["consumers"]) == 2
    assert api.client.put(f"{CONSUMERS}/x", json={}, headers=basic("reader")).status_code == 401
    assert api.client.delete(f"{V2}/users/mario/").status_code == 200
    assert [one["user"] for one in api.client.get(CONSUMERS).json()["consumers"]] == ["admin"]


def test_it_is_deleted(api: Api) -> None:
    put(api)
    assert api.client.delete(f"{CONSUMERS}/cache").status_code == 204
    assert api.client.delete(f"{CONSUMERS}/cache").status_code == 404
    assert api.client.get(EVENTS, params={"consumer": "cache"}).status_code == 404
