"""The history of syncs and publishes as `repo history` asks for it."""

from datetime import UTC, datetime

import pytest

from pulpit.store import history
from pulpit.store.history import Ending
from support.api import V2, Api

ZOO = f"{V2}/repositories/zoo/"


@pytest.fixture
def zoo(api: Api) -> Api:
    distributors = [{"distributor_id": "d", "distributor_type_id": "iso_distributor"}]
    body = {"id": "zoo", "importer_type_id": "iso_importer", "distributors": distributors}
    assert api.client.post(f"{V2}/repositories/", json=body).status_code == 201
    with api.database.write() as tx:
        for kind, plugin in (("sync", "iso_importer"), ("publish", "d"), ("publish", "other")):
            for day in range(1, 8):
                moment = datetime(2031, 5, day, tzinfo=UTC)
                ids = {"repo_id": "zoo", "plugin_id": plugin, "plugin_type_id": "t", "task_id": "x"}
                record = history.begin(tx, kind, now=moment, **ids)
                if day != 7:
                    history.close(tx, record, Ending(result="success", added_count=day), now=moment)
    return api


def started(api: Api, path: str) -> list[str]:
    answer = api.client.get(f"{ZOO}history//{path}")
    assert answer.status_code == 200
    return [entry["started"][8:10] for entry in answer.json()]


@pytest.mark.parametrize(
    ("path", "days"),
    [
        ("sync/?limit=5", ["06", "05", "04", "03", "02"]),
        ("sync/?limit=2&sort=ascending", ["01", "02"]),
        ("sync/?start_date=2031-05-05T00:00:00Z", ["06", "05"]),
        ("sync/?end_date=2031-05-02T00:00:00%2B00:00", ["02", "01"]),
        ("sync/?end_date=2031-05-01T23:00:00-01:00&sort=descending", ["02", "01"]),
        ("publish/d/?limit=1", ["06"]),
    ],
)
def test_entries_newest_first_within_bounds(zoo: Api, path: str, days: list[str]) -> None:
    assert started(zoo, path) == days


def test_an_entry_has_what_the_client_shows(zoo: Api) -> None:
    [entry] = zoo.client.get(f"{ZOO}history/sync/?limit=1").json()
    assert entry["_id"] == {"$oid": entry["id"]}
    assert (entry["repo_id"], entry["importer_id"], entry["result"], entry["added_count"]) == (
        "zoo",
        "iso_importer",
        "success",
        6,
    )
    [entry] = zoo.client.get(f"{ZOO}history/publish/d/?limit=1").json()
    assert (entry["distributor_id"], entry["distributor_type_id"]) == ("d", "t")


def test_all_bad_parameters_are_named(zoo: Api) -> None:
    answer = zoo.client.get(f"{ZOO}history/sync/?limit=0&sort=up&start_date=x&end_date=2031-13-01")
    assert (answer.status_code, answer.json()["property_names"]) == (400, ["limit", "sort", "start_date", "end_date"])


def test_publishes_of_an_unknown_distributor_are_missing(zoo: Api) -> None:
    answer = zoo.client.get(f"{ZOO}history/publish/nil/")
    assert (answer.status_code, answer.json()["resources"]) == (404, {"repo_id": "zoo", "distributor_id": "nil"})
