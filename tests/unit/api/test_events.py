"""Event listeners, rule by rule as Pulp 2's manager had them."""

from typing import Any

import pytest

from pulpit.fire import fire
from pulpit.store import dead_letters, listeners
from pulpit.store.dead_letters import NewDeadLetter
from support.api import V2, Api
from support.database import fail

EVENTS = f"{V2}/events/"
GOOD: dict[str, Any] = {"notifier_type_id": "amqp", "notifier_config": {"exchange": "pulp"}, "event_types": ["*"]}
HOOK: dict[str, Any] = {
    "notifier_type_id": "http",
    "notifier_config": {"url": "http://hook/", "username": "me", "password": "hush"},
    "event_types": ["repo.sync.start"],
}


def made(api: Api, body: dict[str, Any]) -> dict[str, Any]:
    answer = api.client.post(EVENTS, json=body)
    assert answer.status_code == 201
    document: dict[str, Any] = answer.json()
    return document


def test_create_answers_the_document_and_where_it_is(api: Api) -> None:
    answer = api.client.post(EVENTS, json=GOOD)
    document = answer.json()
    assert (answer.status_code, answer.headers["Location"]) == (201, document["_href"])
    assert document == GOOD | {
        "id": document["id"],
        "_id": {"$oid": document["id"]},
        "_ns": "event_listeners",
        "_href": f"{EVENTS}{document['id']}/",
        "_owner": None,
        "_filters": {"repo_ids": None, "results": None, "packages": None, "give_up_after": 259200},
        "_delivery": {
            "state": "active",
            "pause_reason": None,
            "position": 0,
            "replay_from": None,
            "lag_events": 0,
            "lag_seconds": 0.0,
            "attempts": 0,
            "failing_since": None,
            "last_error": None,
            "last_error_at": None,
            "dead_letters": 0,
            "failing_repositories": [],
        },
    }
    assert len(document["id"]) == 24
    assert int(document["id"], 16)


def test_event_types_are_judged_before_the_type_and_its_configuration(api: Api) -> None:
    wrong = {"notifier_type_id": "pigeon", "notifier_config": 7, "event_types": ["repo.sink.start"]}
    for repair, named in (
        ({}, "event_types"),
        ({"event_types": ["*"]}, "notifier_type_id"),
        ({"event_types": ["*"], "notifier_type_id": "amqp"}, "notifier_config"),
        ({"event_types": ["*"], "notifier_type_id": "amqp", "notifier_config": {"exchang": "x"}}, "notifier_config"),
    ):
        answer = api.client.post(EVENTS, json=wrong | repair)
        assert (answer.status_code, answer.json()["property_names"]) == (400, [named])
        assert answer.json()["error"]["code"] == "PLP0015"
    assert api.client.get(EVENTS).json() == []


@pytest.mark.parametrize(
    "event_types", [None, [], "*", {}, [7], [None], ["repo-sync-started"], ["repo.sync.start", ""]]
)
def test_event_types_that_are_no_list_of_types_are_refused(api: Api, event_types: object) -> None:
    answer = api.client.post(EVENTS, json=GOOD | {"event_types": event_types})
    assert (answer.status_code, answer.json()["property_names"]) == (400, ["event_types"])


def test_an_empty_body_lacks_event_types(api: Api) -> None:
    answer = api.client.post(EVENTS, content=b"")
    assert (answer.status_code, answer.json()["property_names"]) == (400, ["event_types"])


@pytest.mark.parametrize("type_id", ["", 7, None, ["amqp"], "rest-api"])
def test_an_unknown_notifier_type_is_refused(api: Api, type_id: object) -> None:
    answer = api.client.post(EVENTS, json=GOOD | {"notifier_type_id": type_id})
    assert (answer.status_code, answer.json()["property_names"]) == (400, ["notifier_type_id"])


def test_a_null_configuration_is_an_empty_one(api: Api) -> None:
    assert made(api, GOOD | {"notifier_config": None})["notifier_config"] == {}


def test_patterns_may_be_event_types(api: Api) -> None:
    assert made(api, GOOD | {"event_types": ["repo.*.finish", "repo.#"]})["event_types"] == ["repo.*.finish", "repo.#"]


def test_the_list_is_a_bare_array_of_documents_with_their_own_href_and_duplicates_are_fine(api: Api) -> None:
    first, second = made(api, GOOD), made(api, GOOD)
    assert api.client.get(EVENTS).json() == [first, second]
    assert first["_href"] != second["_href"]


def test_update_merges_the_configuration_key_by_key_and_null_removes(api: Api) -> None:
    href = made(api, HOOK)["_href"]
    delta = {
        "notifier_config": {"url": "https://other/", "username": None, "ca_path": None},
        "notifier_type_id": "amqp",
    }
    answer = api.client.put(href, json=delta)
    assert answer.status_code == 200
    assert answer.json()["notifier_config"] == {"url": "https://other/", "password": "*****"}
    assert answer.json()["notifier_type_id"] == "http"
    assert answer.json()["event_types"] == ["repo.sync.start"]


def test_update_replaces_event_types_as_a_whole(api: Api) -> None:
    href = made(api, HOOK)["_href"]
    assert api.client.put(href, json={"event_types": ["*"]}).json()["event_types"] == ["*"]
    assert api.client.put(href, json={"event_types": None}).json()["event_types"] == ["*"]


def test_update_with_bad_event_types_saves_nothing(api: Api) -> None:
    document = made(api, HOOK)
    answer = api.client.put(document["_href"], json={"event_types": [], "notifier_config": {"url": "http://new/"}})
    assert (answer.status_code, answer.json()["property_names"]) == (400, ["event_types"])
    assert api.client.get(document["_href"]).json() == document


def test_update_with_nothing_at_all_changes_nothing(api: Api) -> None:
    document = made(api, HOOK)
    assert api.client.put(document["_href"], content=b"").json() == document


def test_the_empty_exchange_is_stored_as_sent(api: Api) -> None:
    href = made(api, GOOD)["_href"]
    assert api.client.put(href, json={"notifier_config": {"exchange": ""}}).json()["notifier_config"] == {
        "exchange": ""
    }


def test_delete_answers_null_and_then_it_is_missing(api: Api) -> None:
    href = made(api, GOOD)["_href"]
    answer = api.client.delete(href)
    assert (answer.status_code, answer.json()) == (200, None)
    assert api.client.delete(href).status_code == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("listener_id", ["abc", "65f0aa0000000000000000a1"])
def test_an_unknown_or_malformed_id_is_missing(api: Api, method: str, listener_id: str) -> None:
    answer = api.client.request(method, f"{EVENTS}{listener_id}/")
    assert (answer.status_code, answer.json()["resources"]) == (404, {"event_listener": listener_id})


def test_secrets_are_masked_everywhere_and_a_mask_sent_back_keeps_them(api: Api) -> None:
    document = made(api, HOOK)
    href = document["_href"]
    shown = [document, api.client.get(href).json(), api.client.get(EVENTS).json()[0]]
    shown.append(api.client.put(href, json={"notifier_config": document["notifier_config"]}).json())
    assert all(one["notifier_config"]["password"] == "*****" for one in shown)
    with api.database.read() as connection:
        [(config,)] = connection.exec_driver_sql("SELECT notifier_config FROM listeners").all()
    assert '"password":"hush"' in config


def test_a_mask_for_a_secret_that_was_never_given_is_refused(api: Api) -> None:
    answer = api.client.post(EVENTS, json=HOOK | {"notifier_config": {"url": "http://h/", "password": "*****"}})
    assert (answer.status_code, answer.json()["property_names"]) == (400, ["notifier_config"])


def test_filters_are_taken_kept_and_taken_away(api: Api) -> None:
    filters = {"repo_ids": ["fedora-*"], "results": ["failed"], "packages": ["openssl*"], "give_up_after": 60}
    href = made(api, GOOD | filters)["_href"]
    assert api.client.get(href).json()["_filters"] == filters
    assert api.client.put(href, json={"repo_ids": []}).json()["_filters"] == filters | {"repo_ids": None}
    cleared = {"repo_ids": None, "results": None, "packages": None, "give_up_after": 259200}
    assert (
        api.client.put(href, json={"results": None, "packages": [], "give_up_after": None}).json()["_filters"]
        == cleared
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("repo_ids", "zoo"),
        ("repo_ids", [""]),
        ("repo_ids", [7]),
        ("repo_ids", ["x"] * 101),
        ("results", ["no word"]),
        ("packages", "openssl"),
        ("packages", [""]),
        ("packages", ["x" * 256]),
        ("results", {}),
        ("give_up_after", 0),
        ("give_up_after", True),
        ("give_up_after", "1"),
        ("give_up_after", 10**9),
    ],
)
def test_filters_that_cannot_work_are_refused(api: Api, name: str, value: object) -> None:
    href = made(api, GOOD)["_href"]
    for answer in (api.client.post(EVENTS, json=GOOD | {name: value}), api.client.put(href, json={name: value})):
        assert (answer.status_code, answer.json()["property_names"]) == (400, [name])


def test_the_delivery_of_a_failing_listener_says_how_far_and_why(api: Api) -> None:
    listener_id = made(api, GOOD)["id"]
    with api.database.write() as tx:
        for _ in range(2):
            fire(tx, "repo.sync.start", {"repo_id": "zoo"}, clock=api.services.clock)
        fail(tx, listener_id, "It hurts.", now=api.services.clock())
        letters = [NewDeadLetter(event_number=1, reason="No.")]
        dead_letters.add(tx, listener_id, letters, attempts=1, now=api.services.clock())
    shown = api.client.get(f"{EVENTS}{listener_id}/").json()["_delivery"]
    assert (shown["state"], shown["last_error"], shown["attempts"]) == ("retrying", "It hurts.", 1)
    assert (shown["position"], shown["lag_events"], shown["dead_letters"]) == (0, 2, 1)
    assert shown["lag_seconds"] >= 0
    assert shown["last_error_at"].endswith("Z")
    with api.database.write() as tx:
        listeners.pause(tx, listener_id, "410 Gone")
    shown = api.client.get(f"{EVENTS}{listener_id}/").json()["_delivery"]
    assert (shown["state"], shown["pause_reason"]) == ("paused", "410 Gone")
