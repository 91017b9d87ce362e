"""The page: login, rights, and protection against requests from other sites."""

import re

import pytest

from pulpit.net.passwords import hash_password
from pulpit.store import users
from pulpit.ui import app as ui
from support.api import PASSWORD_HASH
from support.page import Page

PAGES = ["/", "/stream"]


@pytest.mark.parametrize("path", PAGES)
def test_without_a_log_in_every_page_leads_to_it(visitor: Page, path: str) -> None:
    response = visitor.client.get(f"/ui{path}", follow_redirects=False)
    assert response.status_code == 303
    assert response.headers["location"].startswith("/ui/login?next=%2Fui")


@pytest.mark.parametrize("path", ["/", "/ui"])
def test_the_root_and_a_missing_slash_lead_to_the_page(visitor: Page, path: str) -> None:
    assert visitor.client.get(path, follow_redirects=False).headers["location"] == "/ui/"


def test_log_in_and_out(visitor: Page) -> None:
    seen = visitor.log_in("admin")
    assert (seen.status, str(seen.response.url.path)) == (200, "/ui/")
    cookie = visitor.client.cookies["pulpit-session"]
    left = visitor.post("/logout", of="/")
    assert "You are logged out." in left.text
    visitor.client.cookies.set("pulpit-session", cookie, domain="testserver.local", path="/ui")
    assert visitor.get("/").response.url.path == "/ui/login"  # a copy of the cookie is of no use


def test_the_cookie_is_for_this_page_alone(visitor: Page) -> None:
    header = visitor.client.get("/ui/login").headers["set-cookie"].lower()
    assert {"httponly", "path=/ui", "samesite=strict"} <= {part.strip() for part in header.split(";")}
    secured = visitor.client.get("https://testserver/ui/login").headers["set-cookie"].lower()
    assert "secure" in secured.split("; ")


def test_a_wrong_password_is_told_and_the_login_stays_in_the_form(visitor: Page) -> None:
    seen = visitor.log_in("<b>admin", "wrong")
    assert seen.status == 401
    assert "The login or the password is wrong." in seen.text
    assert ("input", "<b>admin") in [(tag, attributes.get("value")) for tag, attributes in seen.tags]


def test_who_may_see_some_repositories_alone_is_not_let_in(visitor: Page) -> None:
    """The pages show all of them; somebody who is narrowed later is logged out by that."""
    with visitor.services.database.write() as tx:
        now = visitor.services.clock()
        users.add(tx, "narrowed", name="", password_hash=PASSWORD_HASH, role="reader", now=now)
    assert visitor.log_in("narrowed").status == 200
    with visitor.services.database.write() as tx:
        users.change(tx, "narrowed", repo_ids=["fedora-*"])
    assert visitor.get("/").response.url.path == "/ui/login"
    seen = visitor.log_in("narrowed")
    assert (seen.status, "use pulp-admin" in seen.text) == (401, True)


@pytest.mark.parametrize(
    "goal", ["https://elsewhere.example/", "//elsewhere.example/", "/ui/\\elsewhere", "/ui//x", "x"]
)
def test_the_log_in_leads_nowhere_else(visitor: Page, goal: str) -> None:
    token = visitor.get("/login").form_token
    fields = {"form_token": token, "login": "admin", "password": "correct horse", "next": goal}
    response = visitor.client.post("/ui/login", data=fields, follow_redirects=False)
    assert (response.status_code, response.headers["location"]) == (303, "/ui/")


def test_a_session_ends_with_the_password_and_with_the_user(visitor: Page) -> None:
    def path() -> str:
        return str(visitor.get("/").response.url.path)

    with visitor.services.database.write() as tx:
        now = visitor.services.clock()
        users.add(tx, "leaver", name="", password_hash=PASSWORD_HASH, role="reader", now=now)
    visitor.take_session("leaver")
    assert path() == "/ui/"
    with visitor.services.database.write() as tx:
        users.change(tx, "leaver", password_hash=hash_password("another"))
    assert path() == "/ui/login"
    with visitor.services.database.write() as tx:
        users.change(tx, "leaver", password_hash=PASSWORD_HASH)
    visitor.take_session("leaver")
    assert path() == "/ui/"
    with visitor.services.database.write() as tx:
        users.remove(tx, "leaver")
    assert path() == "/ui/login"


def test_a_form_without_its_token_or_from_elsewhere_is_refused(admin: Page) -> None:
    assert admin.send("/logout", {}).status == 403
    assert admin.send("/logout", {"form_token": "x"}).status == 403
    elsewhere = admin.post("/logout", of="/", Origin="https://elsewhere.example")
    assert elsewhere.status == 403
    assert admin.get("/").response.url.path == "/ui/"


def test_nothing_is_done_for_a_reader_for_nobody_or_without_the_token_of_a_form(reader: Page) -> None:
    forms = [route.path for route in ui.routes() if "POST" in (route.methods or ())]
    acting = [re.sub(r"{\w+}", "1", path) for path in forms if path not in ("/login", "/logout")]
    assert len(acting) > 15
    own = {path for path in acting if path.startswith(("/programs/tokens", "/programs/consumers"))}
    for path in acting:
        refused = reader.post(path, of="/")
        if path in own:  # theirs, but there is none to be had or removed
            assert refused.status in (400, 403, 404), path
        else:
            assert (refused.status, "may only look" in refused.text) == (403, True), path
    reader.take_session("admin")
    for path in acting:
        assert reader.send(path, {}).status == 403, path
    reader.client.cookies.clear()
    for path in acting:
        assert reader.send(path, {}).response.url.path == "/ui/login", path


@pytest.mark.parametrize("body", [b"\xff", b"login=%ff", b"x=1&" * 3_000, b"x=" + b"y" * 300_000, b"form_token=%00"])
def test_a_body_that_is_no_form_is_refused_in_a_sentence(visitor: Page, body: bytes) -> None:
    response = visitor.client.post("/ui/login", content=body)
    assert response.status_code in (400, 403, 413)
    assert "Traceback" not in response.text


def test_a_link_of_another_site_comes_back_with_the_cookie(visitor: Page) -> None:
    headers = {"Sec-Fetch-Site": "cross-site"}
    response = visitor.client.get("/ui/?type=%22%3E%3Cscript%3E", headers=headers)
    assert response.status_code == 200
    assert 'content="0;url=/ui/?type=%22%3E%3Cscript%3E"' in response.text


def test_every_response_has_the_policy(visitor: Page) -> None:
    for path in ("/ui/login", "/ui/", "/ui/nothing", "/ui/static/page.css"):
        headers = visitor.client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"


def test_no_page_has_a_script_or_a_style_of_its_own(admin: Page) -> None:
    for tag, attributes in admin.get("/").tags:
        assert tag != "style"
        assert "style" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        assert tag != "script" or attributes.get("src")
