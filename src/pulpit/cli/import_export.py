"""`pulpit import`: imports an export into a server on this machine."""

from pathlib import Path
from typing import Any

import click

from pulpit.client.options import connection_options
from pulpit.client.settings import Options


@click.command("import")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("--repo-id", help="The target repository; created if it does not exist.  [default: as it was called]")
@click.option(
    "--work-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where a tar is unpacked; it needs as much room again.  [default: the system's folder for temporary files]",
)
@connection_options
def import_export(source: Path, *, repo_id: str | None, work_dir: Path | None, **options: Any) -> None:
    """Import an export, a folder or a tar, into a server that runs on this machine, and publish it.

    Every byte is verified before the server is contacted. The repository then holds exactly the content of the export.
    Running it again changes nothing.
    """
    from pulpit.cli.importing import take  # noqa: PLC0415 - no other command needs what it loads

    take(source, repo_id, work_dir, Options(**options))
