"""A Pulp 3 tells its syncs and publishes: `make demo-pulp3` runs this in the checkout's environment.

Everything is real, on free ports of this machine, and gone afterwards: PostgreSQL, pulpcore with a worker, a server
with its own broker, and three subscribers. What should have come is compared with what came.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pulpit.cli import demo
from pulpit.client.failures import Failure
from pulpit.client.streams import write_line
from support import pulp3
from support.upstream import Answering, Upstream, line, running
from support.waiting import until

CHECKOUT = Path(__file__).resolve().parent.parent
PATIENCE = 120.0
"""Seconds for which Pulp may take for one thing."""
LISTEN = str(CHECKOUT / "playpen" / "listen.py")


def main() -> None:
    """Show it; the exit code is 1 where something did not happen."""
    write_line("pulpcore, pulp_file and PostgreSQL: installing what is missing (the first time, some minutes)")
    if reason := pulp3.why_not():
        sys.exit(f"demo-pulp3: {reason}.")
    with tempfile.TemporaryDirectory(prefix="pulpit-demo-") as scratch, contextlib.ExitStack() as stack:
        pulp = stack.enter_context(pulp3.pulp3())
        write_line(f"Pulp 3 ({pulp.version}) with one worker is ready at {pulp.url}")
        upstream = stack.enter_context(running())
        show(pulp, upstream, Path(scratch), stack)
    write_line("\nDone: everything arrived, in order, and nothing is left behind.")


def show(pulp: pulp3.Pulp3, upstream: Upstream, scratch: Path, stack: contextlib.ExitStack) -> None:
    """Attach, serve, subscribe, and do in Pulp what there is to be told."""
    environment = {"PULPIT_PULP3_DATABASE_URL": pulp.cluster.url(), "PULP_SERVER_CONF": os.devnull}
    os.environ.update(environment)
    write_line("\n$ pulpit pulp3 attach")
    command = [sys.executable, "-m", "pulpit.cli", "pulp3", "attach"]
    write_line("  " + subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())
    port = demo.free_port()
    url = stack.enter_context(demo.server(scratch / "data", port))

    def subscribe(*options: str) -> demo.Program:
        return stack.enter_context(demo.running("listen.py", LISTEN, "-e", "pulp", "-p", str(port), *options))

    subscribers = [subscribe("-q", *(["-s", pattern] if pattern else [])) for pattern in demo.SUBSCRIBERS]
    results = subscribe("--json", "-s", "pulp.server.repo.sync.finish")
    words = ("event", "listener", "amqp", "create", "--event-type", "*", "--exchange", "pulp")
    demo.pulp_admin(url, scratch / "data", *words)
    for program in [*subscribers, results]:
        program.wait_for(lambda it: "listening on" in it.errors, "subscribe to the exchange pulp")

    upstream.put("a.iso", b"camel")
    upstream.put("PULP_MANIFEST", f"{line('a.iso', b'camel')}\n".encode())
    repository = pulp.create("file/file", "zoo", f"{upstream.url}PULP_MANIFEST")
    write_line(f"\nPOST {repository}sync/\nPOST {pulp3.API}/publications/file/file/")
    pulp.ended(pulp.sync(repository))
    pulp.ended(pulp.publish("file/file", repository))
    demo.show_listings("./playpen/listen.py", subscribers)
    expect(results, 1, "success", "A sync that succeeded:")

    def hold(answering: Answering) -> None:
        answering.upstream.released.wait(PATIENCE)

    upstream.misbehave("PULP_MANIFEST", hold)

    def hang() -> str:
        upstream.forget()
        task = pulp.sync(repository, optimize=False)
        until(upstream.paths, what="Pulp at the upstream", seconds=PATIENCE)
        return task

    pulp.cancel(hang())
    expect(results, 2, "canceled", "A sync that was cancelled while it ran:")
    hang()
    pulp.kill_worker(pulp.worker_of_a_task())
    pulp.start_worker()
    expect(results, 3, "error", "A sync whose worker was killed by `kill -9`, told when another worker has noticed:")


def expect(results: demo.Program, count: int, result: str, title: str) -> None:
    """Wait for one more finish, show what it says, and compare its result."""
    until(lambda: len(results.lines) >= count, what=f"{count} messages", seconds=PATIENCE)
    payload: dict[str, Any] = json.loads(results.lines[count - 1])["body"]["payload"]
    shown = {key: payload[key] for key in ("repo_id", "result", "added_count", "error_message")}
    write_line(f"\n{title}\n  {json.dumps(shown)}")
    if payload["result"] != result:
        raise demo.DemoFailed(f"the result is {payload['result']}, not {result}.")


def told(work: Callable[[], None]) -> int:
    """Run it; what fails is one sentence."""
    try:
        work()
    except (Failure, AssertionError, subprocess.CalledProcessError) as error:
        write_line(f"demo-pulp3: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(told(main))
