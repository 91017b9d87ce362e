"""The examples of the guide, unchanged, against a real server."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import pika
import pytest

from support.server import Server, pulpit
from support.subscriber import subscribed
from support.upstream import running
from support.waiting import until
from support.webhooks import hook

DOCS: Final = Path(__file__).parents[2] / "docs"
FOUR: Final = ("repo.sync.start", "repo.sync.finish", "repo.publish.start", "repo.publish.finish")
EXAMPLES: Final = sorted((DOCS / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_guide_shows_each_example_as_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8").removeprefix("# SPDX-License-Identifier: Apache-2.0\n")
    assert f"```python\n{text}```\n" in (DOCS / "guide.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with pulpit(tmp_path_factory.mktemp("system") / "data") as server, running() as upstream:
        upstream.put("a.iso", b"a")
        upstream.manifest()
        server.listen("pulp")
        server.create_iso("files", upstream.url)
        server.create_iso("broken", f"{upstream.url}nowhere/")
        yield server


class Example:
    def __init__(self, process: "subprocess.Popen[bytes]", output: Path) -> None:
        self._process = process
        self._output = output

    @property
    def lines(self) -> list[str]:
        return self._output.read_text().splitlines()

    def until_printed(self, count: int) -> list[str]:
        until(lambda: len(self.lines) >= count or self._process.poll() is not None, what=f"{count} lines")
        return self.lines


@contextmanager
def example(name: str, server: Server, folder: Path, *, queue: str, **environment: str) -> Iterator[Example]:
    """Run an example, with its queue there when the block begins."""
    output = folder / "printed"
    with output.open("w") as file:
        command = [sys.executable, str(DOCS / "examples" / name)]
        process = subprocess.Popen(
            command, stdout=file, env=os.environ | {"PULPIT_AMQP_URL": server.amqp_url} | environment
        )
    try:
        until(lambda: readers(server, queue) > 0, what=f"{name} to subscribe")
        yield Example(process, output)
    finally:
        process.kill()
        process.wait(60)


def readers(server: Server, queue: str) -> int:
    queues = server.call("GET", "/pulpit/v1/broker")["queues"]
    return sum(one["consumers"] for one in queues if one["name"] == queue)


def test_a_cache_is_cleared_when_a_repository_was_published(system: Server, tmp_path: Path) -> None:
    with hook() as cache:
        url = cache.url.partition("/hook")[0]
        with example("clear_cache.py", system, tmp_path, queue="cache-cleaner", CACHE=url) as shown:
            publish(system)
            assert shown.until_printed(1) == ["cleared files"]
        assert cache.asked == ["PURGE /pulp/isos/files/"]


def test_somebody_is_paged_for_a_failure_and_again_until_the_pager_takes_it(system: Server, tmp_path: Path) -> None:
    with hook() as pager:
        pager.status = 503
        with example("page_somebody.py", system, tmp_path, queue="pager", PAGER_URL=pager.url) as shown:
            system.ended(system.sync("broken"))
            assert shown.until_printed(1) == ["not paged: HTTP Error 503: Service Unavailable"]
            pager.status = 200
            assert shown.until_printed(2)[1] == "paged for broken"
        first, second = pager.came
        assert first == second
        assert first["text"].startswith("broken: repo.sync.finish failed: ")


def test_events_are_counted_and_what_is_missing_is_said(system: Server, tmp_path: Path) -> None:
    with (
        example("count.py", system, tmp_path, queue="counter") as shown,
        subscribed(system.amqp_url, "pulp", queue="watch") as everything,
    ):
        publish(system)
        assert shown.until_printed(4) == [f"{event_type} 1" for event_type in FOUR]
        with unbound(system, "counter"):
            publish(system)
            everything.wait_for(8)
        publish(system)
        missing, *counted = shown.until_printed(9)[4:]
        first = everything.repo_numbers[4]
        assert missing == f"missing of files: {first} to {first + 3}"
        assert counted == [f"{event_type} 2" for event_type in FOUR]


def publish(server: Server) -> None:
    force = {"override_config": {"force_full": True}}
    answer = server.call("POST", "/pulp/api/v2/repositories/files/actions/sync/", force)
    server.ended(answer["spawned_tasks"][0]["task_id"])


@contextmanager
def unbound(server: Server, queue: str) -> Iterator[None]:
    """Take a queue's binding away for the time of the block: what is published meanwhile is lost to it."""
    with closing(pika.BlockingConnection(pika.URLParameters(server.amqp_url))) as connection:
        channel = connection.channel()
        channel.queue_unbind(queue, "pulp", "#")
        yield
        channel.queue_bind(queue, "pulp", "#")
