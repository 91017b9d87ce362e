"""`pulpit check`: verifies that database, storage and publications are consistent."""

import os
import sys
from pathlib import Path

import click

from pulpit.configuration import load


@click.command("check")
@click.option("--config", type=click.Path(path_type=Path), help="Configuration file [default: /etc/pulp/server.conf].")
@click.option("--data-dir", help="Folder for all data.")
@click.option("--deep", is_flag=True, help="Read every file and compare its checksum.")
@click.option(
    "--repair", is_flag=True, help="Repair what can be repaired without losing anything; the server must not run."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(config: Path | None, data_dir: str | None, *, deep: bool, repair: bool, as_json: bool) -> None:
    """Verify that database, storage and publications are consistent.

    Works on the folder of a stopped server, or beside a running one, whose running tasks are ignored. Every finding is
    one line: what is wrong, and how to repair it. The exit code is 0 if there is no problem, else 3; leftovers, which
    are removed automatically, are reported but do not count.
    """
    from pulpit.server.check import check as run  # noqa: PLC0415 - other commands do not need the server

    given = {} if data_dir is None else {("server", "data_dir"): data_dir}
    settings, _ = load(config, os.environ, given)
    sys.exit(run(settings, deep=deep, repair=repair, as_json=as_json))
