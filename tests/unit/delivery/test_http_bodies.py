"""What receivers of http listeners read, in each format, and who is not called by what strangers wrote."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from pulpit.clock import system_clock
from pulpit.delivery.headers import plain_signatures
from pulpit.delivery.notifiers import http_config
from pulpit.delivery.notifiers.http import Http
from pulpit.delivery.notifiers.http_bodies import LONGEST_SENTENCE, Format, body_of, sentence
from pulpit.errors import InvalidValue
from pulpit.events import Event, encode_body

SECRET = "whsec_aHVzaC1odXNoLWh1c2gtaHVzaC1odXNoLWh1c2g="


def event(repo_id: str = "zoo", event_type: str = "repo.sync.finish", **payload: Any) -> Event:
    body = {"repo_id": repo_id, "result": "failed", **payload}
    return Event(
        number=7,
        id="01a20ba7-3fc7-7959-9eab-0194c6057cf0",
        event_type=event_type,
        repo_id=repo_id,
        repo_number=3,
        result=body["result"],
        occurred_at=datetime(2031, 5, 4, 12, tzinfo=UTC),
        traceparent="00-0-0-01",
        body=encode_body(event_type, body, None),
    )


def read(form: Format, of: Event) -> Any:
    return json.loads(body_of(of, form).content)


def test_pulps_message_goes_out_byte_for_byte() -> None:
    body = body_of(event(), Format.PULP)
    assert (body.content, body.content_type) == (event().body.encode(), "application/json")


def test_a_thin_body_has_nothing_of_the_payload() -> None:
    assert read(Format.THIN, event(error_message="secret of the house")) == {
        "number": 7,
        "id": "01a20ba7-3fc7-7959-9eab-0194c6057cf0",
        "event_type": "repo.sync.finish",
        "repo_id": "zoo",
        "result": "failed",
        "occurred_at": "2031-05-04T12:00:00.000000Z",
        "href": "/pulpit/v1/events/7",
    }


def test_a_sentence_says_what_happened_what_went_wrong_and_what_changed() -> None:
    units = [{"change": "added", "name": f"bear-{number}", "version": "1.0"} for number in range(7)]
    changes = {"added": 7, "removed": 0, "replaced": 0, "units": units}
    lines = sentence(event(error_message="no\nroute", changes=changes)).splitlines()
    assert "zoo" in lines[0]
    assert lines[1] == "no route"
    assert "bear-0 1.0" in lines[2]
    assert lines[-1] == "and 2 more"
    assert len(sentence(event("x" * 10_000, error_message="y" * 10_000))) <= LONGEST_SENTENCE


@pytest.mark.parametrize(
    ("form", "key", "calling", "harmless"),
    [
        (Format.SLACK, "text", "<!channel> & co", "&lt;!channel&gt; &amp; co"),
        (Format.MATTERMOST, "text", "@all", "@\u200ball"),
        (Format.DISCORD, "content", "@everyone", "@everyone"),
    ],
)
def test_a_name_calls_nobody(form: Format, key: str, calling: str, harmless: str) -> None:
    document = read(form, event(error_message=calling))
    assert document[key].splitlines()[1] == harmless
    if form is Format.DISCORD:
        assert document["allowed_mentions"] == {"parse": []}


def test_what_an_upstream_takes_back_is_named_with_its_reason() -> None:
    units = [{"name": "bear", "version": "1.0", "file": f"bear-1.0.{end}"} for end in ("zip", "tar.gz")]
    told: dict[str, Any] = {"name": "bear", "how": "quarantined", "reason": "mal\nware", "count": 3, "units": units}
    lines = sentence(event(event_type="unit.withdrawn", **told)).splitlines()
    assert lines == [
        "The upstream of zoo has quarantined bear: mal ware",
        "bear-1.0.zip",
        "bear-1.0.tar.gz",
        "and 1 more",
    ]
    assert (
        sentence(event(event_type="unit.withdrawn", name="bear", how="yanked"))
        == "The upstream of zoo has yanked bear."
    )


def test_teams_gets_an_adaptive_card() -> None:
    document = read(Format.TEAMS, event(error_message="no route"))
    [attachment] = document["attachments"]
    assert (document["type"], attachment["contentType"]) == ("message", "application/vnd.microsoft.card.adaptive")
    assert [block["text"] for block in attachment["content"]["body"]] == sentence(
        event(error_message="no route")
    ).splitlines()


def test_text_is_text() -> None:
    body = body_of(event(), Format.TEXT)
    assert body.content_type == "text/plain; charset=utf-8"
    assert body.content.decode() == sentence(event()) + "\n"


def test_the_plain_signature_is_that_of_the_example_in_githubs_documentation() -> None:
    known = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    found = plain_signatures(b"Hello, World!", b"It's a Secret to Everybody")
    assert found == {"X-Hub-Signature-256": known, "X-Signature": known}


def test_a_request_is_described_as_it_goes_out() -> None:
    config = {"url": "https://user.example.com/", "secret": SECRET, "plain_signature": True, "format": "text"}
    request = Http(system_clock).open(config).describe(event())
    assert request["body"] == sentence(event()) + "\n"
    assert request["headers"]["Content-Type"].startswith("text/plain")
    signed = plain_signatures(request["body"].encode(), SECRET.encode())
    assert request["headers"]["X-Signature"] == signed["X-Signature"]
    assert "webhook-signature" in request["headers"]
    assert SECRET not in json.dumps(dict(request))
    del config["plain_signature"]
    assert "X-Signature" not in Http(system_clock).open(config).describe(event())["headers"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "morse"}, "format must be one of pulp, thin"),
        ({"format": 7}, "format must be one of"),
        ({"plain_signature": True}, "the secret, which is missing"),
        ({"plain_signature": "yes", "secret": SECRET}, "true or false"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidValue, match=said):
        http_config.read({"url": "https://user.example.com/", **change})
