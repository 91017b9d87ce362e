"""`pulpit import`: an export is verified, then synced and published by a server on this machine.

The verified files are served on loopback to the server's own sync, which reads them like any upstream: the lists are
verified again, become units, and fire the events of a sync and a publish. No network is needed.
"""

import contextlib
import secrets
import tempfile
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import click

from pulpit.admin.progress import Lines
from pulpit.admin.session import follow, spawned
from pulpit.client.failures import WrongData
from pulpit.client.options import connect, connection_options
from pulpit.client.server import Server, path_of
from pulpit.client.settings import Options
from pulpit.client.streams import write_line
from pulpit.content.limits import MIB
from pulpit.published.listing import INDEX_JSON
from pulpit.repositories.exports import About, Export, unpack, verified_folder

_PAGE: Final = "index.v1_json"
"""The page of a folder of a published index of Python packages (PEP 691)."""
_PYTHON: Final = "python_importer"
_NOTES: Final = {"yum_importer": "rpm-repo", "iso_importer": "iso-repo", _PYTHON: "PYTHON"}

_SERVED: Final[dict[str, dict[str, Any]]] = {
    "yum_importer": {"http": True, "https": True},
    "iso_importer": {"serve_http": True, "serve_https": True},
}


@click.command("import")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("--repo-id", help="The target repository; created if it does not exist.  [default: as it was called]")
@click.option(
    "--work-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where a tar is unpacked; it needs as much room again.  [default: the system's folder for temporary files]",
)
@connection_options
def import_export(source: Path, *, repo_id: str | None, work_dir: Path | None, **options: Any) -> None:
    """Import an export, a folder or a tar, into a server that runs on this machine, and publish it.

    Every byte is verified before the server is contacted. The repository then holds exactly the content of the export.
    Running it again changes nothing.
    """
    with _verified(source, work_dir) as (export, root):
        server = connect(Options(**options))
        repo_id = repo_id or export.about.repo_id
        distributor_id = _repository(server, repo_id, export.about)
        with _offered(export, root) as url:
            feed = f"{url}simple/" if export.about.importer_type_id == _PYTHON else url
            override: dict[str, Any] = {"feed": feed, "remove_missing": True, "force_full": True}
            if export.about.importer_type_id == _PYTHON:
                override["package_names"] = "*"
            sync = path_of("repositories", repo_id, "actions", "sync")
            follow(server, spawned(server.post(sync, {"override_config": override})), Lines())
        publish = path_of("repositories", repo_id, "actions", "publish")
        follow(server, spawned(server.post(publish, {"id": distributor_id})), Lines())
    write_line(f"{repo_id} has publication {export.about.publication} of {export.about.repo_id}")


@contextlib.contextmanager
def _verified(source: Path, work_dir: Path | None) -> Iterator[tuple[Export, Path]]:
    if source.is_dir():
        yield verified_folder(source), source
        return
    with tempfile.TemporaryDirectory(prefix="pulpit-import-", dir=work_dir) as name:
        yield unpack(source, Path(name)), Path(name)


def _repository(server: Server, repo_id: str, about: About) -> str:
    """Return the id of the repository's distributor, which is created if there is none."""
    for repository in server.get(path_of("repositories"), {"details": "true"}):
        if repository["id"] == repo_id:
            for distributor in repository["distributors"]:
                if distributor["distributor_type_id"] == about.distributor_type_id:
                    return str(distributor["id"])
            raise WrongData(f"The repository {repo_id} has no distributor of type {about.distributor_type_id}.")
    config = dict(_SERVED.get(about.importer_type_id, {}))
    if repo_id == about.repo_id:  # under another name it gets a place with that name
        config["relative_url"] = about.relative_url
        if about.importer_type_id == _PYTHON:
            config["relative_url"] = about.relative_url.removeprefix("web/")
    new = {
        "distributor_id": about.distributor_type_id,
        "distributor_type_id": about.distributor_type_id,
        "auto_publish": False,
        "distributor_config": config,
    }
    body = {
        "id": repo_id,
        "notes": {"_repo-type": _NOTES.get(about.importer_type_id, about.importer_type_id)},
        "importer_type_id": about.importer_type_id,
        "importer_config": {},
        "distributors": [new],
    }
    server.post(path_of("repositories"), body)
    return about.distributor_type_id


@contextlib.contextmanager
def _offered(export: Export, root: Path) -> Iterator[str]:
    """Serve the files of an export, and nothing else, at a URL that cannot be guessed."""
    secret = secrets.token_urlsafe(16)
    files = {f"/{secret}/{file.relative_path}": root / file.relative_path for file in export.contained()}
    pages = {url.removesuffix(_PAGE): path for url, path in files.items() if url.endswith(f"/{_PAGE}")}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = unquote(self.path)
            path = files.get(url) or pages.get(url)
            if path is None:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            with path.open("rb") as source:
                self.send_response(HTTPStatus.OK)
                if url in pages:
                    self.send_header("Content-Type", INDEX_JSON)
                self.send_header("Content-Length", str(path.stat().st_size))
                self.end_headers()
                while piece := source.read(MIB):
                    self.wfile.write(piece)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/{secret}/"
        finally:
            server.shutdown()
            thread.join()
