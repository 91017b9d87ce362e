"""The bodies of http listeners in each format; an untrusted text cannot mention anyone."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from pulpit.clock import system_clock
from pulpit.delivery.headers import attributes, plain_signatures
from pulpit.delivery.notifiers import http_config
from pulpit.delivery.notifiers.http import Http
from pulpit.delivery.notifiers.http_bodies import LONGEST_SENTENCE, Format, body_of, sentence
from pulpit.delivery.notifiers.port import Delivered, Notifier, Outcome
from pulpit.errors import InvalidValue
from pulpit.events import Event, encode_body

SECRET = "whsec_aHVzaC1odXNoLWh1c2gtaHVzaC1odXNoLWh1c2g="
SOURCE = "https://pulpit.example.com"


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
    return json.loads(body_of(of, form, SOURCE).content)


def test_pulps_message_goes_out_byte_for_byte() -> None:
    body = body_of(event(), Format.PULP, SOURCE)
    assert (body.content, body.content_type) == (event().body.encode(), "application/json")


@pytest.mark.parametrize("repo_id", ["zoo", 'a "quoted"\\name\n\x00', "zö🐻"])
def test_a_cloudevent_has_the_attributes_that_other_listeners_send_as_headers(repo_id: str) -> None:
    for some in (event(repo_id), event()._replace(repo_id=None, repo_number=None)):
        document = read(Format.CLOUDEVENTS, some)
        assert document.pop("data") == json.loads(some.body)
        further = {"datacontenttype": "application/json", "traceparent": "00-0-0-01", "sequence": "7"}
        if some.repo_number is not None:
            further["reponumber"] = "3"
        assert document == attributes(some, SOURCE) | further


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
    body = body_of(event(), Format.TEXT, SOURCE)
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


def test_a_cloudevent_has_attributes_and_the_whole_message() -> None:
    body = body_of(event("zoo & söhne"), Format.CLOUDEVENTS, SOURCE)
    assert body.content_type == "application/cloudevents+json"
    document = json.loads(body.content)
    assert document.pop("data") == json.loads(event("zoo & söhne").body)
    assert document == {
        "specversion": "1.0",
        "id": "01a20ba7-3fc7-7959-9eab-0194c6057cf0",
        "source": SOURCE,
        "type": "repo.sync.finish",
        "time": "2031-05-04T12:00:00.000000Z",
        "subject": "zoo & söhne",
        "datacontenttype": "application/json",
        "traceparent": "00-0-0-01",
        "sequence": "7",
        "reponumber": "3",
    }


SPECIFIED = {
    "context": {"version", "id", "source", "type", "timestamp"},
    "subject": {"id", "source", "type", "content"},
}
"""Objects of a CDEvent 0.4.1 and the keys that its schemas allow in them, all of which are sent."""


@pytest.mark.parametrize(
    ("event_type", "result", "kind", "outcome"),
    [
        ("repo.sync.start", None, "started", None),
        ("repo.publish.start", None, "started", None),
        ("repo.sync.finish", "success", "finished", "success"),
        ("repo.publish.finish", "skipped", "finished", "success"),
        ("repo.sync.finish", "failed", "finished", "failure"),
        ("repo.sync.finish", "canceled", "finished", "cancel"),
        ("repo.publish.finish", "error", "finished", "error"),
    ],
)
def test_a_cdevent_is_what_the_schemas_of_the_specification_allow(
    event_type: str, result: str | None, kind: str, outcome: str | None
) -> None:
    message = "no route" if outcome == "failure" else None
    document = read(Format.CDEVENTS, event(event_type=event_type, result=result, error_message=message))
    assert {name: set(document[name]) for name in SPECIFIED} == SPECIFIED
    assert document.keys() - SPECIFIED == {"customData", "customDataContentType"}
    assert document["context"]["version"] == "0.4.1"
    assert document["context"]["type"] == f"dev.cdevents.taskrun.{kind}.0.2.0"
    assert document["subject"]["type"] == "taskRun"
    content = document["subject"]["content"]
    assert content.keys() <= {"taskName", "url", "pipelineRun", "outcome", "errors"}
    assert content.get("outcome") == outcome
    assert content.get("errors") == message
    assert document["customData"]["payload"]["repo_id"] == "zoo"


def test_an_event_without_a_type_in_cdevents_is_not_sent_and_that_is_told() -> None:
    hook = Http(system_clock).open({"url": "https://user.example.com/", "format": "cdevents"})
    (outcome,) = asyncio.run(_deliver(hook, event(event_type="repo.create")))
    assert outcome == Delivered(answer="Nothing was sent: CDEvents has no type for repo.create.")
    assert hook.describe(event(event_type="repo.create")) == {"nothing": "CDEvents has no type for repo.create."}
    headers = hook.describe(event())["headers"]
    assert headers["ce-type"] == "dev.cdevents.taskrun.finished.0.2.0"
    assert headers["ce-subject"] == "01a20ba7-3fc7-7959-9eab-0194c6057cf0/repo.sync/zoo"


async def _deliver(hook: Notifier, one: Event) -> Sequence[Outcome]:
    return await hook.deliver([one])
