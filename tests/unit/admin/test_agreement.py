"""What the server and its command must know alike, though neither imports the other."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from pulpit import configuration
from pulpit.client import settings as client


@pytest.mark.parametrize("environment", [{}, {"PULPIT_DATA_DIR": "/somewhere"}])
def test_they_mean_the_same_data_folder(environment: Mapping[str, str], tmp_path: Path) -> None:
    empty = tmp_path / "server.conf"
    empty.write_text("")
    served, _ = configuration.load(empty, environment, {})
    assert served.data_dir == client.data_folder(environment)


def test_they_mean_the_same_port(tmp_path: Path) -> None:
    empty = tmp_path / "server.conf"
    empty.write_text("")
    served, _ = configuration.load(empty, {}, {})
    assert f"http://{served.server.host}:{served.server.port}" == client.DEFAULT_URL
