"""`pulpit export`: a publication as a plain tree or a tar, for web servers, rsync and machines without a network."""

import os
from pathlib import Path

import click

from pulpit.client.streams import write_line
from pulpit.configuration import load


@click.command("export")
@click.argument("what", metavar="PLACE|REPO:NUMBER")
@click.argument("target", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--since", type=click.IntRange(min=1), help="Omit the files that this publication has already.")
@click.option("--tar", "as_tar", is_flag=True, help="Write one tar of the name DIR instead of a folder.")
@click.option("--copy", is_flag=True, help="Copy the files, even if they could be hard links to the storage.")
@click.option("--config", type=click.Path(path_type=Path), help="Configuration file [default: /etc/pulp/server.conf].")
@click.option("--data-dir", help="Folder for all data.")
def export(
    what: str,
    target: Path,
    *,
    since: int | None,
    as_tar: bool,
    copy: bool,
    config: Path | None,
    data_dir: str | None,
) -> None:
    """Write what a place such as repos/zoo shows, or a publication such as zoo:7, as a plain tree.

    Runs on the server's machine as the server's user, beside a running server. The tree appears only when it is
    complete, with a list of checksums (pulpit-export.files) by which `pulpit import` verifies it elsewhere; running it
    again updates the tree.
    """
    from pulpit.server.export import export as run  # noqa: PLC0415 - other commands do not need the server

    given = {} if data_dir is None else {("server", "data_dir"): data_dir}
    settings, _ = load(config, os.environ, given)
    write_line(run(settings, what, target, since=since, as_tar=as_tar, link=not copy))
