"""`iso`: repositories of files."""

from typing import Final

import click

from pulpit.admin.grammar import BOOLEAN, PEM, TEXT, Group
from pulpit.admin.repositories import (
    IMPORTER_OPTIONS,
    RepositoryKind,
    units_command,
)
from pulpit.admin.units import copy_group, remove_group
from pulpit.admin.uploads import uploads_group

_ISO_FEED: Final = click.option(
    "--feed", type=TEXT, metavar="URL", help="Folder upstream that holds the files and a PULP_MANIFEST."
)
_ISO_DISTRIBUTOR: Final = (
    click.option("--relative-url", type=TEXT, help="Path below /pulp/isos/; the repository's id otherwise."),
    click.option("--serve-http", type=BOOLEAN, help="Serve over HTTP (true or false)."),
    click.option("--serve-https", type=BOOLEAN, help="Serve over HTTPS (true or false)."),
    click.option("--auth-ca", "ssl_auth_ca_cert", type=PEM, help="File: CA whose client certificates are required."),
)
_ISO_SHOWN: Final = ("name", "size", "checksum")
_ISO_UNITS: Final = [("iso", ["iso"], "the files")]


ISO: Final = RepositoryKind(
    importer="iso_importer",
    distributor="iso_distributor",
    distributor_id="iso_distributor",
    note="iso-repo",
    importer_options=(_ISO_FEED, *IMPORTER_OPTIONS),
    distributor_options=_ISO_DISTRIBUTOR,
)


@click.group("iso", cls=Group)
def iso() -> None:
    """Repositories of files."""


@iso.group("repo")
def iso_repo() -> None:
    """Manage repositories of files."""


for _command in ISO.commands():
    iso_repo.add_command(_command)
iso_repo.add_command(
    uploads_group({"upload": "iso"}, lambda name, size, sha256: {"name": name, "size": size, "checksum": sha256})
)
iso_repo.add_command(units_command("isos", ["iso"], _ISO_SHOWN, "List the files of a repository."))
iso_repo.add_command(copy_group(_ISO_UNITS))
iso_repo.add_command(remove_group(_ISO_UNITS))
