from collections.abc import Iterator

import pytest

from support.page import Page, page


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """One server for the tests of a file."""
    with page(tmp_path_factory.mktemp("page")) as started:
        yield started


@pytest.fixture
def visitor(system: Page) -> Page:
    """The page as somebody sees it who has not logged in."""
    system.client.cookies.clear()
    return system


@pytest.fixture
def admin(visitor: Page) -> Page:
    visitor.take_session("admin")
    return visitor


@pytest.fixture
def reader(visitor: Page) -> Page:
    visitor.take_session("reader")
    return visitor
