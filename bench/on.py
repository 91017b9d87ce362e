"""How many commands a second `pulpit on -- true` runs, beside a loop that starts the same command and knows no events.

python -m bench.on 2000
"""

import asyncio
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support.processes import clean_environment
from support.server import Server, pulpit

EVENTS = 1_000
ROUNDS = 3
REPOSITORIES = 16


def main(count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="pulpit-bench-") as folder, pulpit(Path(folder, "data")) as server:
        events = [
            {"event_type": "bench.event", "repo_id": f"zoo-{number % REPOSITORIES}", "payload": {"note": "x" * 700}}
            for number in range(count)
        ]
        server.call("POST", "/pulpit/v1/events", events)
        alone: list[float] = []
        handled: dict[int, list[float]] = {1: [], REPOSITORIES: []}
        processor: list[float] = []
        for number in range(ROUNDS):
            alone.append(asyncio.run(bare(count)))
            for concurrency, seconds in handled.items():
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                seconds.append(run_on(server, Path(folder), f"bench-{number}-{concurrency}", concurrency))
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                if concurrency == 1:
                    processor.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        peer = count / statistics.median(alone)
        print(f"{count:,} events, medians of {ROUNDS} rounds in turns")
        print(f"{'a loop that starts `true` and waits for it':52}{peer:8,.0f} /s")
        for concurrency, seconds in handled.items():
            rate = count / statistics.median(seconds)
            print(f"{f'pulpit on … --concurrency {concurrency} -- true':52}{rate:8,.0f} /s ({rate / peer:.2f} of that)")
        each = statistics.median(processor) / count * 1000
        print(f"{'  of the processor, the commands included':52}{each:8.2f} ms each")


async def bare(count: int) -> float:
    """Seconds for so many, one after the other."""
    begun = time.perf_counter()
    for _ in range(count):
        process = await asyncio.create_subprocess_exec("true", stdin=subprocess.DEVNULL)
        await process.wait()
    return time.perf_counter() - begun


def run_on(server: Server, folder: Path, name: str, concurrency: int) -> float:
    """Seconds for every event of the log, the start of the program included."""
    known = clean_environment()
    known |= {"PULPIT_URL": server.url, "PULPIT_DATA_DIR": str(server.data_dir)}
    command = [sys.executable, "-m", "pulpit.cli", "on", "bench.event", "--name", name, "--after", "0", "--once"]
    command += ["--concurrency", str(concurrency), "--dead-letters", str(folder / "letters"), "--", "true"]
    begun = time.perf_counter()
    subprocess.run(command, env=known, check=True, capture_output=True)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS)
