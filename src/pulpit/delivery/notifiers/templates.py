"""Bodies from the administrator's own template: the variables, and the process that renders.

One process renders for all listeners, one body at a time. It is started at first use, killed when a template takes too
long, and restarted for the next one.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from typing import Any, Final

from pulpit.clock import iso_micro
from pulpit.delivery.notifiers.email_message import headline
from pulpit.events import Event
from pulpit.text import one_line

LONGEST_TEMPLATE: Final = 16 * 1024
"""Characters."""
LONGEST_RENDERING: Final = 20.0
"""Seconds by the clock; a template that keeps the processor busy is stopped much earlier, by its CPU limit."""
LONGEST_START: Final = 30.0
VARIABLES: Final = (
    "number",
    "id",
    "event_type",
    "repo_id",
    "repo_number",
    "result",
    "occurred_at",
    "source",
    "headline",
    "payload",
    "units",
)
"""Variables of a template."""

_ENDED_BY_ITS_WORK: Final = frozenset({-signal.SIGXCPU, -signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS})
"""Its CPU time is used up, or an allocation failed where Python cannot go on."""


class TemplateTrouble(Exception):
    """A template is invalid or cannot be rendered; the message ends a sentence that begins with "the template"."""


class RendererTrouble(TemplateTrouble):
    """The rendering process failed for a reason of its own; the next attempt may work."""


def check(template: str) -> None:
    """Reject a template that is invalid or names unknown variables.

    Raises:
        TemplateTrouble: what is wrong with it.
    """
    from jinja2 import Environment, TemplateSyntaxError, nodes  # noqa: PLC0415 - no start waits for it

    if len(template) > LONGEST_TEMPLATE:
        raise TemplateTrouble(f"has more than {LONGEST_TEMPLATE // 1024} KiB")
    environment = Environment(autoescape=False)  # noqa: S701 - it only parses templates; none is rendered here
    try:
        tree = environment.parse(template)
    except TemplateSyntaxError as error:
        raise TemplateTrouble(f"cannot be read: line {error.lineno}: {one_line(error.message or '', 200)}") from None
    except RecursionError:
        raise TemplateTrouble("cannot be read: it is nested too deeply") from None
    if any(tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends))):
        raise TemplateTrouble("cannot include or import others")
    names = list(tree.find_all(nodes.Name))
    made = {name.name for name in names if name.ctx != "load"} | {macro.name for macro in tree.find_all(nodes.Macro)}
    made |= {"loop", "caller", "varargs", "kwargs", *environment.globals, *VARIABLES}
    unknown = sorted({name.name for name in names} - made)
    if unknown:
        raise TemplateTrouble(f"names {unknown[0]}, which there is not; there are {', '.join(VARIABLES)}")


def variables_of(event: Event, source: str) -> dict[str, Any]:
    payload = event.payload
    changes = payload.get("changes")
    units = changes.get("units") if isinstance(changes, dict) else None
    values = {
        "number": event.number,
        "id": event.id,
        "event_type": event.event_type,
        "repo_id": event.repo_id,
        "repo_number": event.repo_number,
        "result": event.result,
        "occurred_at": iso_micro(event.occurred_at),
        "source": source,
        "headline": headline(event),
        "payload": payload,
        "units": units if isinstance(units, list) else [],
    }
    return {name: values[name] for name in VARIABLES}


class Renderer:
    """Renders templates, from any thread."""

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def render(self, template: str, variables: dict[str, Any]) -> str:
        """Render a template.

        Raises:
            RendererTrouble: it may work at the next attempt.
            TemplateTrouble: it cannot be rendered with these variables, or does not end in time.
        """
        asked = json.dumps({"template": template, "variables": variables}).encode() + b"\n"
        with self._lock:
            process = self._process or self._start()
            threading.Thread(target=_write, args=(process, asked), daemon=True).start()
            answer = self._read(process, LONGEST_RENDERING)
        if "error" in answer:
            raise TemplateTrouble(f"cannot be filled in: {one_line(str(answer['error']), 300).rstrip('.')}")
        return str(answer["text"])

    def close(self) -> None:
        with self._lock:
            self._end()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "pulpit.delivery.notifiers.template_process"]
        kept = {name: text for name, text in os.environ.items() if name in ("PATH", "PYTHONPATH", "LANG")}
        try:
            self._process = process = subprocess.Popen(  # noqa: S603 - our own interpreter
                command,
                env=kept,
                start_new_session=True,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            raise RendererTrouble(f"cannot be filled in now: no process can be started ({error.strerror})") from None
        self._read(process, LONGEST_START)
        return process

    def _read(self, process: subprocess.Popen[bytes], seconds: float) -> dict[str, Any]:
        """Read a line in time, or kill the process."""
        assert process.stdout  # noqa: S101 - opened with stdout=PIPE
        end, line = time.monotonic() + seconds, b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, end - time.monotonic())):
                    self._end()
                    raise RendererTrouble(f"was not filled in within {seconds:g} seconds: the machine is busy")
                part = os.read(process.stdout.fileno(), 1024 * 1024)
                if not part:
                    code = process.wait()
                    self._end()
                    if code in _ENDED_BY_ITS_WORK:
                        raise TemplateTrouble("needs more memory or time than it may have")
                    raise RendererTrouble(f"was not filled in: the process that does it ended ({code})")
                line += part
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    _ = pipe and pipe.close()


def _write(process: subprocess.Popen[bytes], asked: bytes) -> None:
    """Write a request; runs in a thread, because a hanging process does not read."""
    with contextlib.suppress(OSError, ValueError):
        view = memoryview(asked)
        while view and process.stdin:
            view = view[process.stdin.write(view) :]
