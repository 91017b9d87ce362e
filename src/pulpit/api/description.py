"""The OpenAPI documents, one for each API: FastAPI's, made true where it would tell of answers that are never given."""

from functools import cache
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse

from pulpit import __version__
from pulpit.api.middleware import OPEN_PATHS

_NEVER = "422"
_ITS_SCHEMAS = ("HTTPValidationError", "ValidationError")


def install(app: FastAPI, api: APIRouter, about: str) -> None:
    """Serve the API, and its description beside it; the document is made when it is first asked for."""

    @cache
    def described() -> dict[str, Any]:
        return describe(api, about)

    @app.get(f"{api.prefix}/openapi.json", include_in_schema=False)
    def read_description() -> JSONResponse:
        return JSONResponse(described())

    app.include_router(api)


def describe(api: APIRouter, about: str) -> dict[str, Any]:
    """The document of one API."""
    alone = FastAPI()
    alone.include_router(api)
    document = get_openapi(title="Pulpit", version=__version__, description=about, routes=alone.routes)
    # Said here and not by a dependency of FastAPI's: those also judge, and take ASCII passwords only.
    document["components"]["securitySchemes"] = {"HTTPBasic": {"type": "http", "scheme": "basic"}}
    for path, methods in document["paths"].items():
        for operation in methods.values():
            operation["responses"].pop(_NEVER, None)
            if path not in OPEN_PATHS:
                operation["security"] = [{"HTTPBasic": []}]
    for name in _ITS_SCHEMAS:
        document["components"]["schemas"].pop(name, None)
    return document
