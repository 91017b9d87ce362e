"""`python`: indexes of Python packages."""

from typing import Final

import click

from pulpit.admin.grammar import BOOLEAN, TEXT, Group
from pulpit.admin.repositories import (
    IMPORTER_OPTIONS,
    RETAINING_OPTIONS,
    RepositoryKind,
    units_command,
)
from pulpit.admin.units import copy_group, remove_group
from pulpit.admin.uploads import uploads_group

PYTHON_PACKAGE: Final = "python_package"

_LISTS: Final = ("package_types", "python_tags", "abi_tags", "platform_tags", "python_versions")
_PYTHON_IMPORTER: Final = (
    click.option("--feed", type=TEXT, metavar="URL", help="Index upstream: what pip takes as --index-url."),
    click.option(
        "--package-names",
        type=TEXT,
        help="Projects, separated by commas, with versions where not all are wanted: django>=4,<5,flask; * for all.",
    ),
    *IMPORTER_OPTIONS,
    *RETAINING_OPTIONS,
    click.option("--prereleases", type=BOOLEAN, help="Take prereleases: true, false, or as pip does without it."),
    click.option("--include-yanked", type=BOOLEAN, help="Take files that were yanked, too (true or false)."),
    click.option("--allow-unhashed", type=BOOLEAN, help="Take files without a checksum, too (true or false)."),
    click.option("--package-types", type=TEXT, help="Take these alone: sdist, wheel."),
    click.option("--python-tags", type=TEXT, help="Take wheels of these tags alone, such as py3,cp311."),
    click.option("--abi-tags", type=TEXT, help="The same for the ABI, such as none,abi3."),
    click.option("--platform-tags", type=TEXT, help="The same for the platform, such as any,manylinux*_x86_64."),
    click.option("--python-versions", type=TEXT, help="Take files for one of these versions of Python, such as 3.11."),
)
_PYTHON_DISTRIBUTOR: Final = (
    click.option("--relative-url", type=TEXT, help="Path below /pulp/python/web/; the repository's id otherwise."),
)
_PYTHON_UNITS: Final = [("packages", [PYTHON_PACKAGE], "the packages")]
_PYTHON_SHOWN: Final = (
    "name",
    "version",
    "packagetype",
    "filename",
    "summary",
    "requires_python",
    "yanked_reason",
    "size",
)


PYTHON: Final = RepositoryKind(
    importer="python_importer",
    distributor="python_distributor",
    distributor_id="cli_python_distributor",
    note="PYTHON",
    importer_options=_PYTHON_IMPORTER,
    distributor_options=_PYTHON_DISTRIBUTOR,
    lists=_LISTS,
)


@click.group("python", cls=Group)
def python() -> None:
    """Indexes of Python packages."""


@python.group("repo")
def python_repo() -> None:
    """Manage indexes of Python packages."""


for _command in PYTHON.commands():
    python_repo.add_command(_command)
_uploads = uploads_group({"upload": PYTHON_PACKAGE}, lambda name, _size, _sha256: {"filename": name})
python_repo.add_command(_uploads)
python_repo.add_command(_uploads.commands["upload"])  # where Pulp 2 has it
python_repo.add_command(units_command("packages", [PYTHON_PACKAGE], _PYTHON_SHOWN, "List the packages."))
python_repo.add_command(copy_group(_PYTHON_UNITS))
python_repo.add_command(remove_group(_PYTHON_UNITS))
