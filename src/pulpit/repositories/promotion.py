"""Promotion: let another place show a publication, or roll its own place back to an earlier one; no file is touched."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from pulpit.content.port import ContentType
from pulpit.errors import ConflictingOperation, InvalidValue, PulpitError, WorkFailed
from pulpit.repositories.context import TaskContext
from pulpit.repositories.differences import ChangesAtPlace, Show, publications_shown, snapshot_of
from pulpit.store import publications, repositories
from pulpit.store.database import Transaction
from pulpit.store.publications import Place, Publication
from pulpit.text import shown


@dataclass(frozen=True, kw_only=True, slots=True)
class Promotion:
    """Which publication to show where."""

    repo_id: str
    number: int
    path: str
    protect: bool
    """Whether only promotions may change the place from now on; `False` leaves that unchanged."""


def refuse_protected(connection: Connection, path: str) -> None:
    """Reject a publish to a place that only promotions may change.

    Raises:
        WorkFailed: the place is protected; the text names the alternatives.
    """
    place = publications.place(connection, path)
    if place is not None and place.only_promoted:
        raise WorkFailed(
            f"The place {shown(path)} is protected: only a promotion changes what it shows. Promote a publication to "
            "it (pulp-admin repo promote), or let publishes change it again (pulp-admin repo places unprotect)."
        )


def place_for(content_type: ContentType, repo_id: str, to: str) -> str:
    """Return the path of a place that a user named, with or without its kind in front.

    Raises:
        InvalidValue: `to` is not a valid place.
    """
    kind = content_type.published_under
    relative = to.strip("/")
    if relative.startswith(f"{kind}/"):
        before_all = content_type.relative_url(repo_id, {"relative_url": "x"}).removesuffix("x")  # such as web/
        relative = relative.removeprefix(f"{kind}/").removeprefix(before_all)
    if relative in {"", kind}:
        raise InvalidValue("to", f"name a place below {kind}/, such as prod/{repo_id}.")
    config = {"relative_url": relative}
    try:
        content_type.check_distributor_config(config)
    except InvalidValue as error:
        raise InvalidValue("to", f"it cannot be a place: {error.reason}") from None
    return f"{kind}/{content_type.relative_url(repo_id, config)}"


def own_place(connection: Connection, repo_id: str, distributor_id: str | None) -> Place:
    """Return the place to which a distributor publishes; the distributor may be omitted if there is only one.

    Raises:
        InvalidValue: there are several, and `distributor_id` names none.
        MissingResource: the repository or the distributor does not exist.
        ConflictingOperation: nothing is published there.
    """
    repositories.get(connection, repo_id)
    found = [
        (distributor, place)
        for distributor in repositories.distributors_of(connection, repo_id)
        for place in publications.places_of(connection, distributor.object_id)
        if distributor_id in (None, distributor.id) and not place.promoted
    ]
    if not found:
        if distributor_id is not None:
            repositories.distributor(connection, repo_id, distributor_id)
        raise ConflictingOperation(f"The repository {repo_id} is not published.")
    if len(found) > 1:
        ids = ", ".join(distributor.id for distributor, _ in found)
        raise InvalidValue("distributor_id", f"say which: {ids} publish this repository.")
    return found[0][1]


def before(connection: Connection, place: Place) -> Publication:
    """Return the newest publication that a place showed before and that is older than the current one.

    Raises:
        ConflictingOperation: none is kept.
    """
    now = publications.at(connection, place.path)
    older = [
        publication
        for publication in publications.former(connection, place.path)
        if now is not None and publication.number < now.number
    ]
    if not older:
        raise ConflictingOperation(f"The place {place.path} has no earlier publication to go back to.")
    return max(older, key=lambda publication: publication.number)


def check(connection: Connection, promotion: Promotion) -> Publication:
    """Return the publication of a promotion that is possible.

    Raises:
        MissingResource: the repository or the publication does not exist.
        ConflictingOperation: the place belongs to another distributor, or lies above or below another place.
    """
    publication = publications.get(connection, promotion.repo_id, promotion.number)
    if reason := publications.taken(connection, promotion.path, publication.distributor_object_id):
        raise ConflictingOperation(reason)
    return publication


def promote(context: TaskContext, promotion: Promotion) -> Show:
    """Return the function that shows a publication at a place, for the transaction that ends the task.

    Raises:
        MissingResource: the repository or the publication does not exist.
        ConflictingOperation: the place belongs to another repository.
    """
    with context.database.read() as connection:
        held = snapshot_of(context.storage, check(connection, promotion))
        seen = ChangesAtPlace.prepared(context, connection, promotion.path, held)

    def show(tx: Transaction) -> dict[str, Any]:
        now = context.clock()
        try:
            publication = check(tx.connection, promotion)
        except PulpitError as error:
            raise WorkFailed(str(error)) from None
        place = publications.place(tx.connection, promotion.path)
        is_own = place is not None and not place.promoted  # a rollback, after which publishes continue as before
        before = publications.show(tx, promotion.path, publication, promoted=not is_own, now=now)
        seen.write(tx, before)
        if promotion.protect:
            publications.protect(tx, promotion.path, only_promoted=True)
        keep, hidden_before = context.keep_publications, now - context.grace
        publications.prune(tx, promotion.path, keep=keep, hidden_before=hidden_before)
        return publications_shown(before, publication)

    return show


def summary_of(promotion: Promotion) -> dict[str, Any]:
    """Return what events and history say about it."""
    return {
        "place": promotion.path,
        "promoted_from": {"repo_id": promotion.repo_id, "publication": promotion.number},
    }
