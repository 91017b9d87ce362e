"""One run of the command: general options, server and screen, and following of tasks."""

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import click

from pulpit.admin.grammar import JSON_FLAG, TABLE_FLAG
from pulpit.admin.progress import Display, Lines, Silent, steps
from pulpit.client.failures import NoConnection, ServerTrouble, WorkNotDone, WrongUse, descriptions
from pulpit.client.options import connect
from pulpit.client.screen import Screen
from pulpit.client.server import Server, path_of
from pulpit.client.settings import Options
from pulpit.text import clean

P = ParamSpec("P")
R = TypeVar("R")


class Session:
    """Created by the root command and passed to every other one."""

    def __init__(self, options: Options) -> None:
        self._options = options

    @cached_property
    def server(self) -> Server:
        """The server; nothing is read or prompted for before a command needs it."""
        return connect(self._options)

    def server_of(self, username: str | None, password: str | None, password_file: Path | None) -> tuple[str, Server]:
        """Return the user who logs in and the server; what is not given is taken from the general options.

        Raises:
            WrongUse: there is no user.
        """
        general = self._options
        username = username or general.username
        if not username:
            raise WrongUse("Give the user who logs in: pulp-admin login -u USER.")
        if password is None and password_file is None:
            password, password_file = general.password, general.password_file
        login = replace(general, username=username, password=password, password_file=password_file, token_file=None)
        return username, connect(login)

    @cached_property
    def screen(self) -> Screen:
        """Standard output."""
        color = False if os.environ.get("NO_COLOR") else None
        flags = click.get_current_context().meta
        return Screen(as_json=bool(flags.get(JSON_FLAG)), as_table=bool(flags.get(TABLE_FLAG)), color=color)

    def display(self) -> Display:
        """Return the display for progress."""
        if self.screen.as_json:
            return Silent()
        if not sys.stdout.isatty():
            return Lines()
        from pulpit.admin.bars import Bars  # noqa: PLC0415 - rich alone takes as long to import as everything else

        return Bars()

    def watch(self, task_ids: list[str]) -> list[Any]:
        """Follow tasks and return their final documents; Ctrl-C leaves them running, as in Pulp 2.

        Raises:
            WorkNotDone: one of them failed.
        """
        try:
            return follow(self.server, task_ids, self.display())
        except KeyboardInterrupt:
            running = ", ".join(task_ids)
            self.screen.warn(f"\nNot following any more; the server continues (task {running}).")
            raise click.exceptions.Exit(0) from None

    def follow(self, task_ids: list[str]) -> None:
        """Follow tasks, and print their results if JSON is requested.

        Raises:
            WorkNotDone: one of them failed.
        """
        documents = self.watch(task_ids)
        if self.screen.as_json:
            self.screen.data(documents)

    def follow_report(self, report: Any, *, in_background: bool) -> None:
        """Follow the tasks of a call report, or only name them."""
        task_ids = spawned(report)
        if not in_background:
            self.follow(task_ids)
        elif self.screen.as_json:
            self.screen.data(report)
        else:
            self.screen.say(f"The server continues the work (task {', '.join(task_ids) or 'unknown'}).")


def with_session(function: Callable[Concatenate[Session, P], R]) -> Callable[P, R]:
    """Pass the session to a command as the first argument."""
    return click.pass_obj(function)


ENDS: Final = frozenset({"finished", "error", "canceled", "skipped"})

_STOPS: Final = {"error": "failed", "canceled": "was cancelled"}
_FIRST_PAUSE: Final = 0.05
_LEFT_OUT_SHOWN: Final = 10
_PATIENCE_SECONDS: Final = 30.0

Sleep = Callable[[float], None]


def spawned(report: Any) -> list[str]:
    """Return the ids of the tasks in a response.

    Raises:
        ServerTrouble: it is not a call report.
    """
    if isinstance(report, Mapping) and isinstance(report.get("spawned_tasks"), list):
        found = [task.get("task_id") for task in report["spawned_tasks"] if isinstance(task, Mapping)]
        return [str(task_id) for task_id in found if task_id]
    raise ServerTrouble("The server did not say which tasks it began.")


def follow(server: Server, task_ids: list[str], display: Display, sleep: Sleep = time.sleep) -> list[Any]:
    """Show every task's progress until its end and return the final documents.

    Raises:
        WorkNotDone: a task failed or was cancelled; later ones are not waited for.
    """
    waiting = deque(task_ids)
    seen = set(task_ids)
    documents = []
    with display:
        while waiting:
            task_id = waiting.popleft()
            task = _until_end(server, task_id, display, sleep)
            documents.append(task)
            _conclude(task_id, task, display)
            children = spawned(task) if isinstance(task.get("spawned_tasks"), list) else []
            new = [child for child in children if child not in seen]
            seen.update(new)
            waiting.extend(new)
    return documents


def _until_end(server: Server, task_id: str, display: Display, sleep: Sleep) -> Mapping[str, Any]:
    pause = _FIRST_PAUSE
    while True:
        task = _task(server, task_id, sleep)
        display.show(replace(step, key=f"{task_id} {step.key}") for step in steps(task.get("progress_report")))
        if task.get("state") in ENDS:
            return task
        sleep(pause)
        pause = min(pause * 1.5, server.settings.poll_seconds)


def _task(server: Server, task_id: str, sleep: Sleep) -> Mapping[str, Any]:
    """Read the task; wait for a server that is being restarted."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            task = server.get(path_of("tasks", task_id))
        except NoConnection:
            if time.monotonic() > deadline:
                raise
            sleep(server.settings.poll_seconds)
            continue
        if not isinstance(task, Mapping):
            raise ServerTrouble("The server's answer is not a task.")
        return task


def _conclude(task_id: str, task: Mapping[str, Any], display: Display) -> None:
    state = str(task.get("state"))
    if state in _STOPS:
        reasons = "".join(f"\n  {reason}" for reason in reasons_of(task))
        raise WorkNotDone(f"Task {task_id} {_STOPS[state]}.{reasons}")
    for line in _left_out(task.get("result")):
        display.line(line)
    display.line("Task skipped" if state == "skipped" else "Task succeeded")


def _left_out(result: Any) -> Iterator[str]:
    """Yield what a sync skipped because it cannot be used."""
    details = result.get("details") if isinstance(result, Mapping) else None
    entries = details.get("left_out") if isinstance(details, Mapping) else None
    if not isinstance(details, Mapping) or not isinstance(entries, list):
        return
    for entry in entries[:_LEFT_OUT_SHOWN]:
        if isinstance(entry, Mapping):
            yield clean(f"Skipped: {entry.get('name')} {entry.get('reason')}")
    further = int(details.get("left_out_count") or 0) - _LEFT_OUT_SHOWN
    if further > 0:
        yield f"Skipped: {further} more, which `repo history sync --details` names"


def reasons_of(task: Mapping[str, Any]) -> list[str]:
    """Return the reasons why a task failed, in the server's words, each once."""
    told = list(dict.fromkeys(descriptions(task.get("error"))))
    if not told and task.get("exception"):
        told = [str(task["exception"])]
    result = task.get("result")
    if isinstance(result, Mapping) and result.get("error_message") and str(result["error_message"]) not in told:
        told.append(str(result["error_message"]))
    return told
