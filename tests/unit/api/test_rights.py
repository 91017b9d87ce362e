"""For every operation, whether a reader may use it: reading, searching and logging in, and no change."""

import re
from collections.abc import Iterator

import pytest

from support.api import Api, basic, running

DOCUMENTS = ("/pulp/api/v2/openapi.json", "/pulpit/v1/openapi.json")
HARMLESS = {"log_in", "create_token", "revoke_token"}
"""What a reader may do beside searches: of tokens only their own, which do no more than read."""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running(tmp_path_factory.mktemp("data")) as made:
        yield made


def operations(api: Api) -> Iterator[tuple[str, str, str]]:
    """Method, path and id of every operation; each variable part of a path is once an id and once a word of the API."""
    for document in DOCUMENTS:
        for path, methods in api.client.get(document).json()["paths"].items():
            for method, operation in methods.items():
                for word in ("zoo", "search", "login"):
                    yield method.upper(), re.sub(r"\{[^}]*\}", word, path), operation["operationId"]


def test_a_reader_changes_nothing_by_any_operation(api: Api) -> None:
    tried = 0
    for method, path, name in operations(api):
        if method in ("GET", "HEAD") or name in HARMLESS or re.search(r"search", name):
            continue
        tried += 1
        answer = api.client.request(method, path, headers=basic("reader"), json={})
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "PLP0026"), (method, path, name)
    assert tried > 60


def test_a_stranger_is_let_in_nowhere(api: Api) -> None:
    open_to_all = {"/pulp/api/v2/status/"}
    for method, path, name in operations(api):
        if path not in open_to_all:
            answer = api.client.request(method, path, headers={"Authorization": ""}, json={})
            assert answer.status_code == 401, (method, path, name)


def test_nothing_that_is_read_changes_anything(api: Api) -> None:
    """Every GET leaves the database as it was, byte for byte of its tables."""

    def rows() -> list[str]:
        with api.database.read() as connection:
            return list(connection.connection.driver_connection.iterdump())  # type: ignore[union-attr] # SQLite's

    before = rows()
    for method, path, _ in operations(api):
        if method == "GET" and "stream" not in path:
            api.client.get(path, headers=basic("reader"), params={"wait": 0})
    assert rows() == before
