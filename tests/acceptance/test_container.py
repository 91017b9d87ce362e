"""The container: engines accept its files, and what they describe starts, as far as that shows without an engine."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pulpit.configuration import keys
from support import container, rabbitmq
from support import postgresql as pg
from support.container import CHECKOUT, Container, Image
from support.ports import free_port
from support.processes import clean_environment
from support.subscriber import subscribed
from support.waiting import until

COMPOSE = CHECKOUT / "compose.yaml"
CONTAINERFILE = CHECKOUT / "Containerfile"
BASE = "PULPIT_TEST_BASE_IMAGE"
"""Names the root folder of a Debian to begin with, instead of one that debootstrap makes."""
needs_namespaces = pytest.mark.skipif(container.why_not() is not None, reason=container.why_not() or "")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return document


def servers(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The services that run the image of this project."""
    return {name: service for name, service in compose["services"].items() if service["image"] == "pulpit"}


def test_the_compose_file_is_one_by_the_specification() -> None:
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        COMPOSE,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_servers_are_confined_and_published_to_this_machine_alone(compose: dict[str, Any]) -> None:
    for service in servers(compose).values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert len(service["volumes"]) == 1 + ("PULPIT_STORAGE_URL" in service.get("environment", ()))
        assert len(service["profiles"]) == 1
    ports = [port for service in compose["services"].values() for port in service.get("ports", ())]
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_every_volume_dependency_and_variable_is_there(compose: dict[str, Any]) -> None:
    known = {key.variable for key in keys()}
    for service in servers(compose).values():
        assert set(service.get("environment", ())) <= known
        for other, how in service.get("depends_on", {}).items():
            assert compose["services"][other]["profiles"] == service["profiles"]
            assert how == {"condition": "service_healthy"}
            assert compose["services"][other]["healthcheck"]["test"]
    mounted = {volume.partition(":")[0] for it in compose["services"].values() for volume in it.get("volumes", ())}
    assert mounted == set(compose["volumes"])
    assert set(re.findall(r"PULPIT_[A-Z_]+", CONTAINERFILE.read_text())) <= known


@pytest.fixture
def image() -> Image:
    """This machine and this checkout as an image, with what the Containerfile says but for the paths."""
    lines = re.findall(r"^ENV (PULPIT.*)$", CONTAINERFILE.read_text(), re.MULTILINE)
    scratch = "/var/tmp"  # noqa: S108 - in the container; the checkout may lie in /tmp
    return Image(
        root=Path("/"),
        scratch=scratch,
        environment={
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": scratch,
            **dict(pair.split("=", 1) for line in lines for pair in line.split()),
        },
        volume="/var/lib/pulpit",
        health=["pulpit", "health"],
        entrypoint=["tini", "--", "pulpit"],
        command=["serve"],
    )


def shows_that_it_serves(image: Image, volume: Path) -> None:
    """A container is healthy, writes nothing but its volume, reaps orphans, and ends by SIGTERM."""
    variables = {"PULPIT_PORT": str(free_port()), "PULPIT_BROKER_PORT": str(free_port())}
    with container.running(image, volume, variables) as server:
        until(lambda: server.run(*image.health).returncode == 0, what="the container to be healthy", seconds=240)
        assert "Read-only file system" in server.run("sh", "-c", "touch /anything", as_root=True).stderr
        assert (volume / "pulpit.db").exists()
        assert process_user(server) == image.user.partition(":")[0]
        for _ in range(5):
            server.run("sh", "-c", "(sleep 0.1 &)")
        until(lambda: zombies(server) == [], what="orphans to be reaped")
        assert server.run("pulpit", "doctor").returncode == 0
        assert server.stop(signal.SIGTERM) == 0


def process_user(server: Container) -> str:
    status = Path(f"/proc/{server.init}/status").read_text()
    return status.partition("\nUid:")[2].split()[0]


def zombies(server: Container) -> list[int]:
    states = {pid: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2] for pid in container.children(server.init)}
    return [pid for pid, state in states.items() if state.split()[0] == "Z"]


@pytest.mark.timeout(900)
@needs_namespaces
def test_a_server_as_process_1_with_a_read_only_root_serves_and_ends(image: Image, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir(mode=0o700)
    shows_that_it_serves(image, volume)


@pytest.mark.skipif(shutil.which("debootstrap") is None, reason="debootstrap is not installed")
@pytest.mark.timeout(2400)
@needs_namespaces
def test_the_steps_of_the_containerfile_make_an_image_that_serves(tmp_path: Path) -> None:
    suite = re.search(r"^FROM debian:(\w+)-slim", CONTAINERFILE.read_text(), re.MULTILINE)
    assert suite
    base = Path(os.environ.get(BASE) or container.debian(tmp_path / "base", suite[1]))
    made = container.build(CONTAINERFILE, base, tmp_path)
    assert made.user.startswith("10001:")
    volume = tmp_path / "volume"
    volume.mkdir(mode=0o700)
    shows_that_it_serves(made, volume)


@pytest.fixture
def cluster(compose: dict[str, Any], tmp_path: Path) -> Iterator[tuple[list[dict[str, str]], str]]:
    """The environments of the profile's servers, with the addresses that databases and brokers have here."""
    for why_not in (pg.why_not(), rabbitmq.why_not()):
        if why_not:
            pytest.skip(why_not)
    with pg.postgresql() as database, rabbitmq.rabbitmq(tmp_path / "rabbitmq") as broker:
        here = {"PULPIT_DATABASE_URL": database.fresh(), "PULPIT_MESSAGING_URL": broker.url}
        here["PULPIT_STORAGE_URL"] = str(tmp_path / "files")
        (tmp_path / "files").mkdir()
        found = []
        for name, service in servers(compose).items():
            if service["profiles"] == ["cluster"]:
                assert service["environment"].keys() > here.keys()
                own = {"PULPIT_DATA_DIR": str(tmp_path / name), "PULPIT_PORT": str(free_port())}
                found.append({**service["environment"], **here, **own})
        yield found, broker.url


@pytest.mark.timeout(900)
def test_the_two_servers_of_the_cluster_work_together(cluster: tuple[list[dict[str, str]], str]) -> None:
    environments, broker = cluster
    pulpit = str(Path(sys.executable).with_name("pulpit"))
    admin = str(Path(sys.executable).with_name("pulp-admin"))
    bare = clean_environment()
    started: list[subprocess.Popen[bytes]] = []

    def run(number: int, *command: str) -> "subprocess.CompletedProcess[str]":
        variables = {
            **bare,
            **environments[number],
            "PULPIT_URL": f"http://127.0.0.1:{environments[number]['PULPIT_PORT']}",
        }
        return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120, check=False)

    try:
        for number, variables in enumerate(environments):
            started.append(subprocess.Popen([pulpit, "serve"], env={**bare, **variables}, stderr=subprocess.DEVNULL))
            until(lambda at=number: run(at, pulpit, "health").returncode == 0, what="a server", seconds=240)  # type: ignore[misc]
        secret = Path(environments[0]["PULPIT_DATA_DIR"], "admin-password").read_text().strip()
        environments[1]["PULPIT_PASSWORD"], environments[1]["PULPIT_USERNAME"] = secret, "admin"
        with subscribed(broker, "pulp") as subscriber:
            made = run(0, admin, "event", "listener", "amqp", "create", "--event-type", "ci.#", "--exchange", "pulp")
            assert made.returncode == 0, made.stderr
            fired = run(1, pulpit, "fire", "ci.build.finish")
            assert fired.returncode == 0, fired.stderr
            until(
                lambda: subscriber.subjects == ["pulp.server.ci.build.finish"],
                what="the event of the other server",
                seconds=120,
            )
        healthy = run(0, pulpit, "doctor")
        assert healthy.stdout.count(" is alive.") == 2, healthy.stdout
    finally:
        for server in started:
            server.terminate()
        codes = [server.wait(60) for server in started]
    assert codes == [0, 0]
