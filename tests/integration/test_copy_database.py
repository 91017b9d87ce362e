"""A server moves from SQLite to PostgreSQL, with everything that it knows."""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import postgresql as pg
from support import upstream as serving
from support.server import pulpit


@pytest.fixture(scope="module")
def cluster() -> Iterator[pg.PostgreSQL]:
    if why := pg.why_not():
        pytest.skip(why)
    with pg.postgresql() as running:
        yield running


def run(program: str, data_dir: Path, url: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pulpit.cli", program, "--data-dir", str(data_dir)]
    environment = {**os.environ, "PULPIT_DATABASE_URL": url}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_everything_is_there_afterwards_and_numbers_go_on(tmp_path: Path, cluster: pg.PostgreSQL) -> None:
    url = cluster.fresh()
    with serving.running() as upstream, pulpit(tmp_path / "data") as old:
        upstream.put("a.iso", b"a" * 100)
        upstream.manifest()
        listener = old.listen("pulp", "#")
        old.create_iso("files", upstream.url)
        old.ended(old.sync("files"))
        old.call("POST", "/pulpit/v1/events", {"event_type": "ci.build.finish", "payload": {"text": "é"}})
        assert "another server is running" in run("copy-database", old.data_dir, url).stderr
        before = old.call("GET", "/pulpit/v1/events?after=0&limit=500")["events"]
        old.stop()
        refused = run("serve", old.data_dir, url)
        assert refused.returncode == 78
        assert "run `pulpit copy-database`" in refused.stderr
        done = run("copy-database", old.data_dir, url)
        assert done.returncode == 0, done.stderr
        assert f"events: {len(before)}\n" in done.stdout
        assert "has data already" in run("copy-database", old.data_dir, url).stderr
        with pulpit(old.data_dir, f"[database]\nurl: {url}\n") as new:
            now = new.call("GET", "/pulpit/v1/events?after=0&limit=500")["events"]
            assert now[: len(before)] == before
            with urllib.request.urlopen(f"{new.url}/pulp/isos/files/a.iso") as published:
                assert published.read() == b"a" * 100
            [kept] = new.call("GET", "/pulp/api/v2/events/")
            assert kept["id"] == listener
            upstream.put("b.iso", b"b" * 100)
            upstream.manifest()
            assert new.ended(new.sync("files"))["state"] == "finished"
            numbers = [event["number"] for event in new.call("GET", "/pulpit/v1/events?after=0&limit=500")["events"]]
            assert numbers == list(range(1, len(numbers) + 1))
            assert len(numbers) > len(before)
            assert "agree" in run("check", new.data_dir, url).stdout


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_lacks_letters_is_refused(tmp_path: Path, cluster: pg.PostgreSQL, encoding: str) -> None:
    done = run("serve", tmp_path / "data", cluster.fresh(encoding))
    assert done.returncode == 78
    assert f"keeps text in {encoding}; create it with ENCODING 'UTF8'" in done.stderr


def test_what_cannot_be_copied_is_said(tmp_path: Path) -> None:
    done = run("copy-database", tmp_path, "")
    assert done.returncode == 78
    assert "must name the PostgreSQL" in done.stderr
