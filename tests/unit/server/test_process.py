"""The end of a process: a stop that takes too long is cut off, with a log line, and a thread does not hold it up."""

import signal
import subprocess
import sys

HELD_UP = """
import asyncio, logging, threading
from pulpit.server import process

process.STOP_LIMIT_S = 0.2
logging.basicConfig()

async def main():
    wanted = process.end_wanted()
    print("ready", flush=True)
    await wanted.wait()
    await asyncio.to_thread(threading.Event().wait)

asyncio.run(main())
"""


def test_a_stop_that_waits_for_what_does_not_answer_is_cut_off() -> None:
    command = [sys.executable, "-c", HELD_UP]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as held_up:
        assert held_up.stdout
        assert held_up.stdout.readline() == "ready\n"
        held_up.send_signal(signal.SIGTERM)
        held_up.send_signal(signal.SIGTERM)
        _, said = held_up.communicate(timeout=60)
    assert held_up.returncode == 1
    assert said.count("the stop is cut off") == 1


LEFT_BEHIND = """
import asyncio, threading
from pulpit.server import process

async def main():
    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)

process.run(main())
"""


def test_a_thread_that_waits_for_what_does_not_answer_does_not_hold_up_a_stop() -> None:
    done = subprocess.run([sys.executable, "-c", LEFT_BEHIND], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
