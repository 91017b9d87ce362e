"""Listeners on the page: each form does what the command shown beside it does."""

import html
import re
import shlex
from collections.abc import Mapping
from typing import Any

import pytest

from pulpit.admin import listener_kinds
from pulpit.delivery.notifiers.kinds import Registered, unusable
from pulpit.fire import fire
from pulpit.listener_options import BUILT_IN, ListenerKind, Option, OptionType
from pulpit.store import dead_letters, listeners
from pulpit.store.dead_letters import NewDeadLetter
from pulpit.ui.listener_forms import WANTS, Kind, fields_of
from support.api import PlainNotifierType
from support.command_tables import command_of
from support.page import Page, Seen

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def listener_id(admin: Page) -> str:
    fields = {"kind": "http", "url": "http://ci.example.org/hook", "password": "hush", "event_types": "*"}
    made = admin.post("/listeners/new", fields, of="/listeners/new")
    return str(made.response.url.path).rpartition("/")[2]


def _stored(page: Page, listener_id: str) -> listeners.Listener:
    with page.services.database.read() as connection:
        return listeners.get(connection, listener_id)


def _letters(page: Page, listener_id: str, *numbers: int) -> list[dead_letters.DeadLetter]:
    new = [NewDeadLetter(event_number=number, reason=f"{HOSTILE} 400 Bad Request") for number in numbers]
    with page.services.database.write() as tx:
        dead_letters.add(tx, listener_id, new, attempts=3, now=page.services.clock())
        return dead_letters.of_listener(tx.connection, listener_id)


def _fire(page: Page, **payload: Any) -> int:
    with page.services.database.write() as tx:
        return fire(tx, "zoo.fed", payload, clock=page.services.clock).number


@pytest.mark.parametrize("kind", sorted(BUILT_IN))
def test_every_field_is_an_option_of_the_command_that_is_shown_beside_it(kind: str) -> None:
    for verb in ("create", "update"):
        command = listener_kinds.GROUPS[kind].commands[verb]
        options = {name for parameter in command.params for name in parameter.opts}
        assert {field.option for field in (*WANTS, *fields_of(BUILT_IN[kind]))} <= options


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (
            "amqp",
            {
                "exchange": "pulp",
                "require_route": "true",
                "event_types": "repo.*.finish\n\n * ",
                "give_up_after": "12h",
            },
        ),
        ("http", {"url": "http://ci.example.org/", "timeout": "7", "event_types": "#", "packages": "openssl*\nowl"}),
        ("email", {"subject": "It's {event_type}", "addresses": "a@example.org\nb@example.org", "event_types": "*"}),
    ],
)
def test_a_form_makes_a_listener(admin: Page, kind: str, fields: Mapping[str, str]) -> None:
    seen = admin.post("/listeners/new", {"kind": kind, **fields}, of="/listeners/new")
    assert "The listener is created" in seen.text
    made = _stored(admin, str(seen.response.url.path).rpartition("/")[2])
    assert made.notifier_type_id == kind
    expected = {
        field.name: _expected(field.kind, fields[field.name])
        for field in fields_of(BUILT_IN[kind])
        if field.name in fields
    }
    assert made.notifier_config == expected
    assert made.event_types == [line.strip() for line in fields["event_types"].splitlines() if line.strip()]
    assert made.give_up_after == (43_200 if "give_up_after" in fields else listeners.GIVE_UP_AFTER)


def _expected(kind: Kind, text: str) -> Any:
    match kind:
        case Kind.NUMBER:
            return int(text)
        case Kind.FLAG:
            return True
        case Kind.LIST:
            return text.split()
    return text


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"event_types": ""}, "event_types"),
        ({"event_types": "repo.sink"}, "repo.sink"),
        ({"event_types": "*", "give_up_after": "soon"}, "'soon' is no time"),
        ({"event_types": "*", "exchange": HOSTILE, "results": "a b"}, "'a b' is no result"),
        ({"event_types": "*", "repo_ids": "x" * 300}, "1 to 255"),
    ],
)
def test_what_cannot_work_is_told_and_what_was_written_stays(
    admin: Page, fields: Mapping[str, str], complaint: str
) -> None:
    seen = admin.post("/listeners/new", {"kind": "amqp", **fields}, of="/listeners/new")
    assert seen.status == 400
    assert complaint in seen.text
    for name, text in fields.items():
        assert html.escape(text, quote=False) in seen.response.text or name == "event_types"


def test_a_change_keeps_secrets_that_are_not_given_and_takes_away_what_is_emptied(
    admin: Page, listener_id: str
) -> None:
    path = f"/listeners/{listener_id}/edit"
    form = admin.get(path)
    assert "hush" not in form.response.text
    fields = {"url": "http://ci.example.org/other", "timeout": "9", "event_types": "#", "give_up_after": ""}
    admin.post(path, fields, of=path)
    assert _stored(admin, listener_id).notifier_config == {
        "url": "http://ci.example.org/other",
        "timeout": 9,
        "password": "hush",
    }
    admin.post(path, {**fields, "timeout": "", "clear.password": "true"}, of=path)
    assert _stored(admin, listener_id).notifier_config == {"url": "http://ci.example.org/other"}
    refused = admin.post(path, {**fields, "timeout": "soon", "url": ""}, of=path)
    assert refused.status in (200, 400)


def test_pause_resume_replay_and_delete(admin: Page, listener_id: str) -> None:
    here = f"/listeners/{listener_id}"
    assert "Paused: <b>lunch" in admin.post(f"{here}/pause", {"reason": "<b>lunch"}, of=here).text
    assert _stored(admin, listener_id).paused
    admin.post(f"{here}/resume", of=here)
    assert not _stored(admin, listener_id).paused
    number = _fire(admin)
    admin.post(f"{here}/replay", {"number": str(number), "event_types": "zoo.*"}, of=here)
    assert (_stored(admin, listener_id).replay_from, _stored(admin, listener_id).replay_types) == (number, ["zoo.*"])
    admin.post(f"{here}/replay", {"time": "2031-05-04T10:00"}, of=here)
    for wrong in ({}, {"number": "x"}, {"number": "0"}, {"time": "noon"}, {"number": "1", "event_types": "repo.sink"}):
        assert admin.post(f"{here}/replay", wrong, of=here).status == 400
    assert "The listener and its dead letters are deleted" in admin.post(f"{here}/delete", of=here).text
    assert admin.get(here).status == 404


def test_dead_letters_are_sent_again_or_thrown_away(admin: Page, listener_id: str) -> None:
    here = f"/listeners/{listener_id}"
    numbers = [_fire(admin) for _ in range(3)]
    first, second, third = _letters(admin, listener_id, *numbers)
    shown = admin.get(here)
    assert f"{HOSTILE} 400 Bad Request" in shown.text
    assert HOSTILE not in shown.response.text
    assert admin.post(f"{here}/letters", {"do": "send"}, of=here).status == 400
    admin.post(f"{here}/letters", {"do": "send", "id": [first.id, second.id]}, of=here)
    admin.post(f"{here}/letters", {"do": "drop", "id": [third.id]}, of=here)
    with admin.services.database.read() as connection:
        left = dead_letters.of_listener(connection, listener_id)
    assert [(letter.id, letter.send_again) for letter in left] == [(first.id, True), (second.id, True)]
    admin.post(f"{here}/letters", {"do": "drop-all"}, of=here)
    assert "None: everything was delivered" in admin.get(here).text


def test_an_event_is_shown_with_who_wanted_it_and_sent_to_another(admin: Page, listener_id: str) -> None:
    units = [{"change": "added", "name": HOSTILE, "version": "1"}, {"change": "removed", "name": "owl"}, "odd"]
    number = _fire(admin, changes={"added": 1, "units": units}, note="\u202e")
    shown = admin.get(f"/events/{number}")
    assert "http://ci.example.org/hook" in shown.text
    assert f"{HOSTILE} 1" in shown.text
    assert HOSTILE not in shown.response.text
    assert "\u202e" not in shown.response.text
    sent = admin.post(f"/events/{number}/send", {"listener": listener_id}, of=f"/events/{number}")
    assert "being sent again" in sent.text
    assert "admin has asked for it to be sent." in sent.text
    for missing in (str(number + 1), "0", "x", "9" * 40):
        assert admin.get(f"/events/{missing}").status in (400, 404)
    assert admin.post(f"/events/{number}/send", {"listener": "x"}, of=f"/events/{number}").status == 404


def test_a_reader_sees_and_may_not(admin: Page, listener_id: str) -> None:
    token_of = "/listeners"
    admin.client.cookies.clear()
    admin.take_session("reader")
    here = f"/listeners/{listener_id}"
    page = admin.get(here)
    actions = {attributes.get("action") for tag, attributes in page.tags if tag == "form"}
    assert {action for action in actions if action and not action.endswith(("/logout", "/letters"))} == set()
    assert not [tag for tag, attributes in page.tags if tag == "button" and attributes.get("name") == "do"]
    for path in (
        "/listeners/new",
        f"{here}/pause",
        f"{here}/test",
        f"{here}/delete",
        f"{here}/letters",
        "/events/1/send",
    ):
        refused = admin.post(path, {"kind": "amqp", "event_types": "*", "do": "drop-all"}, of=token_of)
        assert refused.status == 403, path
        assert "The user reader may only look" in refused.text


def test_a_thousand_listeners_come_by_pages(admin: Page) -> None:
    with admin.services.database.write() as tx:
        for number in range(120):
            listeners.add(tx, "email", {"addresses": [f"{number}@example.org"]}, ["*"], now=admin.services.clock())
    first = admin.get("/listeners", kind="email")
    assert len([tag for tag, _ in first.tags if tag == "tr"]) == 51
    assert "1 to 50 of" in first.text
    third = admin.get("/listeners", kind="email", page="3")
    assert 20 < len([tag for tag, _ in third.tags if tag == "tr"]) <= 51
    for odd in ("0", "-1", "x", "9" * 99):
        assert admin.get("/listeners", page=odd).status == 200


def test_every_command_that_a_page_shows_is_one(admin: Page, listener_id: str) -> None:
    number = _fire(admin)
    _letters(admin, listener_id, number)
    pages = [admin.get(path) for path in (f"/listeners/{listener_id}", f"/events/{number}", "/listeners/new")]
    lines = {line for page in pages for line in _commands(page)}
    assert len(lines) >= 6
    for line in lines:
        program, *words = shlex.split(line)
        assert program == "pulp-admin"
        options = {name for parameter in command_of(words).params for name in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, line


def _commands(page: Seen) -> list[str]:
    return [html.unescape(found) for found in re.findall(r"<pre[^>]*>(pulp-admin [^<]*)</pre>", page.response.text)]


def test_a_plug_in_has_a_form_and_one_that_is_broken_is_told(admin: Page) -> None:
    options = (
        Option(name="room", help="Where to.", required=True),
        Option(name="token", help="Who we are.", secret=True),
        Option(name="marks", help="What else.", type=OptionType.PAIRS),
        Option(name="tone", help="How.", choices=("low", "high")),
    )
    kind = ListenerKind(id="odd", summary="Listeners that are odd.", options=options, shown=("room",))
    bare = ListenerKind(id="gone", summary="", options=())
    kinds = admin.services.listener_types
    kinds._registered["odd"] = Registered(kind=kind, make=lambda: PlainNotifierType(kind), brought_by="odd 1")  # type: ignore[arg-type,return-value] # it is never opened
    kinds._registered["gone"] = unusable(bare, f"{HOSTILE} cannot be loaded.", "gone 1")
    try:
        form = admin.get("/listeners/new", kind="odd")
        assert "Who we are." in form.text
        assert [attributes["name"] for tag, attributes in form.tags if tag == "select"] == ["tone"]
        fields = {"kind": "odd", "room": "hall", "token": "hush", "marks": "a=1\nb=2", "tone": "low"}
        made = admin.post("/listeners/new", {**fields, "event_types": "*"}, of="/listeners/new?kind=odd")
        listener_id = str(made.response.url.path).rpartition("/")[2]
        config = {"room": "hall", "token": "hush", "marks": {"a": "1", "b": "2"}, "tone": "low"}
        assert _stored(admin, listener_id).notifier_config == config
        edited = admin.get(f"/listeners/{listener_id}/edit")
        assert "hush" not in edited.response.text + admin.get(f"/listeners/{listener_id}").response.text
        assert "a=1" in edited.response.text
        listed = admin.get("/listeners", kind="odd")
        assert f"{HOSTILE} cannot be loaded." in listed.text
        assert HOSTILE not in listed.response.text
        assert "odd hall" in listed.text
        assert "kind=gone" not in {str(attributes.get("href")).rpartition("?")[2] for _, attributes in listed.tags}
        del kinds._registered["odd"]
        kinds._made.pop("odd")
        unknown = admin.get(f"/listeners/{listener_id}")
        assert "hush" not in unknown.response.text
        assert "hall" not in unknown.response.text
    finally:
        kinds._registered.clear()
