"""Endpoints that are written down at the start and analysed when they are first asked for.

FastAPI derives from an endpoint's signature how requests are read and how it is described. That takes milliseconds for
each of more than a hundred endpoints, and most of them nobody asks for while a server runs.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any, Final, Self

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.routing import Match, Route, compile_path
from starlette.types import Receive, Scope, Send


class Endpoint(Route):
    """A route that matches by path and method, and becomes FastAPI's own at its first request."""

    def __init__(self, path: str, function: Callable[..., Any], options: dict[str, Any]) -> None:
        """Take the path below the place of the API, the function, and what FastAPI's `add_api_route` is told of it."""
        # Not by Starlette, which compiles every path, and adds HEAD, which FastAPI's routes refuse.
        self.path = path
        self.endpoint = function
        self.name = function.__name__
        self.include_in_schema = options["include_in_schema"]
        self.methods = set(options["methods"])
        self._beginning: Final = path.partition("{")[0]
        self._options: Final = options

    def at(self, prefix: str) -> "Endpoint":
        """The same below another path."""
        return Endpoint(prefix + self.path, self.endpoint, self._options)

    @cached_property
    def analysed(self) -> APIRoute:
        """FastAPI's route."""
        return APIRoute(self.path, self.endpoint, **self._options)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Say whether a request is for this endpoint; only a path that begins alike is looked at more closely."""
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
    """A router of FastAPI's whose endpoints are not analysed yet."""

    @property
    def endpoints(self) -> list[Endpoint]:
        """What was registered, in that order."""
        return [route for route in self.routes if isinstance(route, Endpoint)]

    @classmethod
    def of(cls, *parts: Self) -> Self:
        """One router of several, in that order."""
        made = cls()
        for part in parts:
            made.routes += part.routes
        return made

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        """What FastAPI's decorators call."""
        options["tags"] = [*self.tags, *(options["tags"] or ())]
        options["include_in_schema"] = self.include_in_schema and options["include_in_schema"]
        self.routes.append(Endpoint(self.prefix + path, endpoint, options))
