"""The text of messages about events."""

from email import message_from_bytes
from email.headerregistry import Address
from email.policy import SMTP
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulpit.delivery.notifiers import email_message
from pulpit.delivery.notifiers.email_config import DEFAULT_SUBJECT, Mailing
from support.made_events import NOON, event

MAILING = Mailing(subject=DEFAULT_SUBJECT, addresses=("joe@example.com",), digest=None)
SENDER = Address("Pulp", addr_spec="pulp@example.com")

FAILED: dict[str, Any] = {
    "importer_id": "iso_importer",
    "importer_type_id": "iso_importer",
    "result": "failed",
    "started": "2026-05-04T11:58:00Z",
    "completed": "2026-05-04T13:00:07Z",
    "added_count": 3,
    "updated_count": 0,
    "removed_count": -1,
    "error_message": "The mirror answered 503",
    "exception": None,
    "traceback": ["line 1"],
    "summary": {"state": "x"},
    "details": None,
    "_ns": "repo_sync_results",
    "id": "5" * 24,
}


def test_a_failure_says_why_first() -> None:
    happened = event(12, **FAILED)
    assert email_message.text([happened]) == "\n".join(
        [
            "Sync of zoo FAILED.",
            "",
            "Error:      The mirror answered 503",
            "Result:     failed",
            "Repository: zoo",
            "Importer:   iso_importer",
            "Added:      3",
            "Updated:    0",
            "Removed:    unknown",
            "Started:    2026-05-04T11:58:00Z",
            "Completed:  2026-05-04T13:00:07Z",
            "Duration:   1 h 2 min 7 s",
            "Event:      repo.sync.finish",
            "Number:     12",
            f"Id:         {happened.id}",
            "Time:       2026-05-04T12:00:00Z",
            "",
        ]
    )


def test_what_has_changed_is_named() -> None:
    openssl = {"change": "added", "type": "rpm", "name": "openssl", "version": "3.0-1", "arch": "noarch"}
    advisory = {"type": "security", "severity": "Important", "title": "x"}
    erratum = {"change": "replaced", "type": "erratum", "name": "RHSA-1\r\nBcc: x", "advisory": advisory}
    changes = {"added": 7, "removed": 0, "replaced": 1, "truncated": True, "units": [openssl, erratum]}
    happened = event(12, changes=changes)
    expected = ["Changed:", "  + openssl 3.0-1 noarch", "  ~ RHSA-1 Bcc: x (Important)", "  and 6 more"]
    assert email_message.text([happened]).splitlines()[-4:] == expected
    digest = email_message.text([happened, event(13)]).splitlines()
    assert [line.strip() for line in digest[2:5]] == [line.strip() for line in expected[1:]]


@pytest.mark.parametrize("changes", [None, 7, {}, {"units": [None, {}]}, {"units": "x", "added": "y"}])
def test_changes_of_another_form_are_left_to_the_file(changes: object) -> None:
    assert "Bcc" not in email_message.text([event(12, changes=changes)])


@pytest.mark.parametrize(
    ("event_type", "result", "headline"),
    [
        ("repo.sync.start", None, "Sync of zoo has started."),
        ("repo.sync.finish", "success", "Sync of zoo succeeded."),
        ("repo.publish.finish", "canceled", "Publish of zoo was cancelled."),
        ("repo.publish.finish", "skipped", "Publish of zoo was skipped: nothing had changed."),
        ("repo.publish.finish", "odd", "Publish of zoo ended: odd."),
        ("build.image.done", "failed", "build.image.done of zoo: failed"),
        ("build.image.done", None, "build.image.done of zoo"),
    ],
)
def test_headlines(event_type: str, result: str | None, headline: str) -> None:
    assert email_message.headline(event(1, event_type, result=result)) == headline


def test_events_of_other_systems_show_their_short_values() -> None:
    text = email_message.text([event(1, "build.done", None, image="web:7", layers=[1, 2], size=12)])
    assert text.startswith("build.done\n\nimage:  web:7\nsize:   12\n")
    assert "layers" not in text


def test_a_digest_lists_all_and_tells_what_failed_in_full() -> None:
    text = email_message.text([event(1, "repo.sync.start"), event(2, **FAILED), event(3, result="success")])
    first, detail = text.split("\n\n", 1)
    assert first.splitlines() == [
        "3 events, 1 of them failed:",
        "  2026-05-04T12:00:00Z  Sync of zoo has started.",
        "  2026-05-04T12:00:00Z  Sync of zoo FAILED.",
        "  2026-05-04T12:00:00Z  Sync of zoo succeeded.",
    ]
    assert detail.startswith("Sync of zoo FAILED.\n\nError:")
    assert detail.count("FAILED") == 1


def test_subjects() -> None:
    assert email_message.subject([event(1, result="failed")], DEFAULT_SUBJECT) == "[pulp] repo.sync.finish zoo failed"
    assert email_message.subject([event(1, "build.done", None)], DEFAULT_SUBJECT) == "[pulp] build.done"
    both = [event(1, result="failed"), event(2, repo_id="other", result="failed")]
    assert email_message.subject(both, "{repo_id} {result}") == "several failed"
    assert email_message.subject([event(1, repo_id="{result}", result="x")], "{repo_id}") == "{result}"


def test_what_is_too_large_is_not_attached() -> None:
    raw = email_message.compose([event(1, blob="x" * email_message.LARGEST_ATTACHMENT)], MAILING, SENDER)
    message = message_from_bytes(raw, policy=SMTP)
    assert not message.is_multipart()
    assert "too large to be attached" in message.get_content()
    assert len(raw) < 10_000


def test_the_same_event_gives_the_same_message() -> None:
    happened = event(1, **FAILED)
    once, again = (email_message.compose([happened], MAILING, SENDER) for _ in range(2))
    assert once == again


HEADERS = {
    "Subject",
    "From",
    "To",
    "Date",
    "Message-ID",
    "Auto-Submitted",
    "Pulpit-Number",
    "MIME-Version",
    "Content-Type",
}
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXT, TEXT, st.dictionaries(TEXT, TEXT | st.integers() | st.none()), TEXT)
def test_no_event_changes_the_form_of_a_message(repo_id: str, result: str, payload: dict[str, Any], error: str) -> None:
    known = {"repo_id", "number", "event_type", "occurred_at", "result", "error_message"}
    extra = {key: value for key, value in payload.items() if key not in known}
    happened = event(1, "repo.sync.finish", repo_id, NOON, result=result, error_message=error, **extra)
    raw = email_message.compose([happened], MAILING, SENDER)
    message = message_from_bytes(raw, policy=SMTP)
    assert set(message.keys()) == HEADERS
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "application/json"]
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
    assert b"\n" not in raw.replace(b"\r\n", b"")
    (_, file) = message.iter_parts()
    assert file.get_content() == happened.body.encode()
