from collections.abc import Iterator
from pathlib import Path

import pytest

from support.api import Api, running


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with running(tmp_path) as started:
        yield started
