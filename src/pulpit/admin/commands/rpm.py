"""`rpm repo`: repositories of packages."""

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
from pulpit.admin.grammar import BOOLEAN, PEM, TEXT, Clearable, Group, listed

_CHECKSUM: Final = Clearable(click.Choice(["md5", "sha", "sha1", "sha224", "sha256", "sha384", "sha512"]))
_IMPORTER: Final = (
    click.option("--feed", type=TEXT, metavar="URL", help="Folder upstream, or the URL of a mirrorlist or metalink."),
    *IMPORTER_OPTIONS,
    *RETAINING_OPTIONS,
    click.option("--skip", "skip", multiple=True, help="Leave a type out: rpm, srpm, drpm, distribution, erratum."),
    click.option("--require-signature", type=BOOLEAN, help="Take signed packages only (true or false)."),
    click.option("--allowed-keys", type=TEXT, help="Ids of the keys that may have signed, separated by commas."),
    click.option("--repo-gpgcheck", type=BOOLEAN, help="Check the signature of repomd.xml by --feed-gpg-key."),
    click.option("--feed-gpg-key", type=PEM, help="File: the OpenPGP public keys that are trusted for it."),
)
_DISTRIBUTOR: Final = (
    click.option("--relative-url", type=TEXT, help="Path below /pulp/repos/; the repository's id otherwise."),
    click.option("--serve-http", "http", type=BOOLEAN, help="Serve over HTTP (true or false)."),
    click.option("--serve-https", "https", type=BOOLEAN, help="Serve over HTTPS (true or false)."),
    click.option("--auth-ca", type=PEM, help="File: authority whose clients alone are served."),
    click.option("--checksum-type", type=_CHECKSUM, help="Checksums of the published lists and packages."),
    click.option("--gpg-key", type=PEM, help="File: a public key to publish beside the packages."),
)
_IMPORTER_KEYS: Final = IMPORTER_KEYS | {
    "retain_old_count",
    "type_skip_list",
    "require_signature",
    "allowed_keys",
    "repo_gpgcheck",
    "feed_gpg_key",
}
_DISTRIBUTOR_KEYS: Final = frozenset({"relative_url", "http", "https", "auth_ca", "checksum_type", "gpg_key"})
_SENT_AS: Final = {"feed_gpg_key": "gpgkey", "gpg_key": "gpgkey"}


def _settings(options: dict[str, Any]) -> Settings:
    """The options by where they go, with the lists and shorthands that only packages have."""
    skipped = options.pop("skip")
    options["type_skip_list"] = listed(",".join(skipped)) if skipped else None
    options["allowed_keys"] = listed(options["allowed_keys"])
    options["retain_old_count"] = retained(options)
    importer, distributor, delta = divided(options, _IMPORTER_KEYS, _DISTRIBUTOR_KEYS)
    return _renamed(importer), _renamed(distributor), delta


def _renamed(settings: dict[str, Any]) -> dict[str, Any]:
    return {_SENT_AS.get(name, name): value for name, value in settings.items()}


KIND: Final = Kind(
    importer="yum_importer",
    distributor="yum_distributor",
    distributor_id="yum_distributor",
    note="rpm-repo",
    options=with_options(*REPOSITORY_OPTIONS, *_IMPORTER, *_DISTRIBUTOR),
    settings=_settings,
)


@click.group("rpm", cls=Group)
def rpm() -> None:
    """Repositories of packages."""


@rpm.group("repo")
def repo() -> None:
    """Manage repositories of packages."""


for _command in KIND.commands():
    repo.add_command(_command)


@repo.group("content")
def content() -> None:
    """What a repository holds."""


_PACKAGE: Final = ("name", "epoch", "version", "release", "arch", "filename", "size", "license", "checksum")
_TREE: Final = ("distribution_id", "family", "variant", "version", "arch", "timestamp", "files")
_UNITS: Final = (
    ("rpm", ["rpm"], "the packages", _PACKAGE),
    ("srpm", ["srpm"], "the source packages", _PACKAGE),
    ("errata", ["erratum"], "the errata", ("errata_id", "title", "type", "severity", "issued")),
    ("group", ["package_group"], "the groups of packages", ("package_group_id", "name", "description")),
    ("category", ["package_category"], "the categories", ("package_category_id", "name", "packagegroupids")),
    ("environment", ["package_environment"], "the environments", ("package_environment_id", "name", "group_ids")),
    ("distribution", ["distribution"], "the installation trees", _TREE),
    ("modulemd", ["modulemd"], "the modules", ("name", "stream", "version", "context", "arch", "artifacts")),
)
for _name, _types, _people, _shown in _UNITS:
    content.add_command(units_command(_name, _types, _shown, f"List {_people}."))
repo.add_command(copy_group(unit[:3] for unit in _UNITS))
repo.add_command(remove_group(unit[:3] for unit in _UNITS))
