"""`rpm`: repositories of packages."""

from typing import Final

import click

from pulpit.admin.grammar import BACKGROUND, BOOLEAN, PEM, TEXT, Clearable, Group
from pulpit.admin.repo import REPO_ID
from pulpit.admin.repositories import (
    IMPORTER_OPTIONS,
    RETAINING_OPTIONS,
    RepositoryKind,
    units_command,
)
from pulpit.admin.session import Session, with_session
from pulpit.admin.units import copy_group, remove_group
from pulpit.admin.uploads import FORMS, form_command, uploads_group
from pulpit.client.server import path_of

_RPM_CHECKSUM: Final = Clearable(click.Choice(["md5", "sha", "sha1", "sha224", "sha256", "sha384", "sha512"]))
_RPM_IMPORTER: Final = (
    click.option("--feed", type=TEXT, metavar="URL", help="Folder upstream, or the URL of a mirrorlist or metalink."),
    *IMPORTER_OPTIONS,
    *RETAINING_OPTIONS,
    click.option(
        "--skip",
        "type_skip_list",
        multiple=True,
        callback=lambda _context, _option, skipped: ",".join(skipped) if skipped else None,
        help="Skip a type: rpm, srpm, erratum, modulemd, metafile, …",
    ),
    click.option("--require-signature", type=BOOLEAN, help="Accept only signed packages (true or false)."),
    click.option(
        "--allowed-keys", type=TEXT, help="Ids of the keys whose signatures are accepted, separated by commas."
    ),
    click.option("--repo-gpgcheck", type=BOOLEAN, help="Check the signature of repomd.xml by --feed-gpg-key."),
    click.option("--feed-gpg-key", type=PEM, help="File: the OpenPGP public keys that are trusted for it."),
)
_RPM_DISTRIBUTOR: Final = (
    click.option("--relative-url", type=TEXT, help="Path below /pulp/repos/; the repository's id otherwise."),
    click.option("--serve-http", "http", type=BOOLEAN, help="Serve over HTTP (true or false)."),
    click.option("--serve-https", "https", type=BOOLEAN, help="Serve over HTTPS (true or false)."),
    click.option("--auth-ca", type=PEM, help="File: CA whose client certificates are required."),
    click.option("--checksum-type", type=_RPM_CHECKSUM, help="Checksums of the published lists and packages."),
    click.option("--gpg-key", type=PEM, help="File: a public key to publish beside the packages."),
    click.option("--gpg-sign-metadata", type=BOOLEAN, help="Sign the lists; where the server has a key, it does."),
    click.option("--gpg-key-id", type=TEXT, help="Which of the server's keys signs them: an id or fingerprint."),
)
_EXPORTING: Final = "export_distributor"
RPM: Final = RepositoryKind(
    importer="yum_importer",
    distributor="yum_distributor",
    distributor_id="yum_distributor",
    note="rpm-repo",
    importer_options=_RPM_IMPORTER,
    distributor_options=_RPM_DISTRIBUTOR,
    lists=("type_skip_list", "allowed_keys"),
    sent_as={"feed_gpg_key": "gpgkey", "gpg_key": "gpgkey"},
)


@click.group("rpm", cls=Group)
def rpm() -> None:
    """Repositories of packages."""


@rpm.group("repo")
def rpm_repo() -> None:
    """Manage repositories of packages."""


for _command in RPM.commands():
    rpm_repo.add_command(_command)


@rpm_repo.group("export")
def rpm_export() -> None:
    """Write a repository's publication as a plain tree on the server."""


@rpm_export.command("run")
@REPO_ID
@click.option("--export-dir", required=True, help="Folder on the server, within its [publish] export_dir.")
@BACKGROUND
@with_session
def run_export(session: Session, /, *, repo_id: str, export_dir: str, in_background: bool) -> None:
    """Write a plain tree by the repository's export distributor, which is created if there is none."""
    distributors = path_of("repositories", repo_id, "distributors")
    if all(found["distributor_type_id"] != _EXPORTING for found in session.server.get(distributors)):
        new = {"distributor_id": _EXPORTING, "distributor_type_id": _EXPORTING, "distributor_config": {}}
        session.server.post(distributors, {**new, "auto_publish": False})
    order = {"id": _EXPORTING, "override_config": {"export_dir": export_dir}}
    report = session.server.post(path_of("repositories", repo_id, "actions", "publish"), order)
    session.follow_report(report, in_background=in_background)


@rpm_repo.group("content")
def content() -> None:
    """What a repository holds."""


_PACKAGE: Final = ("name", "epoch", "version", "release", "arch", "filename", "size", "license", "checksum")
_TREE: Final = ("distribution_id", "family", "variant", "version", "arch", "timestamp", "files")
_RPM_UNITS: Final = (
    ("rpm", ["rpm"], "the packages", _PACKAGE),
    ("srpm", ["srpm"], "the source packages", _PACKAGE),
    ("errata", ["erratum"], "the errata", ("errata_id", "title", "type", "severity", "issued")),
    ("group", ["package_group"], "the groups of packages", ("package_group_id", "name", "description")),
    ("category", ["package_category"], "the categories", ("package_category_id", "name", "packagegroupids")),
    (
        "environment",
        ["package_environment"],
        "the environments",
        ("package_environment_id", "name", "description", "group_ids"),
    ),
    ("langpacks", ["package_langpacks"], "the language packs", ("matches",)),
    ("distribution", ["distribution"], "the installation trees", _TREE),
    ("modulemd", ["modulemd"], "the modules", ("name", "stream", "version", "context", "arch", "artifacts")),
)
for _name, _types, _people, _shown in _RPM_UNITS:
    content.add_command(units_command(_name, _types, _shown, f"List {_people}."))
rpm_repo.add_command(copy_group((unit[:3] for unit in _RPM_UNITS), recursive=True))
rpm_repo.add_command(remove_group(unit[:3] for unit in _RPM_UNITS))
_rpm_uploads = uploads_group({"rpm": "rpm", "srpm": "srpm"}, lambda *_file: {})  # the header tells
for _name in FORMS:
    _rpm_uploads.add_command(form_command(_name))
rpm_repo.add_command(_rpm_uploads)
