"""Whether the server lives and can work, for whoever watches it; asked without logging in."""

from typing import Final

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from pulpit.api.endpoints import OK, Provided
from pulpit.api.services import Services
from pulpit.errors import DatabaseUnavailable

router: Final = APIRouter(prefix="/health", include_in_schema=False)

_UNAVAILABLE: Final = 503


@router.get("/live")
async def read_live() -> JSONResponse:
    """Tell that requests are answered; whoever gets no answer should start the server anew."""
    return JSONResponse({"status": "live"})


@router.get("/ready")
def read_ready(services: Provided) -> JSONResponse:
    """Tell whether the database answers and events are delivered; a 503 says that one of them does not."""
    database, delivery = database_answers(services), services.delivering()
    ready = database and delivery
    body = {"status": "ready" if ready else "not ready", "database": database, "delivery": delivery}
    return JSONResponse(body, OK if ready else _UNAVAILABLE)


def database_answers(services: Services) -> bool:
    """Whether the database can be asked anything."""
    try:
        with services.database.read() as connection:
            connection.execute(text("SELECT 1"))
    except (SQLAlchemyError, DatabaseUnavailable):
        return False
    return True
