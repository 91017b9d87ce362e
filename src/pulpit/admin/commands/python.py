"""`python repo`: indexes of Python packages."""

from typing import Any, Final

import click

from pulpit.admin.commands.repository_kinds import Kind, units_command
from pulpit.admin.commands.repository_options import (
    IMPORTER_KEYS,
    IMPORTER_OPTIONS,
    REPOSITORY_OPTIONS,
    RETAINING_OPTIONS,
    Settings,
    divided,
    retained,
    with_options,
)
from pulpit.admin.commands.unit_work import copy_group, remove_group
from pulpit.admin.commands.uploads import uploads_group
from pulpit.admin.grammar import BOOLEAN, TEXT, Group, listed

UNIT_TYPE: Final = "python_package"

_LISTS: Final = ("package_types", "python_tags", "abi_tags", "platform_tags", "python_versions")
_IMPORTER: Final = (
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
_DISTRIBUTOR: Final = (
    click.option("--relative-url", type=TEXT, help="Path below /pulp/python/web/; the repository's id otherwise."),
)
_IMPORTER_KEYS: Final = IMPORTER_KEYS | {
    *_LISTS,
    "package_names",
    "retain_old_count",
    "prereleases",
    "include_yanked",
    "allow_unhashed",
}
_DISTRIBUTOR_KEYS: Final = frozenset({"relative_url"})
_UNITS: Final = [("packages", [UNIT_TYPE], "the packages")]
_SHOWN: Final = ("name", "version", "packagetype", "filename", "summary", "requires_python", "yanked_reason", "size")


def _settings(options: dict[str, Any]) -> Settings:
    """The options by where they go, lists as lists."""
    options |= {name: listed(options[name]) for name in _LISTS}
    options["retain_old_count"] = retained(options)
    return divided(options, _IMPORTER_KEYS, _DISTRIBUTOR_KEYS)


KIND: Final = Kind(
    importer="python_importer",
    distributor="python_distributor",
    distributor_id="cli_python_distributor",
    note="PYTHON",
    options=with_options(*REPOSITORY_OPTIONS, *_IMPORTER, *_DISTRIBUTOR),
    settings=_settings,
)


@click.group("python", cls=Group)
def python() -> None:
    """Indexes of Python packages."""


@python.group("repo")
def repo() -> None:
    """Manage indexes of Python packages."""


def _key(name: str, _size: int, _sha256: str) -> dict[str, Any]:
    return {"filename": name}


for _command in KIND.commands():
    repo.add_command(_command)
_uploads = uploads_group(UNIT_TYPE, _key)
repo.add_command(_uploads)
repo.add_command(_uploads.commands["upload"])  # where Pulp 2 had it
repo.add_command(units_command("packages", [UNIT_TYPE], _SHOWN, "List the packages."))
repo.add_command(copy_group(_UNITS))
repo.add_command(remove_group(_UNITS))
