"""API v2 handles any input: never a 5xx, and every refusal is a document of Pulp 2's form."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.api import V2, Api, running

EXAMPLES = int(os.environ.get("PULPIT_FUZZ_EXAMPLES", "150"))
FUZZED = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
NEVER = {("DELETE", "/users/{login}/"), ("PUT", "/users/{login}/")}
"""They may take the password that the test itself logs in with."""
KNOWN = [
    "zoo", "files", "iso_importer", "iso_distributor", "yum_distributor", "rpm", "iso", "super-users", "all", "reader",
    "success", "running", "finished", "1", "0", "true", "PT1H", "R3/2031-01-01T00:00:00Z/P1M", "*", "repo.sync.*",
    "amqp", "http", "2031-05-04T10:00:00Z", "999999999999", "-1", "*****", "http://h/x/", "http://u:*****@h/",
]  # fmt: skip
KEYS = [
    "id", "criteria", "filters", "unit", "association", "fields", "sort", "limit", "skip", "type_ids",
    "override_config", "source_repo_id", "importer_config", "importer_type_id", "distributors", "distributor_type_id",
    "distributor_id", "distributor_config", "distributor_configs", "delta", "notes", "display_name", "description",
    "auto_publish", "notifier_type_id", "notifier_config", "event_types", "repo_ids", "results", "packages",
    "give_up_after",
    "schedule", "enabled", "failure_threshold", "upload_id", "unit_type_id", "unit_key", "unit_metadata", "login",
    "password", "name", "role", "roles", "resource", "operations", "role_id", "feed", "max_speed", "relative_url",
    "proxy_port", "protected", "include_repos", "importers", "state", "tags", "force_full", "recursive",
    "remove_missing", "basic_auth_password", "$in", "$nin", "$and", "$or", "$not", "$regex", "$options", "$exists",
    "$size", "$gt", "$date", "$oid", "$all",
]  # fmt: skip

texts = st.sampled_from(KNOWN) | st.text(max_size=12)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
keys = st.sampled_from(KEYS) | st.text(max_size=8)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
bodies = st.dictionaries(st.sampled_from(KEYS), values, max_size=5)
queries = st.dictionaries(st.sampled_from(["limit", "sort", "start_date", "tag", "state", "details", "after"]), texts)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder: Path = tmp_path_factory.mktemp("api")
    with running(folder) as started:
        distributor = {"distributor_type_id": "iso_distributor", "distributor_id": "iso_distributor"}
        for repo_id in ("zoo", "files"):
            body = {"id": repo_id, "importer_type_id": "iso_importer", "distributors": [distributor]}
            assert started.client.post(f"{V2}/repositories/", json=body).status_code == 201
        assert started.client.post(f"{V2}/repo_groups/", json={"id": "all"}).status_code == 201
        yield started


@pytest.fixture(scope="module")
def operations(api: Api) -> list[tuple[str, str]]:
    paths = api.client.get(f"{V2}/openapi.json").json()["paths"]
    found = [(method.upper(), path.removeprefix(V2)) for path, methods in paths.items() for method in methods]
    return sorted(set(found) - NEVER)


def check(answer: Any) -> None:
    assert answer.status_code < 500, (answer.request.method, answer.request.url, answer.request.content, answer.text)
    if answer.status_code >= 400:
        document = answer.json()
        assert document["http_status"] == answer.status_code
        assert document["error"]["description"]
        assert "Traceback" not in answer.text


def quoted(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "surrogatepass"))


@FUZZED
@given(data=st.data())
def test_any_request(api: Api, operations: list[tuple[str, str]], data: st.DataObject) -> None:
    method, template = data.draw(st.sampled_from(operations))
    path = "/".join(quoted(data.draw(texts)) if part[:1] == "{" else part for part in template.split("/"))
    query = api.client.build_request("GET", "/", params=data.draw(queries)).url.query.decode()
    body = data.draw(bodies) if method in ("POST", "PUT") else None
    check(api.client.request(method, f"{V2}{path}?{query}", json=body))


@FUZZED
@given(criteria=values, path=st.sampled_from(["repositories", "tasks", "users", "distributors", "repo_groups"]))
def test_any_criteria(api: Api, criteria: Any, path: str) -> None:
    check(api.client.post(f"{V2}/{path}/search/", json={"criteria": criteria}))
    check(api.client.post(f"{V2}/repositories/zoo/search/units/", json={"criteria": criteria}))
    check(api.client.post(f"{V2}/content/units/iso/search/", json={"criteria": criteria}))
    check(api.client.post(f"{V2}/repo_groups/all/actions/associate/", json={"criteria": {"filters": criteria}}))


@FUZZED
@given(config=st.dictionaries(keys, values, max_size=4))
def test_any_configuration(api: Api, config: dict[str, Any]) -> None:
    check(api.client.put(f"{V2}/repositories/zoo/importers/iso_importer/", json={"importer_config": config}))
    check(api.client.put(f"{V2}/repositories/zoo/", json={"distributor_configs": {"iso_distributor": config}}))
    check(api.client.post(f"{V2}/repositories/zoo/actions/sync/", json={"override_config": config}))
    check(api.client.post(f"{V2}/repositories/zoo/actions/publish/", json={"id": "iso_distributor", **config}))


@FUZZED
@given(header=st.binary(max_size=40))
def test_any_credentials(api: Api, header: bytes) -> None:
    value = b"Basic " + header.replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b"")
    answer = api.client.get(f"{V2}/repositories/", headers=[(b"Authorization", value)])
    assert answer.status_code in (401, 429)
