"""`pulpit check`: every inconsistency is reported in one line, and repaired where that loses nothing."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from pulpit.clock import system_clock
from pulpit.fire import fire
from pulpit.server.check_database import Finding
from pulpit.server.data_folder import locked
from pulpit.store import audit, dead_letters, history, listeners, publications, tasks
from pulpit.store.publications import Publication
from support import database, published
from support import upstream as serving
from support.mirror import Mirror, mirror
from support.upstream import Upstream

SIZE = 2000
TASK = "00000000-0000-4000-8000-000000000001"


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with serving.running() as one:
        for name in ("a.iso", "b.iso", "folder/c.iso"):
            one.put(name, name.encode() * SIZE)
        one.manifest()
        yield one


@pytest.fixture
def here(tmp_path: Path, upstream: Upstream) -> Iterator[Mirror]:
    with mirror(tmp_path) as one:
        one.create("zoo", upstream.url)
        work(one)
        yield one


def work(one: Mirror) -> None:
    assert one.sync("zoo").result == "success"
    assert one.publish("zoo").result in ("success", "skipped")


def look(one: Mirror, **how: bool) -> list[Finding]:
    return published.look(one.context, **how)


def rules(findings: list[Finding]) -> list[str]:
    return [one.rule for one in findings]


def kept(one: Mirror, name: str) -> Path:
    """The file of the storage that is published by a name."""
    return one.context.storage.local(published.listed(one.context, "isos/zoo")[name].sha256)


def shown(one: Mirror) -> Publication:
    with one.context.database.read() as connection:
        publication = publications.at(connection, "isos/zoo")
    assert publication is not None
    return publication


def execute(one: Mirror, *statements: str) -> None:
    with one.context.database.write() as tx:
        for statement in statements:
            tx.connection.execute(text(statement))


def test_nothing_is_wrong_with_what_was_never_broken(here: Mirror) -> None:
    assert look(here, deep=True) == []


def lose_file(one: Mirror) -> None:
    kept(one, "a.iso").unlink()


def cut_file(one: Mirror) -> None:
    path = kept(one, "a.iso")
    path.unlink()
    path.write_bytes(b"short")


def rot_file(one: Mirror) -> None:
    path = kept(one, "a.iso")
    with path.open("r+b") as file:
        file.write(b"rotten")


@pytest.mark.parametrize("harm", [lose_file, cut_file, rot_file])
def test_a_file_that_is_gone_or_spoiled_is_found_and_fetched_again_by_the_next_sync(
    here: Mirror, harm: Callable[[Mirror], None]
) -> None:
    harm(here)

    found = look(here, deep=True, repair=True)

    assert "files.content" in rules(found)
    assert any("a.iso of zoo" in one.line() for one in found)
    assert all(one.repaired for one in found)
    work(here)
    assert look(here, deep=True) == []
    assert here.published("zoo")["a.iso"] == b"a.iso" * SIZE


def test_only_a_deep_look_reads_files(here: Mirror) -> None:
    rot_file(here)

    assert look(here) == []
    assert rules(look(here, deep=True)) == ["files.content"]


def lose_list(one: Mirror) -> None:
    kept(one, "PULP_MANIFEST").unlink()


def spoil_list(one: Mirror) -> None:
    path = kept(one, "PULP_MANIFEST")
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("harm", [lose_list, spoil_list])
def test_a_published_list_that_is_not_what_it_was_is_found_and_written_again(
    here: Mirror, harm: Callable[[Mirror], None]
) -> None:
    before = here.published("zoo")
    harm(here)

    found = look(here, deep=True, repair=True)

    assert rules(found) == ["files.published"]
    assert "PULP_MANIFEST of publication 1 of zoo" in found[0].line()
    assert found[0].repaired
    work(here)
    assert [one for one in look(here, deep=True) if one.stands] == []
    assert here.published("zoo") == before


def lose_inventory(one: Mirror) -> None:
    one.context.storage.local(shown(one).inventory).unlink()


def spoil_inventory(one: Mirror) -> None:
    one.context.storage.local(shown(one).inventory).write_bytes(b"\xff")


@pytest.mark.parametrize("harm", [lose_inventory, spoil_inventory])
def test_a_publication_without_its_inventory_is_found_and_taken_away(
    here: Mirror, harm: Callable[[Mirror], None]
) -> None:
    before = here.published("zoo")
    harm(here)

    found = look(here, repair=True)

    assert "publications.inventory" in rules(found)
    assert found[0].subject == "zoo/1"
    work(here)
    assert [one for one in look(here, deep=True) if one.stands] == []
    assert here.published("zoo") == before


def dead_room(one: Mirror) -> None:
    (one.data_dir / "downloads" / "0.work").mkdir()


def old_partial(one: Mirror) -> None:
    path = one.data_dir / "downloads" / "0.part"
    path.touch()
    os.utime(path, (0, 0))


def stray(one: Mirror) -> None:
    path = one.data_dir / "content" / "ab" / ("ab" * 32)
    path.parent.mkdir(exist_ok=True)
    path.touch()
    os.utime(path, (0, 0))


def queued_upload(one: Mirror) -> None:
    path = one.data_dir / "uploads" / "queued" / "1"
    path.parent.mkdir(parents=True)
    path.touch()


@pytest.mark.parametrize(
    ("leave", "rule"),
    [
        (dead_room, "files.room"),
        (old_partial, "files.partial"),
        (stray, "files.stray"),
        (queued_upload, "files.queued"),
    ],
)
def test_what_is_left_over_is_told_does_no_harm_and_is_swept(
    here: Mirror, leave: Callable[[Mirror], None], rule: str
) -> None:
    leave(here)

    (found,) = look(here)

    assert (found.rule, found.harmless, found.stands) == (rule, True, False)
    look(here, repair=True)
    assert look(here) == []


def run_a_task(one: Mirror) -> str:
    """A sync that a dead worker has left."""
    now = one.context.clock()
    new = tasks.NewTask(task_type="sync", arguments={"repo_id": "zoo"}, tags=[], resource="zoo")
    with one.context.database.write() as tx:
        task = tasks.add(tx, new, now=now)
        tasks.claim(tx, "worker@here", now=now)
        plugin = {"plugin_id": "iso_importer", "plugin_type_id": "iso_importer"}
        history.begin(tx, history.SYNC, repo_id="zoo", task_id=task.id, now=now, **plugin)
    return task.id


def test_a_record_without_an_end_is_found_when_its_task_has_ended(here: Mirror) -> None:
    task_id = run_a_task(here)
    assert rules(look(here, is_served=True)) == []
    assert rules(look(here)) == ["books.task"]
    execute(here, "UPDATE tasks SET state = 'finished'")

    assert rules(look(here)) == ["books.history"]
    look(here, repair=True)

    assert look(here) == []
    finish = database.told(here.context.database)[-1]
    assert (finish.event_type, finish.payload["result"]) == ("repo.sync.finish", "error")
    assert json.loads(finish.body)["call_report"]["task_id"] == task_id


def fire_some(one: Mirror, count: int) -> None:
    for _ in range(count):
        database.fire_one(one.context.database)


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("DELETE FROM events WHERE number = 3", "books.gap"),
        ("UPDATE events SET repo_number = 1 WHERE number = 2", "books.gap"),
        ("UPDATE event_counters SET last_number = 2", "books.counter"),
        ("UPDATE unit_files SET size = size + 1", "books.size"),
        ("UPDATE associations SET unit_type_id = 'rpm'", "books.type"),
    ],
)
def test_what_the_tables_say_against_one_another_is_found(here: Mirror, statement: str, rule: str) -> None:
    fire_some(here, 5)
    assert look(here) == []
    execute(here, statement)

    assert rule in rules(look(here))


def test_what_retention_has_taken_is_no_gap(here: Mirror) -> None:
    fire_some(here, 5)
    execute(here, "UPDATE events SET occurred_at = 1 WHERE number IN (1, 2, 3)", "DELETE FROM events WHERE number = 2")

    assert look(here) == []
    with here.context.database.read() as connection:
        assert audit.surely_kept_from(connection, older_than=None, beyond=2) == 4


@pytest.mark.parametrize(
    ("starts", "finishes", "found"),
    [(1, 1, []), (1, 2, ["books.pair"]), (2, 1, ["books.pair"]), (1, 0, ["books.pair"])],
)
def test_a_start_has_exactly_one_finish(here: Mirror, starts: int, finishes: int, found: list[str]) -> None:
    for event_type in ["repo.sync.start"] * starts + ["repo.sync.finish"] * finishes:
        with here.context.database.write() as tx:
            fire(tx, event_type, {"repo_id": "zoo"}, clock=system_clock, call_report={"task_id": TASK})

    assert rules(look(here)) == found


def test_a_listener_beyond_the_log_is_found_and_put_at_its_end(here: Mirror) -> None:
    fire_some(here, 2)
    with here.context.database.write() as tx:
        one = listeners.add(tx, "http", {}, ["*"], now=here.context.clock())
    execute(here, "UPDATE listeners SET position = 9")

    assert rules(look(here, repair=True)) == ["books.position"]
    assert look(here) == []
    with here.context.database.read() as connection:
        assert listeners.get(connection, one.id).position == 2


def test_a_dead_letter_of_no_event_is_found(here: Mirror) -> None:
    with here.context.database.write() as tx:
        one = listeners.add(tx, "http", {}, ["*"], now=here.context.clock())
        letter = dead_letters.NewDeadLetter(event_number=7, reason="no")
        dead_letters.add(tx, one.id, [letter], attempts=1, now=here.context.clock())

    assert rules(look(here)) == ["books.letter"]


def test_no_false_alarm_while_others_sync_publish_and_remove_orphans(here: Mirror, upstream: Upstream) -> None:
    over = threading.Event()

    def disturb() -> None:
        number = 0
        while not over.is_set():
            number += 1
            upstream.put("a.iso", str(number).encode() * SIZE)
            upstream.manifest()
            here.sync("zoo")
            here.publish("zoo")

    thread = threading.Thread(target=disturb)
    thread.start()
    looks, deadline = 0, time.monotonic() + 3
    try:
        while looks < 2 or time.monotonic() < deadline:
            looks += 1
            assert [one for one in look(here, deep=True, is_served=True) if one.stands] == []
    finally:
        over.set()
        thread.join()


def pulpit_check(data_dir: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pulpit.cli", "check", "--data-dir", str(data_dir), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_says_one_line_for_a_finding_and_answers_by_its_exit_code(here: Mirror) -> None:
    well = pulpit_check(here.data_dir)
    assert (well.returncode, well.stdout) == (0, "Database, storage and publications agree.\n")
    lose_file(here)

    ill = pulpit_check(here.data_dir)
    assert ill.returncode == 3
    assert len(ill.stdout.splitlines()) == 2
    assert "a.iso of zoo is gone from the storage. `--repair` has the next sync fetch it again." in ill.stdout
    assert "1 thing is wrong." in ill.stdout
    told = json.loads(pulpit_check(here.data_dir, "--json").stdout)
    assert (told["consistent"], told["findings"][0]["rule"]) == (False, "files.content")


def test_the_command_repairs_only_while_no_server_runs(here: Mirror) -> None:
    lose_file(here)
    with locked(here.data_dir):
        refused = pulpit_check(here.data_dir, "--repair")
    assert refused.returncode == 78
    assert "--repair: stop the server of" in refused.stderr

    repaired = pulpit_check(here.data_dir, "--repair")
    assert (repaired.returncode, "Repaired." in repaired.stdout) == (0, True)
    work(here)
    assert pulpit_check(here.data_dir, "--deep").returncode == 0


def test_the_command_refuses_what_is_no_data_folder(tmp_path: Path) -> None:
    for folder, sentence in ((tmp_path, "there is no database in"), (tmp_path / "none", "cannot be used")):
        refused = pulpit_check(folder)
        assert (refused.returncode, "Traceback" in refused.stderr) == (78, False)
        assert sentence in refused.stderr
    assert not (tmp_path / "none").exists()
