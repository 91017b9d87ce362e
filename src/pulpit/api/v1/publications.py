"""Publications of a repository and the places that show them: list, compare, pin, promote, roll back."""

from typing import Annotated, Final

from fastapi import Path, Query
from fastapi.responses import JSONResponse
from sqlalchemy import Connection

from pulpit.api.endpoints import Endpoints
from pulpit.api.services import ACCEPTED, NO_CONTENT, OK, Asking, Provided, Services, queued, returns
from pulpit.api.v1.models import (
    DifferentFile,
    ExportOrder,
    FileDocument,
    FilesPage,
    PlaceDocument,
    PlaceOrder,
    PlacesPage,
    PromotionOrder,
    PublicationDifference,
    PublicationDocument,
    PublicationsPage,
    RollbackOrder,
    place_document,
    publication_document,
)
from pulpit.api.v2.models import CallReport
from pulpit.errors import ConflictingOperation, MissingResource
from pulpit.repositories import differences, exporting
from pulpit.repositories.promotion import Promotion, before, own_place, place_for
from pulpit.store import publications, repositories
from pulpit.store.publications import Publication
from pulpit.tasks import queue

MOST_FILES: Final = 10_000

_publications: Final = Endpoints(prefix="/repositories/{repo_id}", tags=["publications"])
_places: Final = Endpoints(prefix="/places", tags=["publications"])

Number = Annotated[int, Path(ge=1, le=2**31 - 1)]
Most = Annotated[int, Query(ge=0, le=MOST_FILES)]
_ONE: Final = returns(OK, PublicationDocument, 400, 404)


@_publications.get("/publications", responses=returns(OK, PublicationsPage, 404))
def list_publications(repo_id: str, services: Provided) -> PublicationsPage:
    """List a repository's publications, the newest first, and which places show them now."""
    with services.database.read() as connection:
        repositories.get(connection, repo_id)
        found = publications.of_repository(connection, repo_id)
        return PublicationsPage(publications=_documents(connection, repo_id, found))


@_publications.get("/publications/{number}", responses=_ONE)
def read_publication(repo_id: str, number: Number, services: Provided) -> PublicationDocument:
    """Show one publication."""
    with services.database.read() as connection:
        return _document(connection, publications.get(connection, repo_id, number))


@_publications.get("/publications/{number}/files", responses=returns(OK, FilesPage, 400, 404))
def list_published_files(
    repo_id: str, number: Number, services: Provided, *, after: str = "", limit: Most = MOST_FILES
) -> FilesPage:
    """List the files of a publication by path, page by page: those after the path `after`."""
    with services.database.read() as connection:
        publication = publications.get(connection, repo_id, number)
    found = differences.files(services.publications.storage, publication)
    page = [FileDocument.model_validate(file) for path, file in found.items() if path > after][:limit]
    return FilesPage(files=page, total=len(found))


@_publications.get("/publications/{number}/diff", responses=returns(OK, PublicationDifference, 400, 404))
def compare_publications(
    repo_id: str,
    number: Number,
    services: Provided,
    *,
    to: Annotated[int, Query(ge=1, le=2**31 - 1)],
    limit: Most = 1000,
) -> PublicationDifference:
    """Show what was added, removed and changed between two publications; lists end after `limit`."""
    with services.database.read() as connection:
        earlier = publications.get(connection, repo_id, number)
        later = publications.get(connection, repo_id, to)
    found = differences.between(services.publications.storage, earlier, later)
    lists = (found.files, found.units_added, found.units_removed)
    return PublicationDifference(
        **{"from": number},
        to=to,
        counts={
            "files_added": sum(file.before is None for file in found.files),
            "files_removed": sum(file.after is None for file in found.files),
            "files_changed": sum(file.before is not None and file.after is not None for file in found.files),
            "units_added": len(found.units_added),
            "units_removed": len(found.units_removed),
        },
        files=[DifferentFile.model_validate(file) for file in found.files[:limit]],
        units_added=[{"type_id": type_id, "unit_key": key} for type_id, key in found.units_added[:limit]],
        units_removed=[{"type_id": type_id, "unit_key": key} for type_id, key in found.units_removed[:limit]],
        truncated=any(len(entries) > limit for entries in lists),
    )


@_publications.post("/publications/{number}/pin", responses=_ONE)
def pin_publication(repo_id: str, number: Number, services: Provided) -> PublicationDocument:
    """Keep a publication forever."""
    with services.database.write() as tx:
        publications.pin(tx, publications.get(tx.connection, repo_id, number), pinned=True)
        return _document(tx.connection, publications.get(tx.connection, repo_id, number))


@_publications.post("/publications/{number}/unpin", responses=_ONE)
def unpin_publication(repo_id: str, number: Number, services: Provided) -> PublicationDocument:
    """Unpin a publication; if no place needs it any more, it is removed at once."""
    with services.database.write() as tx:
        found = publications.get(tx.connection, repo_id, number)
        document = _document(tx.connection, found)
        stays = publications.pin(tx, found, pinned=False)
        return document.model_copy(update={"pinned": False, "removed": not stays})


@_publications.delete("/publications/{number}", responses=returns(NO_CONTENT, None, 400, 404, 409))
def remove_publication(repo_id: str, number: Number, services: Provided) -> None:
    """Remove a publication that no place shows and that is not pinned.

    Its files go with the next removal of orphans.
    """
    with services.database.write() as tx:
        found = publications.get(tx.connection, repo_id, number)
        places = publications.places_by_publication(tx.connection, repo_id).get(found.id, ())
        if places:
            paths = ", ".join(place.path for place in places)
            raise ConflictingOperation(f"Publication {number} of {repo_id} is shown at {paths}.")
        if found.pinned:
            raise ConflictingOperation(f"Publication {number} of {repo_id} is pinned; unpin it first.")
        publications.remove(tx, found)


@_publications.post("/publications/{number}/promote", responses=returns(ACCEPTED, CallReport, 400, 404, 409))
def promote_publication(
    repo_id: str, number: Number, body: PromotionOrder, services: Provided, user: Asking
) -> JSONResponse:
    """Queue a promotion: a further place shows the publication; no file is copied or written."""
    with services.database.write() as tx:
        publication = publications.get(tx.connection, repo_id, number)
        path = _place_for(tx.connection, services, publication, body.to)
        promotion = Promotion(repo_id=repo_id, number=number, path=path, protect=body.protect)
        return queued(queue.promote(tx, promotion, login=user.login, clock=services.clock))


@_publications.post("/publications/{number}/export", responses=returns(ACCEPTED, CallReport, 400, 404))
def export_publication(
    repo_id: str, number: Number, body: ExportOrder, services: Provided, user: Asking
) -> JSONResponse:
    """Queue an export of a publication as a plain tree or a tar, below the configured export folder."""
    order = exporting.ExportOrder(repo_id=repo_id, number=number, to=body.to.strip("/"), since=body.since)
    with services.database.write() as tx:
        return queued(queue.export(tx, order, login=user.login, clock=services.clock))


@_publications.post("/rollback", responses=returns(ACCEPTED, CallReport, 400, 404, 409))
def roll_back(repo_id: str, services: Provided, user: Asking, body: RollbackOrder | None = None) -> JSONResponse:
    """Queue a rollback of the repository's place to an earlier publication: the previous one, or one by number."""
    order = body or RollbackOrder()
    with services.database.write() as tx:
        place = own_place(tx.connection, repo_id, order.distributor_id)
        number = order.to or before(tx.connection, place).number
        promotion = Promotion(repo_id=repo_id, number=number, path=place.path, protect=order.hold)
        return queued(queue.promote(tx, promotion, login=user.login, clock=services.clock))


@_places.get("", responses=returns(OK, PlacesPage))
def list_places(services: Provided) -> PlacesPage:
    """List every place and the publication that it shows."""
    with services.database.read() as connection:
        return PlacesPage(places=[place_document(connection, place) for place in publications.every_place(connection)])


@_places.get("/{path:path}", responses=returns(OK, PlaceDocument, 404))
def read_place(path: str, services: Provided) -> PlaceDocument:
    """Show one place, such as `repos/prod/zoo`, with the publications that it showed before."""
    with services.database.read() as connection:
        found = publications.place(connection, path)
        if found is None:
            raise MissingResource(place=path)
        return place_document(connection, found)


@_places.put("/{path:path}", responses=returns(OK, PlaceDocument, 400, 404))
def change_place(path: str, body: PlaceOrder, services: Provided) -> PlaceDocument:
    """Protect a place, so that only promotions change what it shows, or unprotect it."""
    with services.database.write() as tx:
        publications.protect(tx, path, only_promoted=body.only_promoted)
        found = publications.place(tx.connection, path)
        if found is None:
            raise MissingResource(place=path)
        return place_document(tx.connection, found)


@_places.delete("/{path:path}", responses=returns(NO_CONTENT, None, 404, 409))
def remove_place(path: str, services: Provided) -> None:
    """Remove a place that was created by a promotion."""
    with services.database.write() as tx:
        found = publications.place(tx.connection, path)
        if found is None:
            raise MissingResource(place=path)
        if not found.promoted:
            reason = "is where its distributor publishes; remove the distributor, or give it another relative_url."
            raise ConflictingOperation(f"The place {path} {reason}")
        publications.take_down(tx, path)


def _place_for(connection: Connection, services: Services, publication: Publication, to: str) -> str:
    distributor = repositories.distributor(connection, publication.repo_id, publication.distributor_id)
    content_type = services.content_types.get(distributor.distributor_type_id)
    if content_type is None:
        raise MissingResource(content_type=distributor.distributor_type_id)
    return place_for(content_type, publication.repo_id, to)


def _documents(connection: Connection, repo_id: str, found: list[Publication]) -> list[PublicationDocument]:
    shown_at = publications.places_by_publication(connection, repo_id)
    return [publication_document(publication, shown_at.get(publication.id, [])) for publication in found]


def _document(connection: Connection, publication: Publication) -> PublicationDocument:
    (document,) = _documents(connection, publication.repo_id, [publication])
    return document


router: Final = Endpoints.of(_publications, _places)
