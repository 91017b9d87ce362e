"""`pulpit check`: whether database, storage and publications agree."""

import os
import sys
from pathlib import Path

import click

from pulpit.configuration import load


@click.command("check")
@click.option("--config", type=click.Path(path_type=Path), help="Configuration file [default: /etc/pulp/server.conf].")
@click.option("--data-dir", help="Folder of everything that is kept.")
@click.option("--deep", is_flag=True, help="Read every file and compare its checksum.")
@click.option(
    "--repair", is_flag=True, help="Heal what can be healed without losing anything; the server must not run."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(config: Path | None, data_dir: str | None, *, deep: bool, repair: bool, as_json: bool) -> None:
    """Prove that database, storage and publications agree.

    Works beside a running server, of whose work under way nothing is said, and on the folder of one that is stopped.
    Every finding is one line: what is wrong, and what heals it. The exit code is 0 if nothing is, else 3; what is
    merely left over, and goes by itself, is told and does not count.
    """
    from pulpit.server.check import check as run  # noqa: PLC0415 - the other commands need none of the server

    given = {} if data_dir is None else {("server", "data_dir"): data_dir}
    settings, _ = load(config, os.environ, given)
    sys.exit(run(settings, deep=deep, repair=repair, as_json=as_json))
