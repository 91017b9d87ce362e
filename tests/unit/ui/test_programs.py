"""Tokens, hooks and consumers on the page: created and deleted by the rules of the REST API; secrets shown once."""

import re

import pytest

from pulpit.store import consumers, hooks, tokens
from support.command_tables import command_of
from support.page import Page

HOSTILE = "<script>alert(1)</script>"


def _token_id(page: Page, name: str) -> str:
    with page.services.database.read() as connection:
        (found,) = [token.id for token in tokens.every(connection, None) if token.name == name]
    return found


def test_a_token_is_shown_once_listed_and_revoked(admin: Page) -> None:
    fields = {"name": f"ci {HOSTILE}", "scopes": "fire:ci.#\n\nread", "expires": "12h"}
    made = admin.post("/programs/tokens", fields, of="/programs")
    found = re.search(r'id="made-token">([^<]+)<', made.response.text)
    assert found, made.text
    assert made.response.headers["cache-control"] == "no-store"
    assert HOSTILE not in made.response.text
    seen = admin.get("/programs")
    assert found[1] not in seen.response.text
    assert "fire:ci.# read never" in seen.text
    again = admin.post("/programs/tokens", fields, of="/programs")
    assert again.status == 409
    assert "fire:ci.#" in again.response.text  # what was filled in is there
    gone = admin.post(f"/programs/tokens/{_token_id(admin, fields['name'])}/revoke", of="/programs")
    assert "The token is revoked" in gone.text
    assert "ci.#" not in admin.get("/programs").text.partition("New token")[0]


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"name": "x", "scopes": "fly"}, 400, "'fly' is none"),
        ({"name": "", "scopes": "read"}, 400, "1 to 100 printable characters"),
        ({"name": "x", "scopes": ""}, 400, "scopes"),
        ({"name": "x", "scopes": "read", "expires": "soon"}, 400, "it must be a time such as 12h or 90d, or never"),
        ({"name": "x", "scopes": "read", "login": "nobody"}, 404, "nobody"),
    ],
)
def test_what_no_token_can_be_is_told_in_a_sentence(
    admin: Page, fields: dict[str, str], status: int, said: str
) -> None:
    refused = admin.post("/programs/tokens", fields, of="/programs")
    assert (refused.status, said in refused.text) == (status, True), refused.text


def test_a_reader_has_tokens_of_their_own_and_no_hooks(reader: Page) -> None:
    reader.take_session("admin")
    reader.post("/programs/tokens", {"name": "of admin", "scopes": "admin", "expires": "never"}, of="/programs")
    reader.post("/programs/hooks", {"name": "forge", "provider": "github"}, of="/programs")
    with reader.services.database.write() as tx:
        consumers.add(tx, "admin", "robot", 0, now=reader.services.clock())
        (hook,) = hooks.every(tx.connection)
    reader.take_session("reader")
    assert reader.post("/programs/tokens", {"name": "mine", "scopes": "read"}, of="/programs").status == 200
    seen = reader.get("/programs")
    assert ("mine" in seen.text, "of admin" in seen.text, "robot" in seen.text) == (True, False, False)
    assert ("forge" in seen.text, "New hook" in seen.text) == (True, False)
    refused = {
        f"/programs/tokens/{_token_id(reader, 'of admin')}/revoke": 404,
        "/programs/hooks": 403,
        f"/programs/hooks/{hook.id}/delete": 403,
    }
    for path, status in refused.items():
        assert reader.post(path, {"name": "x", "provider": "github"}, of="/programs").status == status, path
    assert reader.post("/programs/consumers/robot/delete", {"user": "admin"}, of="/programs").status in (403, 404)
    assert reader.post("/programs/tokens", {"name": "y", "scopes": "sync"}, of="/programs").status == 400
    assert reader.send("/programs/tokens", {"name": "z", "scopes": "read"}).status == 403  # without the form's token
    mine = f"/programs/tokens/{_token_id(reader, 'mine')}/revoke"
    assert "The token is revoked" in reader.post(mine, of="/programs").text


def test_a_hook_is_shown_with_its_address_once_and_removed(admin: Page) -> None:
    fields = {"name": HOSTILE, "provider": "gitlab", "fires": "git.{event}", "only": "push\nTag Push Hook"}
    made = admin.post("/programs/hooks", fields, of="/programs")
    with admin.services.database.read() as connection:
        (hook,) = [hook for hook in hooks.every(connection) if hook.name == HOSTILE]
    assert f"http://testserver/pulpit/hooks/{hook.id}" in made.text
    assert hook.secret in made.text
    assert hook.secret not in admin.get("/programs").text
    assert (hook.fires, hook.only) == ("git.{event}", ["push", "Tag Push Hook"])
    refused = admin.post(
        "/programs/hooks", {"name": "x", "provider": "gitlab", "fires": "repo.{event}"}, of="/programs"
    )
    assert (refused.status, "is fired by Pulpit alone" in refused.text) == (400, True)
    assert "The hook is deleted" in admin.post(f"/programs/hooks/{hook.id}/delete", of="/programs").text


def test_consumers_are_listed_by_lag_and_removed(admin: Page) -> None:
    now = admin.services.clock()
    with admin.services.database.write() as tx:
        for name in ("near", "far"):
            consumers.add(tx, "reader", name, 0, now=now)
    text = admin.get("/programs").text
    assert "near" in text
    assert "far" in text
    gone = admin.post("/programs/consumers/near/delete", {"user": "reader"}, of="/programs")
    assert "The consumer is deleted" in gone.text
    with admin.services.database.read() as connection:
        assert [consumer.name for consumer in consumers.every(connection, "reader")] == ["far"]


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (("auth", "token", "create"), ("--name", "--scope", "--expires", "--login")),
        (
            ("event", "hook", "create"),
            ("--name", "--provider", "--fires", "--repo-id", "--starts-sync", "--only"),
        ),
    ],
)
def test_the_forms_teach_options_that_there_are(admin: Page, path: tuple[str, ...], fields: tuple[str, ...]) -> None:
    options = {name for parameter in command_of(path).params for name in parameter.opts}
    taught = re.findall(r'data-option="([^"]+)"', admin.get("/programs").response.text)
    assert set(fields) <= options
    assert set(fields) <= set(taught)
