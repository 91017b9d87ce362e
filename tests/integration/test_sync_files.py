"""A sync of files from a real HTTP server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import upstream as serving
from support.mirror import IMPORTER, Mirror, mirror
from support.upstream import Upstream


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Mirror]:
    with mirror(tmp_path) as one:
        yield one


def three_files(upstream: Upstream) -> None:
    upstream.put("a.iso", b"a" * 1000)
    upstream.put("folder/b with space.iso", b"b" * 200_000)
    upstream.put("empty.iso", b"")
    upstream.manifest()


def test_it_brings_every_file_of_the_manifest(upstream: Upstream, here: Mirror) -> None:
    three_files(upstream)
    here.create("zoo", upstream.url)

    outcome = here.sync("zoo")

    assert (outcome.result, outcome.error_message) == ("success", None)
    assert (outcome.added_count, outcome.updated_count, outcome.removed_count) == (3, 0, 0)
    assert here.names("zoo") == ["a.iso", "empty.iso", "folder/b with space.iso"]
    assert len(here.stored()) == 3
    assert here.leftovers() == []
    assert here.importer("zoo").last_sync is not None
    assert here.repository("zoo").last_unit_added is not None


def test_it_keeps_files_from_other_users_of_the_machine(upstream: Upstream, here: Mirror) -> None:
    three_files(upstream)
    here.create("zoo", upstream.url)

    here.sync("zoo")
    here.publish("zoo")

    top = here.data_dir
    for path in [*(top / "content").rglob("*"), top / "content"]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_it_reports_as_the_original_importer(upstream: Upstream, here: Mirror) -> None:
    three_files(upstream)
    here.create("zoo", upstream.url)

    outcome = here.sync("zoo")

    states = [report[IMPORTER]["state"] for report in here.reports]
    assert list(dict.fromkeys(states)) == ["not_started", "manifest_in_progress", "isos_in_progress", "complete"]
    last = here.reports[-1][IMPORTER]
    times = last.pop("state_times")
    assert times.keys() == {"not_started", "manifest_in_progress", "isos_in_progress", "complete"}
    assert all(len(time) == len("2031-05-04T10:00:00") for time in times.values())
    assert last == {
        "state": "complete",
        "error_message": None,
        "traceback": None,
        "total_bytes": 201_000,
        "finished_bytes": 201_000,
        "num_isos": 3,
        "num_isos_finished": 3,
        "iso_error_messages": [],
    }
    assert outcome.summary == here.reports[-1][IMPORTER] | {"state_times": times}


def test_an_unchanged_upstream_costs_one_conditional_request(upstream: Upstream, here: Mirror) -> None:
    three_files(upstream)
    here.create("zoo", upstream.url)
    here.sync("zoo")
    upstream.forget()

    for _ in range(2):
        outcome = here.sync("zoo")
        assert (outcome.result, outcome.added_count, outcome.updated_count) == ("success", 0, 0)

    assert upstream.paths() == ["PULP_MANIFEST"] * 2
    assert all("If-None-Match" in headers for _, headers in upstream.asked)


def test_only_what_changed_is_fetched(upstream: Upstream, here: Mirror) -> None:
    three_files(upstream)
    here.create("zoo", upstream.url)
    here.sync("zoo")
    upstream.forget()

    upstream.put("a.iso", b"another a")
    upstream.put("new.iso", b"new")
    upstream.manifest()
    outcome = here.sync("zoo")

    assert (outcome.added_count, outcome.updated_count, outcome.removed_count) == (1, 1, 0)
    assert sorted(upstream.paths()) == ["PULP_MANIFEST", "a.iso", "new.iso"]
    assert here.names("zoo") == ["a.iso", "empty.iso", "folder/b with space.iso", "new.iso"]


def test_a_file_of_two_repositories_is_fetched_and_kept_once(upstream: Upstream, here: Mirror) -> None:
    three_files(upstream)
    here.create("zoo", upstream.url)
    here.create("other", upstream.url)
    here.sync("zoo")
    upstream.forget()

    assert here.sync("other").added_count == 3

    assert upstream.paths() == ["PULP_MANIFEST"]
    assert len(here.stored()) == 3


def test_equal_files_of_different_names_are_fetched_once(upstream: Upstream, here: Mirror) -> None:
    upstream.put("one", b"same")
    upstream.put("two", b"same")
    upstream.manifest()
    here.create("zoo", upstream.url)

    outcome = here.sync("zoo")

    assert outcome.added_count == 2
    assert len(upstream.paths()) == 2
    assert here.reports[-1][IMPORTER]["num_isos_finished"] == 2
    assert here.reports[-1][IMPORTER]["finished_bytes"] == 8


@pytest.mark.parametrize("remove", [True, False])
def test_files_that_the_feed_dropped_go_if_asked(upstream: Upstream, here: Mirror, *, remove: bool) -> None:
    three_files(upstream)
    here.create("zoo", upstream.url, {"remove_missing": remove})
    here.sync("zoo")

    del upstream.files["a.iso"]
    upstream.manifest()
    outcome = here.sync("zoo")

    assert outcome.removed_count == (1 if remove else 0)
    assert ("a.iso" in here.names("zoo")) is not remove


def test_another_configuration_reads_the_unchanged_feed_again(upstream: Upstream, here: Mirror) -> None:
    three_files(upstream)
    here.create("zoo", upstream.url)
    here.sync("zoo")
    del upstream.files["a.iso"]
    upstream.manifest()
    here.sync("zoo")

    here.configure("zoo", remove_missing=True)

    assert here.sync("zoo").removed_count == 1


def test_a_file_that_vanished_from_the_storage_is_fetched_again(upstream: Upstream, here: Mirror) -> None:
    three_files(upstream)
    here.create("zoo", upstream.url)
    here.sync("zoo")
    here.stored()[0].unlink()

    assert here.sync("zoo", {"force_full": True}).result == "success"

    assert len(here.stored()) == 3


def test_many_files_come_in_several_transactions(upstream: Upstream, here: Mirror) -> None:
    for number in range(1203):
        upstream.put(f"{number:04}.iso", f"content {number}".encode())
    upstream.manifest()
    here.create("zoo", upstream.url)

    assert here.sync("zoo").added_count == 1203
    assert here.publish("zoo").result == "success"

    assert len(here.published("zoo")) == 1204


def test_one_pulpit_syncs_what_another_published(upstream: Upstream, here: Mirror) -> None:
    three_files(upstream)
    upstream.put('odd,"name" .iso', b"odd")
    upstream.manifest()
    here.create("zoo", upstream.url)
    assert here.sync("zoo").result == "success"
    here.publish("zoo")

    with serving.running() as second:
        for name, content in here.published("zoo").items():
            second.put(name, content)
        here.create("copy", second.url)
        assert here.sync("copy").result == "success"

    assert here.names("copy") == here.names("zoo")
