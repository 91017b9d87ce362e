"""`rpm repo`: repositories of packages."""

import json
from typing import Any, Final

import click

from pulpit.admin.commands.repo import REPO_ID, listing, show
from pulpit.admin.commands.repository_options import (
    IMPORTER_KEYS,
    IMPORTER_OPTIONS,
    REPOSITORY_OPTIONS,
    divided,
    with_options,
)
from pulpit.admin.commands.repository_work import delete_command, publish_group, sync_group
from pulpit.admin.following import spawned
from pulpit.admin.grammar import BOOLEAN, CLEAR, NOTHING_TO_CHANGE, PEM, TEXT, Clearable, Group, given, note_pairs
from pulpit.admin.session import Session, with_session
from pulpit.client.failures import WrongData
from pulpit.client.server import path_of

IMPORTER: Final = "yum_importer"
DISTRIBUTOR: Final = "yum_distributor"
NOTE: Final = {"_repo-type": "rpm-repo"}

_CHECKSUM: Final = Clearable(click.Choice(["md5", "sha", "sha1", "sha224", "sha256", "sha384", "sha512"]))
_IMPORTER: Final = (
    click.option("--feed", type=TEXT, metavar="URL", help="Folder upstream, or the URL of a mirrorlist or metalink."),
    *IMPORTER_OPTIONS,
    click.option("--retain-old-count", type=Clearable(click.IntRange(min=0)), help="Keep so many old versions."),
    click.option("--only-newest", is_flag=True, help="Keep the newest versions alone: the same as 0 old ones."),
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
_DISTRIBUTOR_KEYS: Final = frozenset({"relative_url", "http", "https", "checksum_type", "gpg_key"})
_SETTINGS: Final = with_options(*REPOSITORY_OPTIONS, *_IMPORTER, *_DISTRIBUTOR)
_SENT_AS: Final = {"feed_gpg_key": "gpgkey", "gpg_key": "gpgkey"}


@click.group("rpm", cls=Group)
def rpm() -> None:
    """Repositories of packages."""


@rpm.group("repo")
def repo() -> None:
    """Manage repositories of packages."""


@repo.command("create")
@REPO_ID
@_SETTINGS
@with_session
def create(session: Session, /, *, repo_id: str, notes: tuple[str, ...], **options: Any) -> None:
    """Create a repository; every sync of it is followed by a publish."""
    importer, distributor, delta = _settings(options)
    body = {
        "id": repo_id,
        **delta,
        "notes": {**(note_pairs(notes) or {}), **NOTE},
        "importer_type_id": IMPORTER,
        "importer_config": importer,
        "distributors": [
            {
                "distributor_id": DISTRIBUTOR,
                "distributor_type_id": DISTRIBUTOR,
                "auto_publish": True,
                "distributor_config": distributor,
            }
        ],
    }
    answer = session.server.post(path_of("repositories"), body)
    session.screen.succeeded(f"Repository {repo_id} created.", answer)


@repo.command("update")
@REPO_ID
@_SETTINGS
@with_session
def update(session: Session, /, *, repo_id: str, notes: tuple[str, ...], **options: Any) -> None:
    """Change a repository; an option given as "" is taken away."""
    importer, distributor, delta = _settings(options)
    delta |= given(notes=note_pairs(notes))
    if not (importer or distributor or delta):
        session.screen.warn(NOTHING_TO_CHANGE)
        return
    body = {
        "delta": delta,
        "importer_config": importer,
        "distributor_configs": {DISTRIBUTOR: distributor} if distributor else {},
    }
    answer = session.server.call("PUT", path_of("repositories", repo_id), body=body)
    if answer.status == 202:  # noqa: PLR2004 - HTTP's "accepted"
        session.follow(spawned(answer.body))
    session.screen.succeeded(f"Repository {repo_id} updated.", answer.body)


def _settings(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The options by where they go, with the lists and shorthands that only packages have."""
    skipped, only_newest = options.pop("skip"), options.pop("only_newest")
    options["type_skip_list"] = _listed(",".join(skipped)) if skipped else None
    keys = options["allowed_keys"]
    options["allowed_keys"] = keys if keys is CLEAR or keys is None else _listed(keys)
    if only_newest and options["retain_old_count"] is None:
        options["retain_old_count"] = 0
    importer, distributor, delta = divided(options, _IMPORTER_KEYS, _DISTRIBUTOR_KEYS)
    return _renamed(importer), _renamed(distributor), delta


def _listed(text: str) -> Any:
    names = [name.strip() for name in text.split(",") if name.strip()]
    return names or CLEAR


def _renamed(settings: dict[str, Any]) -> dict[str, Any]:
    return {_SENT_AS.get(name, name): value for name, value in settings.items()}


repo.command("list")(listing(lambda item: (item.get("notes") or {}).get("_repo-type") == NOTE["_repo-type"]))


@repo.command("search")
@click.option("--filters", help="Pulp 2's criteria as JSON, instead of all repositories of packages.")
@click.option("--fields", help="Show only these keys (and the id), separated by commas.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many.")
@click.option("--skip", type=click.IntRange(min=1), help="Leave out so many at the beginning.")
@with_session
def search(session: Session, /, *, filters: str | None, fields: str | None, **bounds: int | None) -> None:
    """Find repositories."""
    ours = {"notes._repo-type": NOTE["_repo-type"]}
    criteria: dict[str, Any] = {"filters": ours if filters is None else _json(filters)}
    criteria |= {key: value for key, value in bounds.items() if value}
    found = session.server.post(path_of("repositories", "search"), {"criteria": criteria})
    show(session, found, details=False, fields=fields)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise WrongData(f"--filters is no JSON: {error}.") from None


repo.add_command(delete_command())
repo.add_command(sync_group(IMPORTER))
repo.add_command(publish_group(DISTRIBUTOR))


@repo.group("content")
def content() -> None:
    """What a repository holds."""


def _content_command(name: str, type_ids: list[str], shown: tuple[str, ...], summary: str) -> None:
    @content.command(name, help=summary)
    @REPO_ID
    @click.option("--name", "wanted", help=f"Only with this {shown[0]}.")
    @click.option("--fields", help="Show only these keys, separated by commas.")
    @click.option("--limit", type=click.IntRange(min=1), help="At most so many.")
    @click.option("--skip", type=click.IntRange(min=1), help="Leave out so many at the beginning.")
    @with_session
    def command(
        session: Session, /, *, repo_id: str, wanted: str | None, fields: str | None, **bounds: int | None
    ) -> None:
        criteria: dict[str, Any] = {"type_ids": type_ids, "filters": {"unit": {shown[0]: wanted} if wanted else {}}}
        criteria |= {key: value for key, value in bounds.items() if value}
        found = session.server.post(path_of("repositories", repo_id, "search", "units"), {"criteria": criteria})
        keys = [field.strip() for field in fields.split(",")] if fields else shown
        if session.screen.as_json:
            session.screen.data(found)
        else:
            session.screen.documents(
                {key: item["metadata"][key] for key in keys if key in item["metadata"]} for item in found
            )


_PACKAGE: Final = ("name", "epoch", "version", "release", "arch", "filename", "size", "license", "checksum")
for _name, _types, _shown, _summary in (
    ("rpm", ["rpm"], _PACKAGE, "List the packages."),
    ("srpm", ["srpm"], _PACKAGE, "List the source packages."),
    ("errata", ["erratum"], ("errata_id", "title", "type", "severity", "issued"), "List the errata."),
    ("group", ["package_group"], ("package_group_id", "name", "description"), "List the groups of packages."),
    ("category", ["package_category"], ("package_category_id", "name", "packagegroupids"), "List the categories."),
    ("environment", ["package_environment"], ("package_environment_id", "name", "group_ids"), "List the environments."),
    ("modulemd", ["modulemd"], ("name", "stream", "version", "context", "arch", "artifacts"), "List the modules."),
):
    _content_command(_name, _types, _shown, _summary)
