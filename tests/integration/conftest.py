"""What the integration tests share."""

from collections.abc import Iterator

import pytest

from support import upstream as serving
from support.upstream import Upstream


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with serving.running() as started:
        yield started
