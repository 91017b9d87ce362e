"""The OpenAPI document: FastAPI's, made true where it would tell of answers that are never given."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

_NEVER = "422"
_ITS_SCHEMAS = ("HTTPValidationError", "ValidationError")


def install(app: FastAPI) -> None:
    """Have the application describe itself; the document is made when it is first asked for."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _described(app)
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign] # the way that FastAPI documents


def _described(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    for methods in document["paths"].values():
        for operation in methods.values():
            operation["responses"].pop(_NEVER, None)
    for name in _ITS_SCHEMAS:
        document["components"]["schemas"].pop(name, None)
    return document
