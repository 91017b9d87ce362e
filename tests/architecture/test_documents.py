"""The documentation agrees with the code, as far as it can be compared."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from pulpit.events import EVENT_TYPES

CHECKOUT = Path(__file__).resolve().parents[2]
DOCS = CHECKOUT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *CHECKOUT.glob("*.md")])


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """What `make docs` runs."""
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_configuration_page_is_what_the_settings_say(generate: ModuleType) -> None:
    assert (DOCS / "configuration.md").read_text(encoding="utf-8") == generate.page(), "run `make docs`"


def test_the_asyncapi_document_is_what_the_catalogue_says(generate: ModuleType) -> None:
    assert (DOCS / "asyncapi.json").read_text(encoding="utf-8") == generate.asyncapi_text(), "run `make docs`"


def test_every_event_type_is_described() -> None:
    described = (DOCS / "events.md").read_text(encoding="utf-8")
    assert [event_type for event_type in sorted(EVENT_TYPES) if f"`{event_type}`" not in described] == []


def test_the_flows_walk_through_names_that_exist() -> None:
    source = {path: path.read_text(encoding="utf-8") for path in (CHECKOUT / "src").rglob("*.py")}
    walked = re.findall(r"`([a-z_/0-9]+\.py):([A-Za-z_.]+)`", (DOCS / "flows.md").read_text(encoding="utf-8"))
    assert walked
    for file, name in walked:
        text = source.get(CHECKOUT / "src" / "pulpit" / file)
        assert text, f"{file} is gone"
        for part in name.split("."):
            assert re.search(rf"^\s*(async def|def|class) {part}\b|^\s*{part}\b.*=", text, re.MULTILINE), (file, name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_layers_hold() -> None:
    lint = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([lint], cwd=CHECKOUT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout


def test_every_command_of_the_readme_is_a_target() -> None:
    targets = set(re.findall(r"^([a-z]+):", (CHECKOUT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"make ([a-z]+)", (CHECKOUT / "README.md").read_text(encoding="utf-8")))
    assert {"demo", "test"} <= named <= targets


def test_every_decision_has_a_number_of_its_own() -> None:
    pages = sorted((DOCS / "decisions").iterdir())
    assert [page.read_text(encoding="utf-8").split(".")[0] for page in pages] == [
        f"# {int(page.name[:4])}" for page in pages
    ]
    assert len({page.name[:4] for page in pages}) == len(pages)


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["amqp10"], *extras["postgresql"]]
    needed = {re.split(r"[\[<>=]", one)[0] for one in wanted}
    page = (DOCS / "architecture.md").read_text(encoding="utf-8").partition("## Dependencies, and why")[2]
    rows = [row.split("|")[2] for row in page.splitlines() if row.startswith("| ")]
    assert {name.lower() for row in rows[1:] for name in re.findall(r"[\w-]*\w", row)} >= needed


def test_every_room_is_described() -> None:
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    rooms = {
        path.name + "/" * path.is_dir()
        for path in (CHECKOUT / "src" / "pulpit").iterdir()
        if not path.name.startswith("_") and path.name != "py.typed"
    }
    assert {room for room in rooms if f"`{room}`" not in page} == set()


def test_the_tests_that_hold_the_rules_are_there() -> None:
    named = re.findall(r"`(tests/[a-z0-9_/]+\.py)`", (DOCS / "architecture.md").read_text(encoding="utf-8"))
    assert named
    assert [path for path in named if not (CHECKOUT / path).exists()] == []
