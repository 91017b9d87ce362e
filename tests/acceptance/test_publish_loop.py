"""dnf and pip read in a loop a repository that is republished all the time: neither sees an error.

`PULPIT_PUBLISHES` makes it longer.
"""

import base64
import io
import os
import sys
import tempfile
import threading
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support import dnf, upstream, yum
from support.python import run
from support.server import API, Server, pulpit
from support.upstream import Upstream

PUBLISHES = int(os.environ.get("PULPIT_PUBLISHES", "16"))
ROUNDS = PUBLISHES // 2
"""Each publishes packages of both kinds."""
RPMS = 6

pytestmark = pytest.mark.skipif(
    bool(dnf.missing() or yum.tools("rpmbuild")), reason=str(dnf.missing() or yum.tools("rpmbuild"))
)


def wheel(number: int) -> tuple[str, bytes]:
    """The name and the bytes of a small wheel, a version for each number."""
    info, content = f"zoo-{number}.dist-info", io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("zoo.py", f"number = {number}\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: zoo\nVersion: {number}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return f"zoo-{number}-py3-none-any.whl", content.getvalue()


def upload_wheel(server: Server, number: int) -> None:
    name, content = wheel(number)
    upload = server.call("POST", f"{API}/content/uploads/")["upload_id"]
    token = base64.b64encode(f"admin:{server.password}".encode()).decode()
    request = urllib.request.Request(f"{server.url}{API}/content/uploads/{upload}/0/", data=content, method="PUT")
    request.add_header("Authorization", f"Basic {token}")
    urllib.request.urlopen(request, timeout=60).close()
    body = {"upload_id": upload, "unit_type_id": "python_package", "unit_key": {"filename": name}}
    done(server, server.call("POST", f"{API}/repositories/wheels/actions/import_upload/", body))
    server.call("DELETE", f"{API}/content/uploads/{upload}/")


def done(server: Server, answer: Any) -> None:
    report = server.ended(answer["spawned_tasks"][0]["task_id"], seconds=180)
    assert report["state"] == "finished", report


def create(server: Server, repo_id: str, kind: str, feed: str | None, auto_publish: bool) -> None:
    body: dict[str, Any] = {"id": repo_id, "importer_type_id": f"{kind}_importer"}
    body["importer_config"] = {"feed": feed} if feed else {}
    config = {"http": True, "https": False} if kind == "yum" else {}
    distributor = {"distributor_id": "d", "distributor_type_id": f"{kind}_distributor", "auto_publish": auto_publish}
    body["distributors"] = [{**distributor, "distributor_config": config}]
    server.call("POST", f"{API}/repositories/", body)


@contextmanager
def in_a_loop(*readings: Callable[[], None]) -> Iterator[list[str]]:
    """Read until the end of the block, and tell how often; the first fault of each is raised there."""
    over, faults, counts = threading.Event(), list[str](), [0] * len(readings)

    def loop(number: int, reading: Callable[[], None]) -> None:
        while not over.is_set():
            try:
                reading()
            except BaseException as fault:  # noqa: BLE001 - whatever it is
                faults.append(repr(fault))
                return
            counts[number] += 1

    threads = [threading.Thread(target=loop, args=given) for given in enumerate(readings)]
    for thread in threads:
        thread.start()
    try:
        yield faults
    finally:
        over.set()
        for thread in threads:
            thread.join(300)
    assert faults == []
    assert min(counts) > 0
    print(f"{PUBLISHES} publishes, reads by dnf and pip: {counts}")  # noqa: T201 - shown by `pytest -s`


def go_on(packages: Upstream, rpms: list[Path], number: int) -> None:
    """Another advisory each time, and from time to time another package."""
    shown = rpms[: 1 + number * RPMS // (ROUNDS + 1)]
    advisory = yum.UPDATEINFO.replace("</title>", f" {number}</title>")
    yum.serve(packages, yum.listed(yum.packages(shown), updateinfo=advisory), shown)


@pytest.mark.timeout(300 + PUBLISHES * 5)
def test_dnf_and_pip_see_no_error_whatever_is_published_meanwhile(tmp_path: Path) -> None:
    rpms = [yum.build(tmp_path, f"animal{number}", "1.0") for number in range(RPMS)]
    pip = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "download", "--no-cache-dir", "-q"]

    def by_pip() -> None:
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            run(
                *pip,
                "--no-deps",
                "--index-url",
                f"{server.url}/pulp/python/web/wheels/simple/",
                "zoo",
                cwd=Path(folder),
            )
            assert list(Path(folder).glob("zoo-*.whl"))

    def by_dnf() -> None:
        seen = reader.read(f"{server.url}/pulp/repos/packages/", download=True)
        assert not seen.error, seen.error
        assert seen.installable == set(seen.found["packages"]), seen.found["broken"]

    with upstream.running() as packages, pulpit(tmp_path / "data") as server, dnf.Reader() as reader:
        go_on(packages, rpms, 0)
        create(server, "packages", "yum", packages.url, auto_publish=True)
        create(server, "wheels", "python", None, auto_publish=False)
        upload_wheel(server, 0)
        publish = f"{API}/repositories/wheels/actions/publish/"
        done(server, server.call("POST", publish, {"id": "d"}))
        server.ended(server.sync("packages"))
        with in_a_loop(by_pip, by_dnf) as faults:
            for number in range(1, ROUNDS + 1):
                go_on(packages, rpms, number)
                synced = server.sync("packages")
                upload_wheel(server, number)
                done(server, server.call("POST", publish, {"id": "d"}))
                assert server.ended(synced, seconds=180)["state"] == "finished"
                if faults:
                    break
        for kind in ("packages", "wheels"):
            found = server.call("GET", f"/pulpit/v1/events?repo_id={kind}&event_type=repo.publish.finish&limit=1000")
            results = [event["payload"]["result"] for event in found["events"]]
            assert results == ["success"] * (ROUNDS + 1)
