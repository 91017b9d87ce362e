"""Tokens: shown once, limited by their scopes and by the rights of their user, and rejected once revoked."""

import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from pulpit.api.v1 import events
from pulpit.store import tokens
from support.api import PASSWORD, V1, V2, Api, basic

TOKENS = f"{V1}/tokens"
EVENTS = f"{V1}/events"


def made(api: Api, *scopes: str, **more: Any) -> dict[str, str]:
    """The header that shows a new token."""
    answer = api.client.post(TOKENS, json={"name": "ci", "scopes": scopes, **more})
    assert answer.status_code == 201, answer.text
    return {"Authorization": f"Bearer {answer.json()['token']}"}


def repositories(api: Api, *repo_ids: str) -> None:
    for repo_id in repo_ids:
        made = api.client.post(f"{V2}/repositories/", json={"id": repo_id, "importer_type_id": "iso_importer"})
        assert made.status_code == 201


def fire(api: Api, *repo_ids: str | None, event_type: str = "ci.build.finish") -> None:
    events = [{"event_type": event_type, **({"repo_id": repo_id} if repo_id else {})} for repo_id in repo_ids]
    assert api.client.post(EVENTS, json=events).status_code == 201


def user(api: Api, login: str, role: str, *repo_ids: str) -> dict[str, str]:
    body = {"login": login, "password": PASSWORD, "role": role, "repo_ids": list(repo_ids) or None}
    assert api.client.post(f"{V2}/users/", json=body).status_code == 201
    return basic(login)


def ids(answer: Any) -> list[str]:
    return [document["id"] for document in answer.json()]


def test_a_token_is_shown_once_and_kept_as_a_digest(api: Api) -> None:
    answer = api.client.post(TOKENS, json={"name": "ci", "scopes": ["fire:ci.#", "fire:ci.#", "read"]})
    body = answer.json()
    secret = body.pop("token")
    assert answer.headers["Cache-Control"] == "no-store"
    assert secret.startswith("pulpit_")
    assert len(secret) == 50
    assert (body["name"], body["user"], body["scopes"]) == ("ci", "admin", ["fire:ci.#", "read"])
    assert body["last_used_at"] is None
    assert api.client.get(TOKENS).json() == {"tokens": [body]}
    with api.database.read() as connection:
        dump = list(connection.connection.driver_connection.iterdump())  # type: ignore[union-attr] # SQLite's
    assert secret not in "\n".join(dump)
    again = api.client.post(TOKENS, json={"name": "ci", "scopes": ["read"]})
    assert again.status_code == 409


def test_it_may_do_what_its_scopes_say_and_nothing_else(api: Api) -> None:
    shown = made(api, "fire:ci.#")
    event = {"event_type": "ci.build.finish"}
    assert api.client.post(EVENTS, json=event, headers=shown).status_code == 201
    refused = api.client.post(EVENTS, json=[event, {"event_type": "cd.deploy.finish"}], headers=shown)
    assert refused.status_code == 401
    assert "may not fire cd.deploy.finish" in refused.json()["error_message"]
    for method, path in (("GET", EVENTS), ("GET", f"{V2}/repositories/"), ("POST", f"{V2}/actions/login/")):
        answer = api.client.request(method, path, headers=shown)
        assert (answer.status_code, answer.json()["auth_error_code"]) == (401, "permission_denied"), path
    assert "its scopes are fire:ci.#" in api.client.get(EVENTS, headers=shown).json()["error_message"]
    assert api.client.get(EVENTS).json()["head"] == 1


def test_it_is_revoked_at_once_and_its_use_is_noted(api: Api) -> None:
    shown = made(api, "read")
    assert api.client.get(EVENTS, headers=shown).status_code == 200
    [document] = api.client.get(TOKENS).json()["tokens"]
    assert document["last_used_at"] is not None
    assert api.client.delete(f"{TOKENS}/{document['id']}").status_code == 204
    gone = api.client.get(EVENTS, headers=shown)
    assert (gone.status_code, gone.json()["auth_error_code"]) == (401, "invalid_token")
    assert gone.headers["WWW-Authenticate"]
    assert api.client.delete(f"{TOKENS}/{document['id']}").status_code == 404


def test_a_stream_ends_when_its_token_is_revoked(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT", 0.05)
    shown = made(api, "read")
    [document] = api.client.get(TOKENS).json()["tokens"]
    revoking = threading.Timer(0.5, lambda: api.client.delete(f"{TOKENS}/{document['id']}"))
    revoking.start()
    ended = api.client.get(EVENTS, headers={**shown, "Accept": "text/event-stream"})  # which returns at the end
    revoking.join()
    assert ended.status_code == 200
    assert ": still here" in ended.text


def test_one_that_has_expired_is_refused_by_name(api: Api) -> None:
    secret = tokens.new_secret()
    now = api.services.clock()
    with api.database.write() as tx:
        tokens.add(tx, "admin", "old", secret, ["read"], now=now, expires_at=now - timedelta(seconds=1))
    answer = api.client.get(EVENTS, headers={"Authorization": f"Bearer {secret}"})
    assert answer.status_code == 401
    assert "The token old has expired" in answer.json()["error_message"]


@pytest.mark.parametrize("shown", ["", "x", "pulpit_" + "x" * 43, "pulpit_" + "x" * 44, "pulpit_é"])
def test_what_is_no_token_is_refused(api: Api, shown: str) -> None:
    header = {"Authorization": f"Bearer {shown}".encode()}
    answer = api.client.get(EVENTS, headers=header)  # type: ignore[arg-type] # as bytes, whatever is in it
    assert (answer.status_code, answer.json()["auth_error_code"]) == (401, "invalid_token")


def test_it_does_as_a_password_whatever_the_user_is(api: Api) -> None:
    secret = made(api, "read")["Authorization"].removeprefix("Bearer ")
    for login in ("__token__", "admin", "nobody"):
        assert api.client.get(EVENTS, headers=basic(login, secret)).status_code == 200
    assert api.client.post(EVENTS, json={"event_type": "a.b"}, headers=basic("admin", secret)).status_code == 401


def test_an_administrators_token_does_everything_but_log_in(api: Api) -> None:
    shown = made(api, "admin")
    assert api.client.get(f"{V2}/users/", headers=shown).status_code == 200
    assert api.client.post(TOKENS, json={"name": "two", "scopes": ["read"]}, headers=shown).status_code == 201
    refused = api.client.post(f"{V2}/actions/login/", headers=shown)
    assert "needs the password" in refused.json()["error_message"]


def test_a_token_never_does_more_than_its_user(api: Api) -> None:
    mario = user(api, "mario", "operator", "fedora-*")
    repositories(api, "fedora-41", "rhel-9")
    refused = api.client.post(TOKENS, json={"name": "x", "scopes": ["fire"]}, headers=mario)
    assert "mario is operator and may not fire" in refused.json()["error_message"]
    answer = api.client.post(TOKENS, json={"name": "x", "scopes": ["sync"]}, headers=mario)
    shown = {"Authorization": f"Bearer {answer.json()['token']}"}
    sync = "actions/sync/"
    assert api.client.post(f"{V2}/repositories/fedora-41/{sync}", headers=shown).status_code == 202
    assert api.client.post(f"{V2}/repositories/rhel-9/{sync}", headers=shown).status_code == 401
    assert api.client.put(f"{V2}/users/mario/", json={"delta": {"name": "M"}}, headers=shown).status_code == 401
    assert api.client.post(TOKENS, json={"name": "y", "scopes": ["sync"]}, headers=shown).status_code == 401
    assert api.client.put(f"{V2}/users/mario/", json={"delta": {"role": "reader"}}).status_code == 200
    assert api.client.post(f"{V2}/repositories/fedora-41/{sync}", headers=shown).status_code == 401
    assert api.client.delete(f"{V2}/users/mario/").status_code == 200
    assert api.client.get(TOKENS, headers=shown).json()["auth_error_code"] == "invalid_token"
    assert api.client.get(TOKENS).json() == {"tokens": []}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"scopes": []}, "scopes"),
        ({"scopes": ["write"]}, "a scope begins with fire, read, sync, publish, listen, admin"),
        ({"scopes": ["sync:"]}, "1 to 255 printable"),
        ({"scopes": ["sync:\u202e"]}, "1 to 255 printable"),
        ({"scopes": ["admin:x"]}, "takes no pattern"),
        ({"scopes": ["fire:repo.nothing.*"]}, "matches none of"),
        ({"scopes": ["read"] * 101}, "scopes"),
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"expires_in": 0}, "expires_in"),
        ({"expires_in": 10**10}, "expires_in"),
        ({"user": "nobody"}, "nobody"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_cannot_be_a_token_is_refused(api: Api, change: dict[str, Any], said: str) -> None:
    answer = api.client.post(TOKENS, json={"name": "ci", "scopes": ["read"], **change})
    assert answer.status_code in (400, 404)
    assert said in answer.json()["error_message"]
    assert api.client.get(TOKENS).json() == {"tokens": []}


def test_people_see_and_revoke_their_own_tokens_alone(api: Api) -> None:
    made(api, "read")
    mine = api.client.post(TOKENS, json={"name": "ci", "scopes": ["read"]}, headers=basic("reader")).json()["id"]
    [document] = api.client.get(TOKENS, headers=basic("reader")).json()["tokens"]
    assert document["id"] == mine
    [of_admin] = [it["id"] for it in api.client.get(TOKENS).json()["tokens"] if it["user"] == "admin"]
    assert api.client.delete(f"{TOKENS}/{of_admin}", headers=basic("reader")).status_code == 404
    for_admin = {"name": "z", "scopes": ["read"], "user": "admin"}
    assert api.client.post(TOKENS, json=for_admin, headers=basic("reader")).status_code == 401
    assert api.client.delete(f"{TOKENS}/{mine}", headers=basic("reader")).status_code == 204


@pytest.mark.parametrize(
    ("role", "may"),
    [
        ("reader", {"read"}),
        ("operator", {"read", "sync", "publish", "listen"}),
    ],
)
def test_a_role_is_narrowed_to_repositories(api: Api, role: str, may: set[str]) -> None:
    mario = user(api, "mario", role, "fedora-*")
    repositories(api, "fedora-41", "rhel-9")
    assert ids(api.client.get(f"{V2}/repositories/", headers=mario)) == ["fedora-41"]
    everything: dict[str, Any] = {"criteria": {}}
    assert ids(api.client.post(f"{V2}/repositories/search/", json=everything, headers=mario)) == ["fedora-41"]
    named = {"criteria": {"filters": {"id": {"$in": ["rhel-9", "fedora-41"]}}}}
    assert ids(api.client.post(f"{V2}/repositories/search/", json=named, headers=mario)) == ["fedora-41"]
    listener = {"notifier_type_id": "amqp", "notifier_config": {}, "event_types": ["*"]}
    tried: Sequence[tuple[str, str, str, dict[str, Any]]] = [
        ("read", "GET", f"{V2}/repositories/%s/", {}),
        ("read", "GET", f"{V2}/repositories/%s/importers/", {}),
        ("read", "POST", f"{V2}/repositories/%s/search/units/", {"criteria": {}}),
        ("read", "GET", f"{V1}/repositories/%s/changes", {}),
        ("sync", "POST", f"{V2}/repositories/%s/actions/sync/", {}),
        ("nobody", "PUT", f"{V2}/repositories/%s/", {"delta": {"description": "x"}}),
        ("nobody", "DELETE", f"{V2}/repositories/%s/", {}),
        ("nobody", "POST", f"{V2}/repositories/%s/actions/sync/", {"override_config": {"feed": "http://else/"}}),
    ]
    for verb, method, path, body in tried:
        for repo_id in ("fedora-41", "rhel-9"):
            answer = api.client.request(method, path % repo_id, json=body, headers=mario)
            is_let_in = verb in may and repo_id == "fedora-41"
            assert (answer.status_code < 300) == is_let_in, (verb, method, path, repo_id, answer.text)
    assert (api.client.post(f"{V2}/events/", json=listener, headers=mario).status_code == 201) == ("listen" in may)
    for path in ("/metrics", f"{V2}/users/", f"{V2}/tasks/", f"{V2}/content/uploads/"):
        assert api.client.get(path, headers=mario).status_code == 401, path


def test_events_that_somebody_may_not_see_are_none(api: Api) -> None:
    fire(api, "fedora-41", "rhel-9", None)
    for header in (user(api, "mario", "reader", "fedora-*"), made(api, "listen:fedora-*")):
        page = api.client.get(EVENTS, headers=header).json()
        assert ([event["repo_id"] for event in page["events"]], page["next"]) == (["fedora-41"], 3)
        assert api.client.get(f"{EVENTS}/1", headers=header).status_code == 200
        assert api.client.get(f"{EVENTS}/2", headers=header).status_code == 404
        assert api.client.get(f"{EVENTS}/3", headers=header).status_code == 404


def test_a_task_is_shown_to_those_who_may_work_on_its_repository(api: Api) -> None:
    repositories(api, "fedora-41")
    queued = api.client.post(f"{V2}/repositories/fedora-41/actions/sync/").json()["spawned_tasks"][0]["_href"]
    assert api.client.get(queued, headers=made(api, "sync:fedora-*")).status_code == 200
    assert api.client.get(queued, headers=made(api, "sync:rhel-*", name="other")).status_code == 404


def test_a_listener_belongs_to_the_operator_who_made_it(api: Api) -> None:
    mario, luigi = user(api, "mario", "operator", "fedora-*"), user(api, "luigi", "operator")
    body = {"notifier_type_id": "amqp", "notifier_config": {}, "event_types": ["*"]}
    of_admin = api.client.post(f"{V2}/events/", json=body).json()
    mine = api.client.post(f"{V2}/events/", json=body, headers=mario).json()
    assert (of_admin["_owner"], mine["_owner"]) == (None, "mario")
    assert ids(api.client.get(f"{V2}/events/", headers=mario)) == [mine["id"]]
    assert ids(api.client.get(f"{V2}/events/", headers=luigi)) == [of_admin["id"], mine["id"]]
    for other in (of_admin, mine):
        for header in (mario, luigi):
            mine_to_change = header is mario and other is mine
            pause = api.client.post(f"{V1}/listeners/{other['id']}/pause", headers=header)
            assert pause.status_code == (200 if mine_to_change else 404)
            change = api.client.put(f"{V2}/events/{other['id']}/", json={"repo_ids": ["*"]}, headers=header)
            assert change.status_code == (200 if mine_to_change else 404)
    fire(api, "fedora-41", "rhel-9")
    send = f"{V1}/listeners/{mine['id']}/send"
    assert api.client.post(send, json={"number": 1}, headers=mario).status_code == 202
    assert api.client.post(send, json={"number": 2}, headers=mario).status_code == 404


def test_the_listeners_of_somebody_who_goes_are_paused(api: Api) -> None:
    mario = user(api, "mario", "operator", "fedora-*")
    body = {"notifier_type_id": "amqp", "notifier_config": {}, "event_types": ["*"]}
    mine = api.client.post(f"{V2}/events/", json=body, headers=mario).json()["id"]
    assert api.client.put(f"{V2}/users/mario/", json={"delta": {"role": "reader"}}).status_code == 200
    state = api.client.get(f"{V1}/listeners/{mine}").json()["delivery"]
    assert (state["state"], state["pause_reason"]) == ("paused", "Its owner mario may have no listeners any more.")
    api.client.post(f"{V1}/listeners/{mine}/resume")
    assert api.client.delete(f"{V2}/users/mario/").status_code == 200
    state = api.client.get(f"{V1}/listeners/{mine}").json()["delivery"]
    assert state["pause_reason"] == "Its owner mario was deleted."


def test_an_administrator_is_not_narrowed_and_nobody_widens_themselves(api: Api) -> None:
    mario = user(api, "mario", "reader", "fedora-*")
    widened: list[dict[str, Any]] = [{"repo_ids": None}, {"repo_ids": ["*"]}, {"role": "operator"}]
    for delta in widened:
        answer = api.client.put(f"{V2}/users/mario/", json={"delta": delta}, headers=mario)
        assert answer.json()["auth_error_code"] == "permission_denied"
    assert api.client.put(f"{V2}/users/mario/", json={"delta": {"name": "M"}}, headers=mario).status_code == 200
    raised = api.client.put(f"{V2}/users/mario/", json={"delta": {"role": "admin"}}).json()
    assert (raised["role"], raised["repo_ids"]) == ("admin", None)
    wrong: list[dict[str, Any]] = [
        {"repo_ids": ["x"]},
        {"role": "admin", "repo_ids": ["x"]},
        {"repo_ids": [""]},
        {"repo_ids": 7},
    ]
    for delta in wrong:
        assert api.client.put(f"{V2}/users/mario/", json={"delta": delta}).status_code == 400, delta


def test_the_secret_is_in_no_log(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    shown = made(api, "fire:ci.#")
    api.client.get(EVENTS, headers=shown)
    api.client.post(EVENTS, json={"event_type": "x.y"}, headers=shown)
    assert shown["Authorization"].removeprefix("Bearer ") not in caplog.text
