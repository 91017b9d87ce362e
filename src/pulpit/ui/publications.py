"""Publications of a repository: places, differences, promotion, rollback, exports."""

from typing import Final

from starlette.responses import Response

from pulpit.api.v1 import publications as v1
from pulpit.api.v1.models import ExportOrder, PromotionOrder, RollbackOrder
from pulpit.errors import InvalidValue
from pulpit.ui.listeners import order, whole
from pulpit.ui.visits import Visit, done

LISTED: Final = 100
DIFFERENT: Final = 200
"""Files, and units of each kind, that a difference lists."""


def show(visit: Visit) -> Response:
    """Show the publications, and the difference between two selected ones."""
    repo_id = visit.path("id")
    found = v1.list_publications(repo_id, visit.services).publications
    earlier, later = whole("earlier", visit.asked("earlier")), whole("later", visit.asked("later"))
    difference = None
    if earlier is not None and later is not None:
        difference = v1.compare_publications(repo_id, earlier, visit.services, to=later, limit=DIFFERENT)
    numbers = [publication.number for publication in found]
    return visit.page(
        "publications.html",
        title=f"Publications of {repo_id}",
        repo_id=repo_id,
        items=found[:LISTED],
        total=len(found),
        earlier=earlier if earlier is not None else (numbers[1] if len(numbers) > 1 else None),
        later=later if later is not None else (numbers[0] if numbers else None),
        difference=difference,
    )


def promote(visit: Visit) -> Response:
    repo_id = visit.path("id")
    body = order(PromotionOrder, to=visit.form.text("to"), protect=bool(visit.form.text("protect")))
    v1.promote_publication(repo_id, _number(visit), body, visit.services, visit.asking)
    return done(f"/repositories/{repo_id}/publications", "promoted")


def roll_back(visit: Visit) -> Response:
    """Roll back the repository's place to a publication, or to the previous one."""
    repo_id = visit.path("id")
    to = whole("number", visit.form.text("number"))
    body = order(RollbackOrder, to=to, hold=bool(visit.form.text("hold")))
    v1.roll_back(repo_id, visit.services, visit.asking, body)
    return done(f"/repositories/{repo_id}/publications", "rolled-back")


def pin(visit: Visit) -> Response:
    """Pin or unpin a publication."""
    repo_id, number = visit.path("id"), _number(visit)
    if visit.form.text("do") == "unpin":
        v1.unpin_publication(repo_id, number, visit.services)
    else:
        v1.pin_publication(repo_id, number, visit.services)
    return done(f"/repositories/{repo_id}/publications", "pinned")


def export(visit: Visit) -> Response:
    """Export a publication, or what is new since another one, to the server's export folder."""
    repo_id, since = visit.path("id"), whole("since", visit.form.text("since"))
    v1.export_publication(
        repo_id, _number(visit), order(ExportOrder, to=visit.form.text("to"), since=since), visit.services, visit.asking
    )
    return done(f"/repositories/{repo_id}/publications", "exported")


def _number(visit: Visit) -> int:
    number = whole("number", visit.form.text("number"))
    if number is None:
        raise InvalidValue("number", "say which publication is meant.")
    return number
