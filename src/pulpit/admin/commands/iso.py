"""`iso repo`: repositories of files."""

from typing import Any, Final

import click

from pulpit.admin.commands.repository_kinds import Kind, units_command
from pulpit.admin.commands.repository_options import (
    IMPORTER_KEYS,
    IMPORTER_OPTIONS,
    REPOSITORY_OPTIONS,
    Settings,
    divided,
    with_options,
)
from pulpit.admin.commands.unit_work import copy_group, remove_group
from pulpit.admin.commands.uploads import uploads_group
from pulpit.admin.grammar import BOOLEAN, PEM, TEXT, Group

_FEED: Final = click.option(
    "--feed", type=TEXT, metavar="URL", help="Folder upstream that holds the files and a PULP_MANIFEST."
)
_DISTRIBUTOR: Final = (
    click.option("--relative-url", type=TEXT, help="Path below /pulp/isos/; the repository's id otherwise."),
    click.option("--serve-http", type=BOOLEAN, help="Serve over HTTP (true or false)."),
    click.option("--serve-https", type=BOOLEAN, help="Serve over HTTPS (true or false)."),
    click.option("--auth-ca", "ssl_auth_ca_cert", type=PEM, help="File: authority whose clients alone are served."),
)
_DISTRIBUTOR_KEYS: Final = frozenset({"relative_url", "serve_http", "serve_https", "ssl_auth_ca_cert"})
_SHOWN: Final = ("name", "size", "checksum")
_UNITS: Final = [("iso", ["iso"], "the files")]


def _settings(options: dict[str, Any]) -> Settings:
    return divided(options, IMPORTER_KEYS, _DISTRIBUTOR_KEYS)


KIND: Final = Kind(
    importer="iso_importer",
    distributor="iso_distributor",
    distributor_id="iso_distributor",
    note="iso-repo",
    options=with_options(*REPOSITORY_OPTIONS, _FEED, *IMPORTER_OPTIONS, *_DISTRIBUTOR),
    settings=_settings,
)


@click.group("iso", cls=Group)
def iso() -> None:
    """Repositories of files."""


@iso.group("repo")
def repo() -> None:
    """Manage repositories of files."""


def _key(name: str, size: int, sha256: str) -> dict[str, Any]:
    return {"name": name, "size": size, "checksum": sha256}


for _command in KIND.commands():
    repo.add_command(_command)
repo.add_command(uploads_group("iso", _key))
repo.add_command(units_command("isos", ["iso"], _SHOWN, "List the files of a repository."))
repo.add_command(copy_group(_UNITS))
repo.add_command(remove_group(_UNITS))
