"""The page in a real browser and with a real server: every form and view that people use.

`PULPIT_SCREENSHOTS=folder` has each page's picture put there.
"""

import json
import os
import secrets
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support import browser as browsers
from support.browser import Browser
from support.embedded_broker import BrokerProcess, broker_process
from support.server import Server, pulpit
from support.subscriber import subscribed
from support.upstream import Upstream, running
from support.waiting import until
from support.webhooks import hook

pytestmark = pytest.mark.skipif(browsers.why_not() is not None, reason=browsers.why_not() or "")

PICTURES = os.environ.get("PULPIT_SCREENSHOTS")
CONF = "[server]\nwebhook_allow: 127.0.0.0/8\n"


@dataclass(kw_only=True)
class System:
    """A server, its upstream, its broker and a browser that is logged in as the administrator."""

    server: Server
    broker: BrokerProcess
    upstream: Upstream
    browser: Browser

    def open(self, path: str) -> Browser:
        self.browser.open(f"{self.server.url}/ui{path}")
        return self.browser

    def log_in(self, login: str, password: str) -> None:
        self.browser.driver.delete_all_cookies()
        self.open("/login")
        self.browser.fill("login", login)
        self.browser.fill("password", password)
        self.browser.press("Log in")

    def fire(self, *event_types: str) -> None:
        events = [{"event_type": event_type, "payload": {}} for event_type in event_types]
        self.server.call("POST", "/pulpit/v1/events", events)

    def published(self, path: str) -> int:
        """What the status of a published file is."""
        try:
            with urllib.request.urlopen(f"{self.server.url}/pulp/isos/{path}", timeout=20) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    def picture(self, name: str) -> None:
        """Keep what is seen, if somebody wants it."""
        if PICTURES:
            self.browser.picture(Path(PICTURES) / f"{name}.png")


def hooked(url: str, *event_types: str) -> dict[str, Any]:
    """The body that makes a webhook."""
    return {"notifier_type_id": "http", "notifier_config": {"url": url}, "event_types": list(event_types)}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("page")
    (folder / "exports").mkdir()
    exports = f"[publish]\nexport_dir: {folder}/exports\n"
    with (
        broker_process(folder / "broker") as broker,
        pulpit(folder / "data", f"{CONF}{exports}[messaging]\nurl: {broker.url}\n") as server,
        running() as upstream,
        browsers.browser(folder / "profile") as browser,
    ):
        upstream.put("a.iso", b"a" * 4096)
        upstream.put("b.iso", b"b" * 10)
        upstream.manifest()
        server.create_iso("files", upstream.url)
        yield System(server=server, broker=broker, upstream=upstream, browser=browser)


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("axe")
    (folder / "package.json").write_text(json.dumps({"private": True, "dependencies": {"axe-core": "4.14.1"}}))
    command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"]
    installed = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    if installed.returncode:
        pytest.skip(f"npm cannot install axe-core here: {installed.stderr.strip()[-200:]}")
    return (folder / "node_modules/axe-core/axe.min.js").read_text(encoding="utf-8")


@pytest.fixture
def admin(system: System) -> System:
    """The browser with the administrator logged in."""
    system.open("/")
    if system.browser.find("[name='password']"):
        system.log_in("admin", system.server.password)
    return system


def types(browser: Browser) -> list[str]:
    """The types of the events that are shown, newest first."""
    return list(browser.run("return [...document.querySelectorAll('#rows .type')].map(cell => cell.textContent)"))


def test_the_story_of_the_seed(admin: System) -> None:
    """Create a listener, start a sync, watch the four events come, and filter them."""
    browser = admin.open("/listeners/new?kind=amqp")
    browser.fill("exchange", "pulp")
    browser.fill("event_types", "repo.sync.*\nrepo.publish.*")
    assert browser.one("#command").text == (
        "pulp-admin event listener amqp create --exchange pulp --event-type 'repo.sync.*' --event-type 'repo.publish.*'"
    )
    admin.picture("listener-new")
    browser.press("Create")
    browser.until_text("The listener is created")
    browser.press("Test")
    browser.until_text("delivered")
    assert "event.test" in browser.one("#trial").text
    admin.picture("listener-test")
    repo_id = f"story-{secrets.token_hex(3)}"  # a second try meets nothing of the first
    admin.server.create_iso(repo_id, admin.upstream.url)
    admin.open(f"/?type=repo.*.*&repo={repo_id}")
    browser.until_text("live")
    with subscribed(admin.broker.url, "pulp", queue=repo_id) as queue:
        admin.server.ended(admin.server.sync(repo_id))
        queue.wait_for(4)
    browser.until_text("repo.publish.finish")
    assert types(browser)[:4] == ["repo.publish.finish", "repo.publish.start", "repo.sync.finish", "repo.sync.start"]
    assert "+2 ~0 -0" in browser.text
    browser.fill("type", "repo.*.finish")
    browser.press("Filter")
    assert types(browser) == ["repo.publish.finish", "repo.sync.finish"]
    browser.find("#rows .no a")[-1].click()
    browser.until_text("Matching listeners")
    browser.until_text("delivered")
    assert "added_count" in browser.text
    admin.picture("event")
    admin.open("/")
    browser.until_text("live")
    browser.until_text(f"{browser.find('#rows .no a')[0].text} in all")
    admin.picture("now")
    assert browser.complaints() == []


def test_publications_are_compared_promoted_and_taken_back(admin: System) -> None:
    admin.server.ended(admin.server.sync("files"))
    admin.upstream.put("c.iso", b"c")
    admin.upstream.manifest()
    admin.server.ended(admin.server.sync("files"))
    browser = admin.open("/repositories/files/publications")
    browser.press("Compare")
    assert "+ c.iso" in browser.one("#difference").text
    browser.fill("to", "prod/files")
    newest = browser.one("form[action$='/promote'] select").get_attribute("value")
    assert browser.one("form[action$='/promote'] [data-command]").text == (
        f"pulp-admin repo promote --repo-id files --publication {newest} --to prod/files"
    )
    browser.press("Promote")
    browser.until_text("The promotion is queued.")
    browser.reload_until_text("isos/prod/files")
    admin.picture("publications")
    assert admin.published("prod/files/c.iso") == 200
    browser.one("form[action$='/export'] [name='to']").send_keys("files.tar")
    assert browser.one("form[action$='/export'] [data-command]").text == (
        f"pulp-admin repo export --repo-id files --publication {newest} --to files.tar"
    )
    browser.press("Export")
    browser.until_text("The export is queued")
    exported = admin.server.data_dir.parent / "exports/files.tar"
    until(exported.exists, what="the export", seconds=60)
    browser.press("Roll back")
    browser.until_text("The rollback is queued.")
    until(lambda: admin.published("files/c.iso") == 404, what="the rollback", seconds=60)
    assert admin.published("prod/files/c.iso") == 200
    assert browser.complaints() == []


def test_a_schedule_is_made_and_the_command_for_it_shown(admin: System) -> None:
    browser = admin.open("/repositories/files")
    browser.run("document.querySelector(\"form[action$='/schedules']\").closest('details').open = true")
    browser.fill("schedule", "R3/P1D")
    browser.fill("failure_threshold", "2")
    assert browser.one("form[action$='/schedules'] [data-command]").text == (
        "pulp-admin iso repo sync schedules create --repo-id files --schedule R3/P1D --failure-threshold 2"
    )
    browser.press("Create")
    browser.until_text("The schedule is created.")
    assert browser.complaints() == []


def test_a_token_and_a_hook_are_made_used_and_taken_away(admin: System) -> None:
    browser = admin.open("/programs")
    opened = "document.querySelectorAll('details').forEach(one => one.open = true)"
    browser.run(opened)
    browser.fill("scopes", "fire:ci.#\nread")
    browser.run("document.querySelector('form[action$=tokens] [name=name]').value = 'robot'")
    browser.press("Create token")
    browser.until_text("This is the only time that it is shown")
    request = urllib.request.Request(f"{admin.server.url}/pulpit/v1/tokens")
    request.add_header("Authorization", f"Bearer {browser.one('#made-token').text}")
    with urllib.request.urlopen(request, timeout=20) as response:
        assert json.load(response)["tokens"][0]["name"] == "robot"
    browser.run(opened)
    browser.run("document.querySelector('form[action$=hooks] [name=name]').value = 'forge'")
    browser.run("document.querySelector('form[action$=hooks] [name=provider]').value = 'generic'")
    assert "pulp-admin event hook create" in browser.text
    browser.press("Create hook")
    browser.until_text("which is shown only this time")
    address, secret = (browser.one(f"#{part}").text for part in ("made-hook", "made-secret"))
    posted = urllib.request.Request(address, json.dumps({"event": "built"}).encode())
    posted.add_header("Content-Type", "application/json")
    posted.add_header("Authorization", f"Bearer {secret}")
    with urllib.request.urlopen(posted, timeout=20) as response:
        assert response.status == 202
    admin.server.call("PUT", "/pulpit/v1/consumers/robot", {"after": 0})
    browser = admin.open("/programs")
    for label, said in (("Revoke", "is revoked"), ("Remove", "hook is deleted"), ("Remove", "consumer is deleted")):
        browser.press(label)
        browser.until_text(said)
    assert browser.complaints() == []


def test_a_paused_page_holds_the_events_back_and_shows_them_when_it_goes_on(admin: System) -> None:
    browser = admin.open("/?type=zoo.*")
    browser.until_text("live")
    browser.press("Pause")
    admin.fire("zoo.fed", "zoo.slept")
    browser.until_text("paused, 2 new")
    assert types(browser) == []
    browser.press("Pause")
    assert types(browser) == ["zoo.slept", "zoo.fed"]


def test_more_tabs_than_a_browser_has_connections_are_live_when_they_are_looked_at(admin: System) -> None:
    browser, driver = admin.browser, admin.browser.driver
    event = f"ci.tabs-{secrets.token_hex(3)}"
    tabs = [driver.current_window_handle]
    try:
        for _ in range(7):
            driver.switch_to.new_window("tab")
            tabs.append(driver.current_window_handle)
            admin.open("/")
            browser.until_text("live")
        admin.server.call("POST", "/pulpit/v1/events", {"event_type": event, "payload": {}})
        for tab in (tabs[-1], tabs[0], tabs[3]):
            driver.switch_to.window(tab)
            until(lambda: types(browser)[:1] == [event], what=f"{event} on each page")
            browser.until_text("live")
            assert types(browser).count(event) == 1
    finally:
        for tab in tabs[1:]:
            driver.switch_to.window(tab)
            driver.close()
        driver.switch_to.window(tabs[0])


def test_a_dead_letter_is_sent_again(admin: System) -> None:
    with hook() as receiver:
        receiver.status = 400
        made = admin.server.call("POST", "/pulp/api/v2/events/", hooked(receiver.url, "letter.*"))
        admin.fire("letter.lost")
        browser = admin.open(f"/listeners/{made['id']}")
        browser.until_text("400")
        browser.reload_until_text("letter.lost")
        admin.picture("dead-letters")
        receiver.status = 200
        browser.one("tbody input[name='id']").click()
        browser.press("Send marked again")
        browser.until_text("It is sent again")
        until(lambda: receiver.types == ["letter.lost"] * 2, what="the letter to arrive", seconds=60)
        browser.reload_until_text("everything was delivered")
        admin.server.call("DELETE", f"/pulp/api/v2/events/{made['id']}/")


def test_in_an_outage_the_lag_grows_and_goes(admin: System) -> None:
    """The broker is killed; the page tells so, and that it has come back."""
    listener = admin.server.listen("outage", "outage.*")
    with subscribed(admin.broker.url, "outage", queue="outage"):
        pass  # the queue stays
    admin.broker.kill()
    admin.fire("outage.begun", "outage.goes", "outage.on")
    browser = admin.open(f"/listeners/{listener}")
    browser.until_text("retrying", seconds=60)
    # Three, and the event that tells the other listeners that this one fails.
    until(lambda: "4 events, " in browser.one("#state-now").text, what="the lag", seconds=60)
    assert "Connection refused" in browser.text
    admin.open("/")
    browser.until_text("4 behind", seconds=60)
    browser.until_text("live")
    admin.picture("outage")
    admin.broker.start()
    with subscribed(admin.broker.url, "outage", queue="outage") as queue:
        admin.open(f"/listeners/{listener}")
        queue.wait_for(3)
        until(lambda: "0 events, " in browser.one("#state-now").text, what="no lag", seconds=60)
        assert "active" in browser.one("#state-now").text
    assert queue.subjects == [f"pulp.server.outage.{word}" for word in ("begun", "goes", "on")]
    admin.server.call("DELETE", f"/pulp/api/v2/events/{listener}/")


def test_a_flood_is_thinned_and_says_so(admin: System) -> None:
    browser = admin.open("/?type=flood.*")
    browser.until_text("live")
    admin.fire(*["flood.drop"] * 500)
    browser.until_text("more came at the same time")
    assert 0 < len(types(browser)) <= 60


def test_hostile_names_are_shown_as_text_everywhere(admin: System) -> None:
    script = "<script>document.title='caught'</script><img src=x onerror=\"document.title='caught'\">"
    payload = {"reason": f"{script}\u202egnp.exe\x1b[31m", "deep": {script: ["x" * 10_000]}, "repo_id": script[:255]}
    with hook() as receiver:
        receiver.status = 400
        made = admin.server.call("POST", "/pulp/api/v2/events/", hooked(receiver.url, "hostile.*"))
        admin.server.call("POST", "/pulpit/v1/events", {"event_type": "hostile.name", "payload": payload})
        browser = admin.open("/?type=hostile.*")
        browser.until_text(script[:40])
        [number] = [link.text for link in browser.find("#rows .no a")]
        for path in (f"/events/{number}", f"/listeners/{made['id']}", "/?text=%3Cscript%3E&type=%3Cimg%20src=x%3E"):
            admin.open(path)
            assert browser.driver.title != "caught"
            assert not browser.find("main script, main img")
            assert "\u202e" not in browser.text
            assert browser.run("return document.documentElement.scrollWidth <= window.innerWidth"), path
        assert browser.complaints() == []
        admin.server.call("DELETE", f"/pulp/api/v2/events/{made['id']}/")


def test_every_page_can_be_used_by_everybody(admin: System, axe: str) -> None:
    """No violation that axe-core finds, light or dark, and nothing that is wider than its window."""
    browser = admin.browser
    made = admin.server.call("POST", "/pulp/api/v2/events/", hooked("http://127.0.0.1:9/", "repo.#"))
    task = admin.server.sync("files")
    admin.server.ended(task)
    token = admin.server.call("POST", "/pulpit/v1/tokens", {"name": "a" * 100, "scopes": [f"fire:ci.{'a' * 90}"]})
    hooked_in = admin.server.call("POST", "/pulpit/v1/hooks", {"name": "b" * 100, "provider": "generic"})
    admin.server.call("PUT", f"/pulpit/v1/consumers/{'c' * 100}", {"after": 0})
    wordy = {"event_type": f"ci.{'d' * 90}", "payload": {"repo_id": "e" * 200, "result": "failed", "text": "f" * 500}}
    admin.server.call("POST", "/pulpit/v1/events", wordy)
    number = admin.server.call("GET", "/pulpit/v1/events?event_type=repo.sync.finish")["events"][-1]["number"]
    pages = {
        "now": "/",
        "listeners": "/listeners",
        "listener": f"/listeners/{made['id']}",
        "new-http": "/listeners/new?kind=http",
        "new-email": "/listeners/new?kind=email",
        "event-page": f"/events/{number}",
        "topics": "/topics",
        "repositories": "/repositories",
        "repository": "/repositories/files",
        "publications": "/repositories/files/publications",
        "tasks": "/tasks",
        "programs": "/programs",
        "task": f"/tasks/{task}",
        "nothing": "/nothing",
    }
    found: dict[str, list[str]] = {}
    for name, path in pages.items():
        admin.open(path)
        browser.run(axe)
        admin.picture(f"page-{name}")
        found |= _violations(browser, name, "{}")
        if name in DARK:
            browser.use_dark(dark=True)
            admin.picture(f"page-{name}-dark")
            found |= _violations(browser, f"{name} dark", "{runOnly: ['color-contrast']}")
            browser.use_dark(dark=False)
        for width in (720, 320, 400):  # 720 is half of an ordinary window: a zoom of 200 %
            browser.resize(width, 900)
            if browser.run("return document.documentElement.scrollWidth > innerWidth"):
                found[f"{name} wide at {width}"] = [str(browser.run(WIDE))]
            if browser.run(SCROLLED):
                found[f"{name} scrolled at {width}"] = ["a table is wider than the window"]
        admin.picture(f"page-{name}-narrow")
        found |= _violations(browser, f"{name} narrow", "{}")
        browser.resize(1440, 1000)
    for gone in ("tokens/" + token["id"], "hooks/" + hooked_in["id"], "consumers/" + "c" * 100):
        admin.server.call("DELETE", f"/pulpit/v1/{gone}")
    admin.server.call("DELETE", f"/pulp/api/v2/events/{made['id']}/")
    assert found == {}


DARK = {"now", "listener", "event-page", "topics"}
"""Pages that have every colour between them."""
WIDE = """
    return [...document.querySelectorAll("main *")].filter(one => one.getBoundingClientRect().right > innerWidth)
        .map(one => one.outerHTML.slice(0, 120)).slice(-3).join(" | ");
"""

SCROLLED = """
    return [...document.querySelectorAll(".scroll:has(table:not(.matrix))")]
        .some(one => one.scrollWidth > one.clientWidth);
"""


def _violations(browser: Browser, name: str, options: str) -> dict[str, list[str]]:
    """What axe-core finds, with the first elements that are meant."""
    script = f"axe.run({options}).then(result => arguments[0](result.violations))"
    violations = browser.driver.execute_async_script(script)
    return {
        f"{name}: {violation['id']}": [str(node["html"])[:200] for node in violation["nodes"][:3]]
        for violation in violations
    }


def test_a_page_is_used_by_the_keyboard_alone(admin: System) -> None:
    browser = admin.open("/listeners/new?kind=amqp")
    keys = browser.focused
    keys("\ue004")
    assert browser.run("return document.activeElement.className") == "skip"
    keys("\ue007")
    assert browser.run("return document.activeElement.id") == "main"
    until(
        lambda: (keys("\ue004"), browser.run("return document.activeElement.name"))[1] == "exchange", what="the field"
    )
    keys("by-hand")
    until(
        lambda: (keys("\ue004"), browser.run("return document.activeElement.textContent"))[1] == "Create", what="Create"
    )
    assert browser.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    keys("\ue007")
    browser.until_text("exchange by-hand")


def test_open_pages_do_not_keep_the_server_from_stopping(admin: System) -> None:
    """They say that it is away, and go on when it is there again."""
    browser = admin.open("/?type=again.*")
    browser.until_text("live")
    assert admin.server.stop() == 0
    browser.until_text("the server is away")
    admin.server.start()
    browser.until_text("live", seconds=60)
    admin.fire("again.there")
    browser.until_text("again.there")
    browser.complaints()  # of the connections that failed


def test_a_reader_sees_and_may_not(system: System) -> None:
    body = {"login": "rita", "password": "reads only", "role": "reader"}
    system.server.call("POST", "/pulp/api/v2/users/", body)
    system.log_in("rita", "reads only")
    browser = system.browser
    browser.until_text("live")
    for path in ("/", "/listeners"):
        system.open(path)
        assert "reader" in browser.text
        labels = {button.text for button in browser.find("main button, main .button")}
        assert labels <= {"Pause", "Filter", "Clear", "Show", "Earlier events", ""}, path
    browser.press("Log out")
    browser.until_text("You are logged out.")
    system.server.call("DELETE", "/pulp/api/v2/users/rita/")


def test_a_wrong_password_is_refused_and_guessing_is_limited(system: System) -> None:
    system.log_in("admin", "wrong")
    system.browser.until_text("The login or the password is wrong.")
    system.picture("login")
    guess = """
        const form = document.querySelector("main form");
        const sent = [...Array(12).keys()].map(number => {
            const fields = new URLSearchParams(new FormData(form));
            fields.set("login", "admin");
            fields.set("password", `guess ${number}`);
            return fetch(form.action, {method: "POST", body: fields}).then(answer => answer.status);
        });
        return Promise.any(sent.map(one => one.then(status => status === 429 ? status : Promise.reject())));
    """
    for _ in range(3):
        system.browser.fill("password", "wrong again")
        system.browser.press("Log in")
    system.browser.driver.set_script_timeout(100)
    assert system.browser.run(guess) == 429
