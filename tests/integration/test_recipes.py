"""The recipes of `docs/recipes.md`, unchanged, against what each receiver checks."""

import asyncio
import hashlib
import hmac
import importlib
import importlib.util
import json
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from support.ports import free_port
from support.processes import clean_environment
from support.server import API, Server, pulpit
from support.upstream import line, running
from support.waiting import until

pytestmark = pytest.mark.timeout(300)
PAGE = Path(__file__).parent.parent.parent / "docs" / "recipes.md"
SECRET = "whsec_" + "A" * 43 + "="
PASSWORD = "open sesame"


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    path: str
    headers: Mapping[str, str]
    """By names in small letters."""
    body: bytes

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.path).query)

    def is_signed(self, header: str) -> bool:
        digest = hmac.new(SECRET.encode(), self.body, hashlib.sha256).hexdigest()
        return self.headers.get(header) == f"sha256={digest}"


def is_push(request: Request) -> bool:
    """A push as GitHub tells of it, as far as Argo CD and Kargo read it."""
    told = json.loads(request.body)
    repository = told["repository"]
    return (
        request.headers.get("x-github-event") == "push"
        and request.headers.get("content-type") == "application/json"
        and request.is_signed("x-hub-signature-256")
        and told["ref"].startswith("refs/heads/")
        and isinstance(told["commits"], list)
        and repository["html_url"].startswith("https://")
    )


def is_dispatch(request: Request) -> bool:
    """`POST /repos/{owner}/{repo}/dispatches`: no key but these two, at most ten in the payload, 64 KiB of it."""
    told = json.loads(request.body)
    return (
        request.headers.get("authorization", "").startswith("Bearer ")
        and request.headers.get("accept") == "application/vnd.github+json"
        and told.keys() == {"event_type", "client_payload"}
        and 0 < len(told["event_type"]) <= 100
        and len(told["client_payload"]) <= 10
        and len(request.body) < 64 * 1024
        and told["client_payload"]["repository"] == "site"
    )


def is_trigger(request: Request) -> bool:
    """A form with the reference and the variables, and the token in the query or beside them."""
    form = parse_qs(request.body.decode(), strict_parsing=True)
    return (
        request.query["token"] == ["glptt-x"]
        and request.headers.get("content-type") == "application/x-www-form-urlencoded"
        and form["ref"] == ["main"]
        and form["variables[PULPIT_REPO]"] == ["site"]
    )


def is_generic_trigger(request: Request) -> bool:
    return request.headers.get("token") == "build-site" and json.loads(request.body)["payload"]["repo_id"] == "site"


def is_order_of_katello(request: Request) -> bool:
    return request.headers.get("authorization", "").startswith("Basic ") and json.loads(request.body) == {}


def is_for_flux(request: Request) -> bool:
    return re.fullmatch(r"/hook/[0-9a-f]{64}", request.path) is not None and request.is_signed("x-signature")


RECEIVERS: dict[str, tuple[str, Callable[[Request], bool], int]] = {
    "Argo CD": ("/api/webhook", is_push, 200),
    "Flux": ("/hook/", is_for_flux, 200),
    "Kargo": ("/webhooks/github/", is_push, 200),
    "GitHub Actions": ("/repos/example/site/dispatches", is_dispatch, 204),
    "GitLab": ("/api/v4/projects/9/trigger/pipeline", is_trigger, 201),
    "Jenkins": ("/generic-webhook-trigger/invoke", is_generic_trigger, 200),
    "Foreman": ("/katello/api/repositories/42/sync", is_order_of_katello, 202),
}
"""Where each is asked, what it takes, and what it answers then; 400 otherwise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    files: Mapping[str, str]
    command: list[str]


def recipes() -> dict[str, Recipe]:
    found = {}
    for chapter in PAGE.read_text().split("\n## ")[1:]:
        title, _, text = chapter.partition("\n")
        (block,) = re.findall(r"```\n(\$ .*?)```", text, re.DOTALL)
        files, command = {}, ""
        for words in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            if words.startswith("cat "):
                name, _, content = words[4:].partition("\n")
                files[name] = content
            else:
                command = words.replace("\\\n", " ")
        found[title] = Recipe(files=files, command=shlex.split(command)[1:])
    return found


class Receivers(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.taken: list[str] = []
        self.refused: list[Request] = []

    def judge(self, request: Request) -> int:
        for title, (path, is_right, status) in RECEIVERS.items():
            if request.path.startswith(path):
                if is_right(request):
                    self.taken.append(title)
                    return status
                break
        self.refused.append(request)
        return 400


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): text for name, text in self.headers.items()}
        assert isinstance(self.server, Receivers)
        self.send_response(self.server.judge(Request(path=self.path, headers=headers, body=body)))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with pulpit(tmp_path_factory.mktemp("recipes") / "data", "[server]\nwebhook_allow: 127.0.0.0/8\n") as server:
        yield server


def create(server: Server, folder: Path, recipe: Recipe, url: str) -> str:
    """Run the command as it stands on the page, with the receiver at another address; returns the listener's id."""
    for name, content in {**recipe.files, "hook.secret": SECRET, "foreman.password": PASSWORD}.items():
        (folder / name).write_text(content)
        (folder / name).chmod(0o600)
    words = [re.sub(r"^https://[^/]+", url, word) for word in recipe.command]
    return str(administer(server, folder, *words)["id"])


def administer(server: Server, folder: Path, *words: str) -> Any:
    known = clean_environment()
    known |= {"PULPIT_URL": server.url, "PULPIT_DATA_DIR": str(server.data_dir)}
    command = [sys.executable, "-m", "pulpit.admin", "--json", *words]
    done = subprocess.run(command, cwd=folder, env=known, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)


def publish(server: Server, repo_id: str) -> None:
    """Sync and publish a repository, which fires the events that the recipes are for."""
    with running() as upstream:
        upstream.put("a.iso", b"one")
        upstream.manifest(line("a.iso", b"one"))
        server.create_iso(repo_id, upstream.url)
        assert server.ended(server.sync(repo_id))["state"] == "finished"


def test_each_recipe_is_what_its_receiver_takes_and_a_dry_run_shows_it(served: Server, tmp_path: Path) -> None:
    receivers = Receivers()
    threading.Thread(target=receivers.serve_forever, args=(0.05,), daemon=True).start()
    try:
        pages = recipes()
        made = {title: create(served, tmp_path, pages[title], receivers.url) for title in RECEIVERS}
        publish(served, "site")
        until(lambda: sorted(receivers.taken) == sorted(RECEIVERS) or receivers.refused != [], what="all receivers")
        assert receivers.refused == []
        shown = administer(
            served, tmp_path, "event", "listener", "preview", "--listener-id", made["GitHub Actions"], "--last", "50"
        )
        assert (shown["wanted"], len(shown["events"])) == (1, 1)
        assert json.loads(shown["events"][0]["request"]["body"])["client_payload"]["repository"] == "site"
        assert "github_pat_x" not in json.dumps(shown)
        assert sorted(receivers.taken) == sorted(RECEIVERS)
    finally:
        receivers.shutdown()
        receivers.server_close()
    status, answer = served.reply("POST", f"/pulpit/v1/listeners/{made['Flux']}/dry-run", {"last": 1001})
    assert (status, "last" in str(answer)) == (400, True)
    for listener_id in made.values():
        served.call("DELETE", f"{API}/events/{listener_id}/")


@pytest.mark.skipif(
    importlib.util.find_spec("ansible_rulebook") is None,
    reason="ansible-rulebook is not installed (pip install --no-deps ansible-rulebook)",
)
def test_the_receiver_of_event_driven_ansible_takes_its_recipe(served: Server, tmp_path: Path) -> None:
    webhook: Any = importlib.import_module("ansible_rulebook.event_source.webhook")
    port = free_port()

    async def story() -> None:
        queue: asyncio.Queue[Any] = asyncio.Queue()
        source = asyncio.create_task(webhook.main(queue, {"host": "127.0.0.1", "port": port, "token": "eda-x"}))
        try:
            recipe = recipes()["Event-Driven Ansible"]
            await asyncio.to_thread(create, served, tmp_path, recipe, f"http://127.0.0.1:{port}")
            await asyncio.to_thread(publish, served, "eda")
            event = await asyncio.wait_for(queue.get(), 60)
            assert event["payload"]["event_type"] == "repo.publish.finish"
            assert event["payload"]["payload"]["repo_id"] == "eda"
            assert event["meta"]["endpoint"] == "pulpit"
        finally:
            source.cancel()
            await asyncio.wait({source})

    asyncio.run(story())
