"""`python repo`: indexes of Python packages."""

from typing import Any, Final

import click

from pulpit.admin.commands.repo import REPO_ID
from pulpit.admin.commands.repository_kinds import Kind, units_command
from pulpit.admin.commands.repository_options import (
    IMPORTER_KEYS,
    IMPORTER_OPTIONS,
    REPOSITORY_OPTIONS,
    divided,
    with_options,
)
from pulpit.admin.commands.repository_work import delete_command, publish_group, sync_group
from pulpit.admin.commands.uploads import uploads_group
from pulpit.admin.grammar import BOOLEAN, TEXT, Clearable, Group, listed
from pulpit.admin.session import Session, with_session

KIND: Final = Kind(
    importer="python_importer",
    distributor="python_distributor",
    distributor_id="cli_python_distributor",
    note="PYTHON",
)
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
    click.option("--retain-old-count", type=Clearable(click.IntRange(min=0)), help="Keep so many old versions."),
    click.option("--only-newest", is_flag=True, help="Keep the newest versions alone: the same as 0 old ones."),
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
_SETTINGS: Final = with_options(*REPOSITORY_OPTIONS, *_IMPORTER, *_DISTRIBUTOR)
_SHOWN: Final = ("name", "version", "packagetype", "filename", "summary", "requires_python", "yanked_reason", "size")


@click.group("python", cls=Group)
def python() -> None:
    """Indexes of Python packages."""


@python.group("repo")
def repo() -> None:
    """Manage indexes of Python packages."""


@repo.command("create")
@REPO_ID
@_SETTINGS
@with_session
def create(session: Session, /, *, repo_id: str, notes: tuple[str, ...], **options: Any) -> None:
    """Create a repository; every sync of it is followed by a publish."""
    KIND.create(session, repo_id, notes, _settings(options))


@repo.command("update")
@REPO_ID
@_SETTINGS
@with_session
def update(session: Session, /, *, repo_id: str, notes: tuple[str, ...], **options: Any) -> None:
    """Change a repository; an option given as "" is taken away."""
    KIND.update(session, repo_id, notes, _settings(options))


def _settings(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    options |= {name: listed(options[name]) for name in _LISTS}
    if options.pop("only_newest") and options["retain_old_count"] is None:
        options["retain_old_count"] = 0
    return divided(options, _IMPORTER_KEYS, _DISTRIBUTOR_KEYS)


def _key(name: str, _size: int, _sha256: str) -> dict[str, Any]:
    return {"filename": name}


repo.add_command(KIND.list_command())
repo.add_command(KIND.search_command())
repo.add_command(delete_command())
repo.add_command(uploads_group(UNIT_TYPE, _key))
repo.add_command(units_command("packages", [UNIT_TYPE], _SHOWN, "List the packages."))
repo.add_command(sync_group(KIND.importer))
repo.add_command(publish_group(KIND.distributor_id))
