"""Tokens with `pulpit fire` and `pulpit tail`, and listeners that get only the events that their owner may see."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.processes import clean_environment
from support.server import API, Server, pulpit
from support.waiting import until
from support.webhooks import hook

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with pulpit(tmp_path_factory.mktemp("tokens") / "data", "[server]\nwebhook_allow: 127.0.0.0/8\n") as server:
        yield server


def token(server: Server, name: str, *scopes: str) -> str:
    made = server.call("POST", "/pulpit/v1/tokens", {"name": name, "scopes": scopes})
    return str(made["token"])


def run(server: Server, command: str, *words: str, **environment: str) -> Any:
    """Run a command as on another machine: nothing but the token says who asks."""
    known = clean_environment()
    known |= {"PULPIT_URL": server.url, "HOME": "/nonexistent", "PULPIT_DATA_DIR": "/nonexistent", **environment}
    module = ["pulpit.admin"] if command == "pulp-admin" else ["pulpit.cli", command]
    arguments = [sys.executable, "-m", *module, *words]
    return subprocess.run(arguments, env=known, capture_output=True, text=True, timeout=60, check=False)


def test_fire_and_tail_show_a_token(served: Server, tmp_path: Path) -> None:
    file = tmp_path / "ci.token"
    file.write_text(token(served, "ci", "fire:ci.#", "read") + "\n")
    file.chmod(0o600)
    shown = ["--token-file", str(file)]
    fired = run(served, "fire", "ci.build.finish", "--repo-id", "zoo", *shown)
    assert fired.returncode == 0, fired.stderr
    refused = run(served, "fire", "cd.deploy.finish", *shown)
    assert (refused.returncode, refused.stdout) == (77, "")
    assert "may not fire cd.deploy.finish" in refused.stderr
    told = run(served, "tail", "--after", "0", "--count", "1", "--json", PULPIT_TOKEN=file.read_text())
    assert '"ci.build.finish"' in told.stdout
    listed = run(served, "pulp-admin", *shown, "repo", "list")
    assert listed.returncode == 0, listed.stderr
    made = run(served, "pulp-admin", *shown, "iso", "repo", "create", "--repo-id", "files")
    assert made.returncode == 77
    assert "its scopes are" in made.stderr
    file.chmod(0o644)
    assert run(served, "fire", "ci.build.finish", *shown).returncode == 78


def test_a_listener_is_told_what_its_token_may_see(served: Server) -> None:
    with hook() as receiver:
        body = {"notifier_type_id": "http", "notifier_config": {"url": receiver.url}, "event_types": ["ci.#"]}
        secret = token(served, "listener", "listen:fedora-*")
        status, listener = served.reply("POST", f"{API}/events/", body, login=("__token__", secret))
        assert status == 201, listener
        events = [{"event_type": "ci.seen", "repo_id": repo_id} for repo_id in ("rhel-9", "fedora-41")]
        served.call("POST", "/pulpit/v1/events", [*events, {"event_type": "ci.seen"}])
        state = f"/pulpit/v1/listeners/{listener['id']}"
        until(lambda: served.call("GET", state)["delivery"]["lag_events"] == 0, what="the listener to be through")
        assert receiver.types == ["ci.seen"]
