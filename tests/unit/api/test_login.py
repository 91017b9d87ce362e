"""Authentication and authorization."""

import base64

import pytest

from pulpit.errors import AuthenticationFailed
from pulpit.net.passwords import VerifiedPasswords, hash_password, is_password, read_basic
from support.api import PASSWORD, PASSWORD_HASH, V1, V2, Api, basic


def test_a_hash_names_its_parameters_and_fits_its_password_only() -> None:
    hashed = hash_password("päss:word")
    assert hashed.startswith("scrypt$16384$8$1$")
    assert is_password("päss:word", hashed)
    assert not is_password("pass:word", hashed)
    assert hashed != hash_password("päss:word")


def test_a_password_of_any_length_costs_little() -> None:
    assert not is_password("x" * 10_000_000, PASSWORD_HASH)


def test_what_was_verified_is_forgotten_when_the_hash_changes_or_room_is_needed() -> None:
    verified = VerifiedPasswords(capacity=2)
    verified.remember("a", "pw", "hash")
    assert verified.knows("a", "pw", "hash")
    assert not verified.knows("a", "pw", "other hash")
    assert not verified.knows("apw", "", "hash")
    verified.remember("b", "pw", "hash")
    verified.remember("c", "pw", "hash")
    assert not verified.knows("a", "pw", "hash")


@pytest.mark.parametrize("header", ["", "Bearer x", "Basic", "Basic !", "Basic YWJj", "Basic /w==", "Basic YTpiAA=="])
def test_an_unreadable_header_is_a_failed_login(header: str) -> None:
    with pytest.raises(AuthenticationFailed):
        read_basic(header)


def test_a_password_may_hold_colons() -> None:
    assert read_basic(basic("me", "a:b:c")["Authorization"]) == ("me", "a:b:c")


def test_no_login_no_answer_but_the_status(api: Api) -> None:
    del api.client.headers["Authorization"]
    answer = api.client.get(f"{V2}/repositories/")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert answer.json()["auth_error_code"] == "authentication_failed"
    assert api.client.get(f"{V2}/status/").status_code == 200


@pytest.mark.parametrize(
    "path", [f"{V2}/nil/", f"{V2}/openapi.json", "/pulp/api/v1/", f"http://testserver/{V2}/repositories/"]
)
def test_nothing_below_the_api_is_told_to_strangers(api: Api, path: str) -> None:
    del api.client.headers["Authorization"]
    assert api.client.get(path).status_code == 401


def test_wrong_credentials_are_401_with_the_code_that_the_client_reads(api: Api) -> None:
    for login, password in (("admin", "wrong"), ("nobody", PASSWORD)):
        answer = api.client.get(f"{V2}/repositories/", headers=basic(login, password))
        assert (answer.status_code, answer.json()["auth_error_code"]) == (401, "invalid_username_or_password")
        assert answer.json()["error"]["code"] == "PLP0030"


def test_a_reader_may_read_and_search_and_nothing_else(api: Api) -> None:
    api.client.headers.update(basic("reader"))
    assert api.client.get(f"{V2}/events/").status_code == 200
    assert api.client.post(f"{V2}/tasks/search/", json={"criteria": {}}).status_code == 200
    for method, path in (("POST", "events/"), ("DELETE", "repositories/x/"), ("PUT", "users/admin/")):
        answer = api.client.request(method, f"{V2}/{path}", json={})
        assert (answer.status_code, answer.json()["auth_error_code"]) == (401, "permission_denied")


def test_a_deleted_user_is_out_at_once(api: Api) -> None:
    assert api.client.get(f"{V2}/events/", headers=basic("reader")).status_code == 200
    assert api.client.delete(f"{V2}/users/reader/").status_code == 200
    assert api.client.get(f"{V2}/events/", headers=basic("reader")).status_code == 401


def test_pages_of_other_sites_are_refused(api: Api) -> None:
    answer = api.client.delete(f"{V2}/users/reader/", headers={"Origin": "https://evil.example"})
    assert (answer.status_code, answer.json()["auth_error_code"]) == (401, "permission_denied")
    assert api.client.get(f"{V2}/events/", headers={"Origin": "http://testserver"}).status_code == 200


@pytest.mark.parametrize(
    ("kept", "sent"),
    [
        ("é", "é".encode()),
        ("é", "é".encode("latin-1")),
        ("é", "e\u0301".encode()),
        ("e\u0301", "é".encode()),
        ("пароль", "пароль".encode()),
        ("🔑 日本", "🔑 日本".encode()),
    ],
)
def test_b1_a_password_of_any_letters_logs_in(api: Api, kept: str, sent: bytes) -> None:
    assert api.client.post(f"{V2}/users/", json={"login": "zoe", "password": kept, "role": "admin"}).status_code == 201
    header = {"Authorization": "Basic " + base64.b64encode(b"zoe:" + sent).decode()}
    for path in (f"{V2}/repositories/", f"{V2}/users/zoe/", f"{V1}/events", "/metrics"):
        assert api.client.get(path, headers=header).status_code == 200, path
    assert api.client.post(f"{V2}/actions/login/", headers=header).status_code == 200
