"""Files under Apache-2.0 say so and import none under the GPL, except where docs/licences.md allows it."""

import ast
import re
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCE = CHECKOUT / "src"
HEADER = "# SPDX-License-Identifier: Apache-2.0"
FOLDERS = ("subscriber", "client", "amqp", "net")
NEEDS_THE_SERVER = {"pulpit/content/port.py"}


def is_apache(path: Path) -> bool:
    return HEADER in path.read_text(encoding="utf-8").splitlines()[:2]


def imported(path: Path) -> set[Path]:
    """The files of this package that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    places = [SOURCE / name.replace(".", "/") for name in names if name.partition(".")[0] == "pulpit"]
    files = [place.with_suffix(".py") for place in places] + [place / "__init__.py" for place in places]
    return {file for file in files if file.is_file()}


def has_no_code(path: Path) -> bool:
    """Whether there is no more in it than a docstring."""
    return len(ast.parse(path.read_text(encoding="utf-8")).body) <= 1


def test_the_folders_that_others_build_on_say_their_licence() -> None:
    files = [path for folder in FOLDERS for path in (SOURCE / "pulpit" / folder).rglob("*.py")]
    files += [*(CHECKOUT / "docs/examples").glob("*.py"), *(CHECKOUT / "tests/support/plugin").rglob("*.py")]
    assert len(files) > len(FOLDERS)
    assert [str(path) for path in files if not is_apache(path)] == [], f"begin them with {HEADER}"


def test_what_others_build_on_imports_nothing_of_the_server() -> None:
    apache = [path for path in SOURCE.rglob("*.py") if is_apache(path)]
    wrong = {
        f"{path.relative_to(SOURCE)} imports {other.relative_to(SOURCE)}"
        for path in apache
        if str(path.relative_to(SOURCE)) not in NEEDS_THE_SERVER
        for other in imported(path)
        if not is_apache(other) and not has_no_code(other)
    }
    assert wrong == set()


def test_the_page_names_every_file_and_folder_under_apache() -> None:
    page = (CHECKOUT / "docs/licences.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_/]+(?:\.py|/))`", page))
    for path in SOURCE.rglob("*.py"):
        inside = path.relative_to(SOURCE / "pulpit")
        is_named = f"{inside.parts[0]}/" in named or str(inside) in named or str(path.relative_to(SOURCE)) in named
        assert is_apache(path) is is_named, inside
