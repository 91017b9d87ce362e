"""Constants that the server and `pulp-admin` share without importing one another."""

from pathlib import Path

from pulpit import configuration
from pulpit.client import settings as client


def test_they_mean_the_same_port(tmp_path: Path) -> None:
    empty = tmp_path / "server.conf"
    empty.write_text("")
    served, _ = configuration.load(empty, {}, {})
    assert f"http://{served.server.host}:{served.server.port}" == client.DEFAULT_URL
