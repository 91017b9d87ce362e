"""Endpoints that are registered at the start and analysed at their first request, and the documents that they return.

FastAPI derives request parsing and description from an endpoint's signature. That takes milliseconds for each of more
than a hundred endpoints, most of which are never requested while a server runs.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any, Final, Self

from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict
from starlette.routing import Match, Route, compile_path
from starlette.types import Receive, Scope, Send


class Document(BaseModel):
    """A response, or a part of one, which can be made of an object with the same attributes.

    Its validator is built at first use, because all of them together would delay the start.
    """

    model_config = ConfigDict(defer_build=True, from_attributes=True)


class Endpoint(Route):
    """A route that matches by path and method, and becomes a FastAPI route at its first request."""

    def __init__(self, path: str, function: Callable[..., Any], options: dict[str, Any]) -> None:
        """Take the path below the API's prefix, the function, and the options of FastAPI's `add_api_route`."""
        # Not Starlette's `Route`, which compiles every path, and adds HEAD, which FastAPI's routes reject.
        self.path = path
        self.endpoint = function
        self.name = function.__name__
        self.include_in_schema = options["include_in_schema"]
        self.methods = set(options["methods"])
        self._beginning: Final = path.partition("{")[0]
        self._options: Final = options

    def at(self, prefix: str) -> "Endpoint":
        """Return a copy below another prefix."""
        return Endpoint(prefix + self.path, self.endpoint, self._options)

    @cached_property
    def analysed(self) -> APIRoute:
        """Return FastAPI's route."""
        return APIRoute(self.path, self.endpoint, **self._options)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match a request; only paths with the same beginning are matched in full."""
        if self._beginning not in scope["path"]:
            return Match.NONE, {}
        if "path_regex" not in self.__dict__:
            self.path_regex, self.path_format, self.param_convertors = compile_path(self.path)
        return super().matches(scope)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        scope["route"] = self.analysed
        await self.analysed.handle(scope, receive, send)


class Endpoints(APIRouter):
    """A FastAPI router whose endpoints are not analysed yet."""

    @property
    def endpoints(self) -> list[Endpoint]:
        """The registered endpoints, in order."""
        return [route for route in self.routes if isinstance(route, Endpoint)]

    @classmethod
    def of(cls, *parts: Self) -> Self:
        """Combine several routers, in order."""
        made = cls()
        for part in parts:
            made.routes += part.routes
        return made

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        """Register an endpoint; called by FastAPI's decorators.

        Its operation id is the function's name, and its status the first one of `responses`, unless they are given.
        """
        options["operation_id"] = options["operation_id"] or endpoint.__name__
        options["status_code"] = options["status_code"] or next(iter(options["responses"] or ()), None)
        options["tags"] = [*self.tags, *(options["tags"] or ())]
        options["include_in_schema"] = self.include_in_schema and options["include_in_schema"]
        self.routes.append(Endpoint(self.prefix + path, endpoint, options))
