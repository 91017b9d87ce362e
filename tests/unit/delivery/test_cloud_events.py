"""CloudEvents attributes of events."""

from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st

from pulpit.delivery.cloud_events import attributes, http_headers
from support.happenings import event


def test_attributes_of_an_event() -> None:
    happened = event(4)
    assert attributes(happened, "/pulpit/one") == {
        "specversion": "1.0",
        "id": happened.id,
        "source": "/pulpit/one",
        "type": "repo.sync.finish",
        "time": "2026-05-04T12:00:00.250000Z",
        "subject": "zoo",
    }
    assert "subject" not in attributes(event(4, "build.done", None), "/pulpit/one")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_every_subject_travels_in_a_header_and_comes_back(repo_id: str) -> None:
    written = http_headers(event(1, repo_id=repo_id), "/pulpit")["ce-subject"]
    assert all(0x21 <= ord(character) <= 0x7E and character != '"' for character in written)
    assert unquote(written) == repo_id
