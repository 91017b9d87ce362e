"""One run of the command: what was asked for in general, and the server and the screen that come of it."""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import click

from pulpit.admin.displays import Display, Lines, Silent
from pulpit.admin.following import follow, spawned
from pulpit.admin.grammar import JSON_FLAG, TABLE_FLAG
from pulpit.client.connecting import connect
from pulpit.client.screen import Screen
from pulpit.client.server import Server
from pulpit.client.settings import Options

P = ParamSpec("P")
R = TypeVar("R")


class Session:
    """Made by the root command and handed to every other one."""

    def __init__(self, options: Options) -> None:
        self._options = options

    @cached_property
    def server(self) -> Server:
        """The server; nothing is read or asked for before a command needs it."""
        return connect(self._options)

    def server_of(self, username: str, password: str | None, password_file: Path | None) -> Server:
        """The server, asked by somebody else."""
        return connect(replace(self._options, username=username, password=password, password_file=password_file))

    @cached_property
    def screen(self) -> Screen:
        """Standard output."""
        color = False if os.environ.get("NO_COLOR") else None
        flags = click.get_current_context().meta
        return Screen(as_json=bool(flags.get(JSON_FLAG)), as_table=bool(flags.get(TABLE_FLAG)), color=color)

    def display(self) -> Display:
        """Where to draw progress."""
        if self.screen.as_json:
            return Silent()
        if not sys.stdout.isatty():
            return Lines()
        from pulpit.admin.bars import Bars  # noqa: PLC0415 - rich alone takes as long to import as everything else

        return Bars()

    def watch(self, task_ids: list[str]) -> list[Any]:
        """Stay with tasks and give their last documents; Ctrl-C leaves them running, as it did in Pulp 2.

        Raises:
            WorkNotDone: one of them failed.
        """
        try:
            return follow(self.server, task_ids, self.display())
        except KeyboardInterrupt:
            running = ", ".join(task_ids)
            self.screen.warn(f"\nNot following any more; the work goes on at the server (task {running}).")
            raise click.exceptions.Exit(0) from None

    def follow(self, task_ids: list[str]) -> None:
        """Watch tasks, and print what became of them if JSON is asked for.

        Raises:
            WorkNotDone: one of them failed.
        """
        documents = self.watch(task_ids)
        if self.screen.as_json:
            self.screen.data(documents)

    def follow_report(self, report: Any, *, in_background: bool) -> None:
        """Stay with the tasks of a call report, or only name them."""
        task_ids = spawned(report)
        if not in_background:
            self.follow(task_ids)
        elif self.screen.as_json:
            self.screen.data(report)
        else:
            self.screen.say(f"The work goes on at the server (task {', '.join(task_ids) or 'unknown'}).")


def with_session(function: Callable[Concatenate[Session, P], R]) -> Callable[P, R]:
    """Give a command its session as the first argument."""
    return click.pass_obj(function)
