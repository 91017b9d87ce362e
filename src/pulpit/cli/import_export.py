"""`pulpit import`: an export into a server of this machine."""

from pathlib import Path
from typing import Any

import click

from pulpit.client.options import connection_options
from pulpit.client.settings import Options


@click.command("import")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("--repo-id", help="The repository that gets it; made if there is none.  [default: as it was called]")
@click.option(
    "--work-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where a tar is unpacked; it needs as much room again.  [default: the system's folder for temporary files]",
)
@connection_options
def import_export(source: Path, *, repo_id: str | None, work_dir: Path | None, **options: Any) -> None:
    """Take an export, a folder or a tar, into a server that runs on this machine, and publish it.

    Every byte is proven before the server is asked for anything. The repository then holds what the export has and
    nothing else. Doing it again changes nothing.
    """
    from pulpit.cli.importing import take  # noqa: PLC0415 - no other command needs what it loads

    take(source, repo_id, work_dir, Options(**options))
