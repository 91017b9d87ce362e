"""Frozen processes, and a server with few open files: work continues without help."""

import contextlib
import os
import resource
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from support.processes import workers_of
from support.server import Server, pulpit
from support.subscriber import subscribed
from support.upstream import gate, running
from support.waiting import until


def fire(server: Server, number: int) -> int:
    status, _ = server.reply("POST", "/pulpit/v1/events", {"event_type": "ci.build", "payload": {"n": number}})
    return status


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop a process for a while."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_frozen_server_and_a_frozen_worker_go_on_when_they_are_thawed(tmp_path: Path) -> None:
    arrived, opened = threading.Event(), threading.Event()
    with running() as upstream, pulpit(tmp_path / "data") as server:
        upstream.put("late.iso", b"late")
        upstream.manifest()
        upstream.misbehave("late.iso", gate(b"late", opened, arrived))
        server.create_iso("files", upstream.url)
        server.listen("pulp", "#")
        with subscribed(server.amqp_url, "pulp", queue="all") as subscriber:
            task_id = server.sync("files")
            assert arrived.wait(60)
            replies = list[int]()
            with frozen(server.pid):
                asking = threading.Thread(target=lambda: replies.append(fire(server, 1)))
                asking.start()
                time.sleep(3)
            asking.join(60)
            assert replies == [201]
            with contextlib.ExitStack() as stack:
                for pid in workers_of(server):
                    stack.enter_context(frozen(pid))
                opened.set()
                assert [fire(server, number) for number in range(2, 12)] == [201] * 10
                until(
                    lambda: subscriber.subjects.count("pulp.server.ci.build") == 11,
                    what="events beside a frozen worker",
                )
            assert server.ended(task_id)["state"] == "finished"
            until(lambda: "pulp.server.repo.publish.finish" in subscriber.subjects, what="the publish to be told")
        told = Counter(subscriber.subjects)
        assert told["pulp.server.repo.sync.start"] == told["pulp.server.repo.sync.finish"] == 1
        assert not [line for line in server.said if "Traceback" in line]


def test_more_connections_than_open_files_are_refused_and_forgotten(tmp_path: Path) -> None:
    with pulpit(tmp_path / "data") as server:
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (64, 64))
        held = list[socket.socket]()
        for number in range(200):
            with contextlib.suppress(OSError):
                port = server.port if number % 2 else server.broker_port
                held.append(socket.create_connection(("127.0.0.1", port), timeout=5))
        assert len(held) > 64
        for connection in held:
            connection.close()

        def fires() -> bool:
            with contextlib.suppress(OSError):
                return fire(server, 1) == 201
            return False

        until(fires, what="the server to take events again")
        assert not [line for line in server.said if "Traceback" in line]
