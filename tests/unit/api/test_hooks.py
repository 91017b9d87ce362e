"""Signed requests of GitHub, GitLab, Gitea and others fire events and start syncs, each once."""

import hashlib
import hmac
import json
from typing import Any
from urllib.parse import urlencode

import pytest

from pulpit.api.hook_providers import NotSigned, check_signature
from pulpit.api.services import BURST, HookGate, TooManyRequests
from pulpit.api.v1 import hooks
from support.api import V1, V2, Api, basic

HOOKS = f"{V1}/hooks"
PUSH: dict[str, Any] = {
    "ref": "refs/heads/main",
    "before": "0" * 40,
    "after": "9c1e" * 10,
    "repository": {"full_name": "zoo/Bear.cub", "html_url": "https://github.example/zoo/bear"},
    "sender": {"login": "mario"},
    "compare": "https://github.example/zoo/bear/compare/1...2",
    "commits": [{"message": "x" * 1000}],
}
GITLAB_PUSH: dict[str, Any] = {
    "object_kind": "push",
    "ref": "refs/heads/main",
    "checkout_sha": "da15" * 10,
    "user_username": "luigi",
    "project": {"path_with_namespace": "zoo/bear", "web_url": "https://gitlab.example/zoo/bear"},
}


def made(api: Api, provider: str, **more: Any) -> dict[str, Any]:
    answer = api.client.post(HOOKS, json={"name": provider, "provider": provider, **more})
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    return document


def signature(secret: str, body: bytes) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def post(
    api: Api, hook: dict[str, Any], body: Any, *, secret: str | None = None, query: str = "", **headers: str
) -> Any:
    """Post as the provider of the hook does."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    known = hook["secret"] if secret is None else secret
    given = {
        "github": {"X-GitHub-Event": "push", "X-Hub-Signature-256": f"sha256={signature(known, raw)}"},
        "gitea": {"X-Gitea-Event": "push", "X-Gitea-Signature": signature(known, raw)},
        "gitlab": {"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": known},
        "generic": {} if query else {"Authorization": f"Bearer {known}"},
    }[hook["provider"]]
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    all_headers = {"Content-Type": "application/json", **given, **named}
    del api.client.headers["Authorization"]
    try:
        return api.client.post(hook["path"] + query, content=raw, headers=all_headers)
    finally:
        api.client.headers.update(basic("admin"))


def log(api: Api) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = api.client.get(f"{V1}/events?after=0").json()["events"]
    return events


@pytest.mark.parametrize("provider", ["github", "gitea"])
def test_a_push_becomes_an_event(api: Api, provider: str) -> None:
    hook = made(api, provider, repo_id="{repository}")
    answer = post(api, hook, PUSH, X_GitHub_Delivery="d1")
    assert (answer.status_code, answer.json()["event"]) == (202, 1)
    [event] = log(api)
    assert (event["event_type"], event["repo_id"]) == (f"{provider}.push", "zoo-Bear.cub")
    payload = event["payload"]
    assert (payload["hook"], payload["sender"], payload["commit"]) == (provider, "mario", PUSH["after"])
    assert payload["url"] == PUSH["compare"]
    assert "commits" not in payload
    [document] = api.client.get(HOOKS).json()["hooks"]
    assert (document["received"], document["last_problem"]) == (1, None)


def test_gitlab_shows_a_token_and_tells_its_own_way(api: Api) -> None:
    hook = made(api, "gitlab", fires="ci.{event}.{ref}")
    assert post(api, hook, GITLAB_PUSH, X_Gitlab_Event_UUID="u1").status_code == 202
    [event] = log(api)
    assert event["event_type"] == "ci.push.refs-heads-main"
    assert event["payload"]["repository"] == "zoo/bear"
    assert event["payload"]["commit"] == GITLAB_PUSH["checkout_sha"]


def test_anything_else_is_passed_on_whole(api: Api) -> None:
    hook = made(api, "generic", fires="build.{event}.{action}")
    body = {"event": "Image Built", "tags": ["1", "2"]}
    assert post(api, hook, body).status_code == 202
    assert post(api, hook, body, query=f"?token={hook['secret']}").status_code == 202
    raw = json.dumps(body).encode()
    signed = {"X_Hub_Signature_256": "sha256=" + signature(hook["secret"], raw)}
    assert post(api, hook, raw, secret="wrong", **signed).status_code == 202
    assert [event["event_type"] for event in log(api)] == ["build.image-built"] * 3
    assert log(api)[0]["payload"]["body"] == body


def test_github_may_send_a_form(api: Api) -> None:
    hook = made(api, "github")
    form = urlencode({"payload": json.dumps(PUSH)}).encode()
    kind = {"Content_Type": "application/x-www-form-urlencoded"}
    assert post(api, hook, form, **kind).status_code == 202
    assert post(api, hook, b"other=1", **kind).status_code == 400
    assert log(api)[0]["payload"]["ref"] == "refs/heads/main"


def test_the_signature_is_that_of_the_example_in_githubs_documentation() -> None:
    secret, body = "It's a Secret to Everybody", b"Hello, World!"
    known = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    check_signature("github", secret, {"x-hub-signature-256": known}, "", body)
    with pytest.raises(NotSigned):
        check_signature("github", secret, {"x-hub-signature-256": known}, "", body + b"!")


@pytest.mark.parametrize("provider", ["github", "gitlab", "gitea", "generic"])
def test_who_does_not_know_the_secret_is_refused_and_told_of(api: Api, provider: str) -> None:
    hook = made(api, provider)
    for secret in ("wrong", ""):
        answer = post(api, hook, PUSH, secret=secret)
        assert (answer.status_code, answer.json()["auth_error_code"]) == (401, "invalid_signature")
    del api.client.headers["Authorization"]
    assert api.client.post(hook["path"], json=PUSH).status_code == 401
    api.client.headers.update(basic("admin"))
    assert api.client.post(hook["path"], json=PUSH).status_code == 401  # an administrator is no sender
    assert log(api) == []
    [document] = api.client.get(HOOKS).json()["hooks"]
    assert document["last_problem"]
    assert hook["secret"] not in api.client.get(HOOKS).text


def test_a_delivery_that_is_sent_again_counts_once(api: Api) -> None:
    hook = made(api, "github")
    first = post(api, hook, PUSH, X_GitHub_Delivery="d1").json()
    again = post(api, hook, PUSH, X_GitHub_Delivery="d1").json()
    assert (again["event"], again["reason"]) == (first["event"], "it was delivered before")
    assert post(api, hook, PUSH, X_GitHub_Delivery="d2").json()["event"] == 2


def test_what_was_not_asked_for_is_passed_over(api: Api) -> None:
    hook = made(api, "github", only=["release"])
    for event in ("push", "ping"):
        assert post(api, hook, PUSH, X_GitHub_Event=event).json()["event"] is None
    assert post(api, hook, {**PUSH, "action": "published"}, X_GitHub_Event="release").json()["event"] == 1
    assert log(api)[0]["event_type"] == "github.release.published"


def test_a_request_starts_a_sync_unless_one_waits(api: Api) -> None:
    api.client.post(f"{V2}/repositories/", json={"id": "mirror", "importer_type_id": "iso_importer"})
    hook = made(api, "github", starts_sync="mirror")
    first, second = (post(api, hook, PUSH).json()["task_id"] for _ in range(2))
    assert first == second is not None
    tag = {"tag": "pulp:repository:mirror"}
    assert len(api.client.get(f"{V2}/tasks/", params=tag).json()) == 1
    api.client.delete(f"{V2}/tasks/{first}/")
    assert post(api, hook, PUSH).json()["task_id"] not in (None, first)


def test_an_event_that_goes_round_is_dropped_and_told_once(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    hook = made(api, "generic")
    assert post(api, hook, {"event": "x"}, pulpit_hops="7").status_code == 202
    assert log(api)[0]["payload"]["hops"] == 8
    for _ in range(3):
        answer = post(api, hook, {"event": "x"}, pulpit_hops="8").json()
        assert (answer["event"], "goes round" in answer["reason"]) == (None, True)
    assert len(log(api)) == 1
    assert [record.action for record in caplog.records if hasattr(record, "action")].count("hook_refused") == 1


def test_a_hook_takes_so_much_and_no_more(api: Api) -> None:
    hook = made(api, "generic")
    statuses = [post(api, hook, {"event": "x"}).status_code for _ in range(BURST + 1)]
    assert statuses[:-1] == [202] * BURST
    assert statuses[-1] in (202, 429)  # a slow machine has given some back
    gate = HookGate(now=lambda: 0.0)
    for _ in range(BURST):
        gate.check_rate("a")
    with pytest.raises(TooManyRequests):
        gate.check_rate("a")
    gate.check_rate("b")


@pytest.mark.parametrize(
    ("provider", "body", "status"),
    [
        ("github", b"x", 400),
        ("github", b"[]", 400),
        ("github", b'{"ref": NaN}', 400),
        ("github", b'{"repository": 7, "sender": [], "ref": {}}', 202),
        ("gitlab", b"{}", 202),
        ("generic", b"", 202),
        ("generic", json.dumps({"text": "x" * 300_000}).encode(), 400),
        ("generic", b" " * (hooks.LONGEST_BODY + 1), 413),
        ("generic", json.dumps({"event": "ä/\u202e!"}).encode(), 202),
    ],
)
def test_a_body_of_any_kind_is_a_sentence_or_an_event(api: Api, provider: str, body: bytes, status: int) -> None:
    answer = post(api, made(api, provider), body)
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"provider": "cvs"}, "one of github, gitlab, gitea, generic"),
        ({"fires": "repo.sync.start"}, "by Pulpit alone"),
        ({"fires": "tasks.{event}"}, "by Pulpit alone"),
        ({"fires": "{event}.x"}, "must not be in braces"),
        ({"fires": "ci.{colour}"}, "in braces may stand"),
        ({"fires": "ci.{event"}, "in braces may stand"),
        ({"fires": "ci"}, "fires"),
        ({"fires": "ci.ä"}, "fires"),
        ({"repo_id": "{0}"}, "in braces may stand"),
        ({"starts_sync": "nobody"}, "nobody"),
        ({"secret": "short"}, "secret"),
        ({"secret": "with blanks in it, so no token"}, "one word"),
        ({"name": ""}, "name"),
        ({"colour": 1}, "colour"),
    ],
)
def test_what_cannot_be_a_hook_is_refused(api: Api, change: dict[str, Any], said: str) -> None:
    answer = api.client.post(HOOKS, json={"name": "x", "provider": "github", **change})
    assert answer.status_code in (400, 404)
    assert said in answer.json()["error_message"]
    assert api.client.get(HOOKS).json() == {"hooks": []}


def test_a_hook_that_is_gone_takes_nothing(api: Api) -> None:
    hook = made(api, "github")
    assert api.client.post(HOOKS, json={"name": "github", "provider": "github"}).status_code == 409
    assert api.client.delete(f"{HOOKS}/{hook['id']}").status_code == 204
    assert post(api, hook, PUSH).status_code == 404
    for odd in ("%00", "a%2Fb", "%C3%A4", "x" * 3000):
        assert post(api, {**hook, "path": f"/pulpit/hooks/{odd}"}, PUSH).status_code == 404
    assert api.client.get(f"{HOOKS}", headers=basic("reader")).status_code == 200
    assert api.client.post(HOOKS, json={"name": "a", "provider": "github"}, headers=basic("reader")).status_code == 401
