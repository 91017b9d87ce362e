"""An ASGI application on a socket of loopback, served by a thread of the test."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from pulpit.published.serving import PublishedFiles
from pulpit.repositories.context import TaskContext
from support.published import known
from support.waiting import PATIENCE, until


@contextmanager
def served(app: ASGIApp, **options: Any) -> Iterator[int]:
    """Serve on a free port, which is yielded; the options are uvicorn's."""
    given = {"host": "127.0.0.1", "port": 0, "log_config": None, "lifespan": "off", "ws": "none", **options}
    server = uvicorn.Server(uvicorn.Config(app, **given))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started, what="the server")
        yield int(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(PATIENCE)


def published_app(context: TaskContext, kind: str, **options: Any) -> Starlette:
    """The application that serves what is published below `/pulp/KIND`; the options are those of `PublishedFiles`."""
    return Starlette(routes=[Mount(f"/pulp/{kind}", PublishedFiles(known(context), kind, **options))])
