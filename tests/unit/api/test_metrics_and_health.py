"""Prometheus metrics and health checks."""

from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from pulpit.api.app import create_app
from pulpit.fire import fire
from pulpit.store import listeners, schedules
from support.api import V2, Api
from support.database import fail


def test_metrics_tell_of_the_log_the_listeners_and_the_tasks(api: Api) -> None:
    with api.database.write() as tx:
        listener = listeners.add(tx, "amqp", {}, ["*"], now=api.services.clock())
        for _ in range(3):
            fire(tx, "repo.sync.start", {"repo_id": "zoo"}, clock=api.services.clock)
        fail(tx, listener.id, "No.", now=api.services.clock())
    answer = api.client.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert samples["pulpit_events_total",] == 3
    assert samples["pulpit_listener_lag_events", *sorted([listener.id, "amqp"])] == 3
    assert samples["pulpit_listener_failures", *sorted([listener.id, "amqp"])] == 1
    assert samples["pulpit_listener_state", *sorted([listener.id, "amqp", "retrying"])] == 1
    assert samples["pulpit_listener_state", *sorted([listener.id, "amqp", "active"])] == 0
    assert samples["pulpit_tasks", "waiting"] == 0
    assert samples["pulpit_workers",] == 1
    assert samples["pulpit_delivering",] == 1


def test_b15_metrics_tell_of_all_listeners_by_kind_and_one_by_one_of_the_worst(api: Api) -> None:
    with api.database.write() as tx:
        ids = [listeners.add(tx, "amqp", {}, ["*"], now=api.services.clock()).id for _ in range(130)]
        fire(tx, "repo.sync.start", {"repo_id": "zoo"}, clock=api.services.clock)
        fail(tx, ids[-1], "No.", now=api.services.clock())
    text = api.client.get("/metrics").text
    assert 'pulpit_listeners{notifier="amqp",state="active"} 129.0' in text
    assert 'pulpit_listeners{notifier="amqp",state="retrying"} 1.0' in text
    assert text.count("pulpit_listener_position{") == 100
    assert f'pulpit_listener_failures{{listener="{ids[-1]}",notifier="amqp"}} 1.0' in text


def test_metrics_tell_of_schedules(api: Api) -> None:
    api.client.post(f"{V2}/repositories/", json={"id": "zoo", "importer_type_id": "iso_importer"})
    path = f"{V2}/repositories/zoo/importers/iso_importer/schedules/sync/"
    made = api.client.post(path, json={"schedule": "PT6H", "enabled": False}).json()
    with api.database.write() as tx:
        schedules.fail(tx, made["_id"])
    text = api.client.get("/metrics").text
    labels = f'{{action="sync",repository="zoo",schedule="{made["_id"]}"}}'
    assert f"pulpit_schedule_enabled{labels} 0.0" in text
    assert f"pulpit_schedule_failures{labels} 1.0" in text


def test_metrics_need_a_login_and_health_does_not(api: Api) -> None:
    del api.client.headers["Authorization"]
    assert api.client.get("/metrics").status_code == 401
    assert api.client.get("/health/live").json() == {"status": "live"}
    assert api.client.get("/health/ready").json() == {"status": "ready", "database": True, "delivery": True}


def test_a_server_that_delivers_nothing_is_alive_and_not_ready(api: Api) -> None:
    services = replace(api.services, delivering=lambda: False)
    with TestClient(create_app(services)) as client:
        assert client.get("/health/live").status_code == 200
        answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json() == {"status": "not ready", "database": True, "delivery": False}
