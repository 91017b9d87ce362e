"""No secret in logs, responses, metrics, printed output or the process list."""

import base64
import contextlib
import json
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from support.ports import free_port
from support.server import API, Server, pulpit
from support.waiting import until

SECRETS = {
    name: f"{name}-hush/t@ps%&:x" for name in ("broker", "mail", "feed", "proxy", "basic", "hook", "user", "secondary")
}
SIGNING = "whsec_" + base64.b64encode(b"a secret of webhooks, long enough").decode()


def spellings() -> Iterator[str]:
    """Every form in which a secret could be seen."""
    for secret in (*SECRETS.values(), SIGNING):
        yield secret
        yield quote(secret, safe="")
        yield quote(secret)
        yield base64.b64encode(secret.encode()).decode().rstrip("=")
    for login, name in (("feeder", "basic"), ("hooker", "hook"), ("jane", "user"), ("proxy", "proxy"), ("u", "feed")):
        yield base64.b64encode(f"{login}:{SECRETS[name]}".encode()).decode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("secrets")
    password = folder / "password"
    password.write_text(SECRETS["secondary"])
    password.chmod(0o600)
    broker = f"amqp://u:{quote(SECRETS['broker'], safe='')}@127.0.0.1:{free_port()}, amqp://u@127.0.0.1:{free_port()}"
    conf = (
        f"[server]\nlog_level: debug\nwebhook_allow: 127.0.0.0/8\n"
        f"[messaging]\nurl: {broker}\npassword_file: {password}\n"
        f"[email]\nenabled: true\nhost: localhost\nport: {free_port()}\nusername: m\npassword: {SECRETS['mail']}\n"
    )
    with pulpit(folder / "data", conf) as running:
        yield running


@pytest.fixture(scope="module")
def busy(server: Server) -> Server:
    """The server after everything that has a secret has been used, and has failed."""
    hook = {"username": "hooker", "password": SECRETS["hook"], "secret": SIGNING, "headers": {"X-Key": SECRETS["hook"]}}
    for kind, config in (
        ("amqp", {}),
        ("http", {"url": f"http://127.0.0.1:{free_port()}/", **hook}),
        ("email", {"addresses": ["a@example.com"]}),
    ):
        body = {"notifier_type_id": kind, "notifier_config": config, "event_types": ["*"]}
        server.call("POST", f"{API}/events/", body)
    server.call("POST", f"{API}/users/", {"login": "jane", "password": SECRETS["user"]})
    port = free_port()
    feed = f"http://u:{quote(SECRETS['feed'], safe='')}@127.0.0.1:{port}/f/"
    server.create_iso("zoo", feed)
    proxied = {
        "proxy_host": "127.0.0.1",
        "proxy_port": port,
        "proxy_username": "proxy",
        "proxy_password": SECRETS["proxy"],
    }
    login = {"basic_auth_username": "feeder", "basic_auth_password": SECRETS["basic"]}
    server.create_iso("farm", f"http://127.0.0.1:{port}/", **proxied, **login)
    for repo in ("zoo", "farm"):
        server.ended(server.sync(repo))
    until(lambda: all(one["_delivery"]["last_error"] for one in server.call("GET", f"{API}/events/")), what="failures")
    return server


def search(text: str, where: str) -> None:
    for spelling in spellings():
        assert spelling not in text, f"a secret ({spelling[:9]}…) stands in {where}"


def test_no_secret_is_logged(busy: Server) -> None:
    log = "\n".join(busy.said)
    assert log.count("action=delivery_postponed") >= 3
    search(log, "the log")


def test_no_secret_is_in_the_list_of_processes(busy: Server) -> None:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            search(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"), str(path))
    assert busy.password not in (Path("/proc") / str(busy.pid) / "cmdline").read_text()


def test_no_secret_is_answered(busy: Server) -> None:
    seen = 0
    for document in (f"{API}/openapi.json", "/pulpit/v1/openapi.json"):
        for path, methods in busy.call("GET", document)["paths"].items():
            for place in filled(busy, path) if "get" in methods and "stream" not in path else ():
                for user in (("admin", busy.password), ("jane", SECRETS["user"])):
                    search(read(busy, place, user), place)
                    seen += 1
    for place in ("repositories/search/", "tasks/search/"):
        search(json.dumps(busy.call("POST", f"{API}/{place}", {"criteria": {}})), place)
    search(read(busy, "/metrics", ("admin", busy.password)), "the metrics")
    assert seen > 60


def filled(server: Server, path: str) -> list[str]:
    """A path with what there is in the place of its variables."""
    listeners = [str(one["id"]) for one in server.call("GET", f"{API}/events/")]
    tasks = [str(one["task_id"]) for one in server.call("GET", f"{API}/tasks/")]
    if "{listener_id}" in path:
        return [path.replace("{listener_id}", one) for one in listeners]
    if "{task_id}" in path:
        return [path.replace("{task_id}", one) for one in tasks]
    words = {"repo_id": "zoo", "importer_id": "iso_importer", "distributor_id": "iso_distributor", "login": "jane"}
    for repo in ("zoo", "farm"):
        words["repo_id"] = repo
        for name, word in words.items():
            path = path.replace(f"{{{name}}}", word)
    return [path, path.replace("/zoo/", "/farm/")]


def read(server: Server, path: str, user: tuple[str, str]) -> str:
    request = urllib.request.Request(f"{server.url}{path}")
    request.add_header("Authorization", f"Basic {base64.b64encode(':'.join(user).encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return str(answer.read().decode("utf-8", "replace"))
    except urllib.error.HTTPError as error:
        return str(error.read().decode("utf-8", "replace"))


@pytest.mark.parametrize(
    "words",
    [
        ["event", "listener", "list", "--details"],
        ["iso", "repo", "list", "--details"],
        ["repo", "list", "--details"],
        ["tasks", "list", "--all"],
        ["repo", "history", "sync", "--repo-id", "zoo", "--details"],
        ["event", "list"],
    ],
    ids=" ".join,
)
def test_no_secret_is_printed(busy: Server, words: list[str]) -> None:
    secret = ["--password-file", str(busy.data_dir / "admin-password")]
    command = [str(Path(sys.executable).with_name("pulp-admin")), "--url", busy.url, "-u", "admin", *secret, *words]
    done: Any = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    search(done.stdout + done.stderr, " ".join(words))
    assert done.stdout or done.stderr


def test_nothing_that_a_working_server_keeps_is_open_to_others(busy: Server) -> None:
    kept = [busy.data_dir, *busy.data_dir.rglob("*")]
    assert {"bell", "pulpit.db-wal", "pulpit.db-shm"} <= {path.name for path in kept}
    with contextlib.suppress(FileNotFoundError):  # work goes on meanwhile
        for path in kept:
            assert path.is_symlink() or stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0, path
