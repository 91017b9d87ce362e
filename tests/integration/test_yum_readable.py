"""dnf's own library reads what is published: odd characters in packages, modules in any YAML style."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from pulpit.repositories.uploads import import_file
from support import dnf, yum
from support.upstream import Upstream
from support.yum import COMPS, MODULES, YumMirror, listed, packages, serve

REASON = yum.tools("rpmbuild") or dnf.missing()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))

MODULE = MODULES.partition("...\n")[0].removeprefix("---\n")
IN_BRACES = (
    '{document: modulemd, version: 2, data: {name: zoo, stream: "1.10", version: 20240101, context: deadbeef, '
    "arch: noarch, summary: A zoo, description: A zoo of two, license: {module: [MIT]}, "
    "profiles: {default: {rpms: [camel]}}, artifacts: {rpms: [camel-0:1.0-1.noarch]}}}"
)
DEFAULTS = 'document: modulemd-defaults\nversion: 1\ndata: {module: zoo, modified: 202401010000, stream: "1.10"}\n'


@pytest.fixture(scope="module")
def rpms(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("rpms")
    return [yum.build(folder, "bear", "4.1"), yum.build(folder, "camel", "1.0")]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[YumMirror]:
    with yum.yum_mirror(tmp_path / "data") as one:
        yield one


def seen_by_dnf(here: YumMirror, *, download: bool = False) -> dnf.Seen:
    published = here.publish("zoo")
    assert (published.result, published.error_message) == ("success", None)
    with yum.web_server(here.root("zoo")) as url:
        return dnf.read(url, download=download)


@pytest.mark.parametrize("letter", ["\x01", "\x0b", "\x1b", "\x7f", "\x85", "\ufffe", "\U0001f43b", "]]>", "&<\"'"])
def test_a4_letters_that_xml_cannot_write_do_not_break_what_is_published(
    letter: str, here: YumMirror, rpms: list[Path], tmp_path: Path
) -> None:
    here.create("zoo", None)
    odd = yum.build(
        tmp_path, "honey", "1.0", further=f"Provides: honey-cake\nURL: http://x/{letter}\nVendor: A{letter}"
    )
    for rpm in (rpms[0], odd):
        import_file(here.context, "zoo", "rpm", {}, {}, rpm)

    seen = seen_by_dnf(here, download=True)

    assert seen.error == ""
    assert seen.installable == {"bear-0:4.1-1.noarch", "honey-0:1.0-1.noarch"}
    (path,) = here.root("zoo").glob("repodata/*-primary.xml.gz")
    ET.fromstring(gzip.decompress(path.read_bytes()))  # noqa: S314 - our own


def test_a4_a_list_that_would_not_be_readable_is_not_shown(here: YumMirror, rpms: list[Path]) -> None:
    here.create("zoo", None)
    import_file(here.context, "zoo", "rpm", {}, {}, rpms[0])
    assert here.publish("zoo").result == "success"
    before = here.published("zoo")
    yum.spoil_details(here, "</format>", "</form>")
    import_file(here.context, "zoo", "rpm", {}, {}, rpms[1])

    outcome = here.publish("zoo")

    assert outcome.result == "failed"
    assert "primary.xml is not published, for it would not be well-formed XML" in str(outcome.error_message)
    assert here.published("zoo") == before


def test_a5_a_kept_module_that_is_no_yaml_fails_by_name(here: YumMirror, upstream: Upstream, rpms: list[Path]) -> None:
    serve(upstream, listed(packages(rpms), modules=MODULES), rpms)
    here.create("zoo", upstream.url)
    assert here.sync("zoo").result == "success"
    yum.spoil_details(here, "data:", "data: [{")

    outcome = here.publish("zoo")

    assert outcome.result == "failed"
    assert "modules.yaml is not published: a document is no plain YAML" in str(outcome.error_message)


SPELLINGS: dict[str, str] = {
    "a comment on the mark": f"--- # the zoo\n{MODULE}...\n",
    "braces on the mark": f"--- {IN_BRACES}\n...\n",
    "a comment on the end": f"---\n{MODULE}... # end\n",
    "no end": f"---\n{MODULE}---\n{DEFAULTS}",
    "no marks": MODULE,
    "a directive": f"%YAML 1.1\n---\n{MODULE}...\n%YAML 1.1\n---\n{DEFAULTS}...\n",
    "a tag directive": f"%TAG ! tag:example.org,2024:\n---\n{MODULE}...\n",
    "a BOM": f"\ufeff---\n{MODULE}...\n",
    "a BOM between": f"---\n{MODULE}...\n\ufeff---\n{DEFAULTS}...\n",
    "a stray mark": f"---\n{MODULE}...\n...\n---\n---\n{DEFAULTS}...\n",
    "windows lines": f"---\n{MODULE}...\n".replace("\n", "\r\n"),
    "comments": "# all\n---\n# of it\n" + MODULE.replace("\n", "  # here\n", 3) + "...\n",
    "a tag": f"---\n{MODULE}...\n".replace("name: zoo", "name: !!str zoo"),
    "an anchor": f"---\n{MODULE}...\n".replace("name: zoo", "name: &name zoo"),
    "an explicit key": f"---\n{MODULE}...\n".replace("name: zoo", "? name\n  : zoo"),
    "a folded text": f"---\n{MODULE}...\n".replace(
        "description: A zoo of two", "description: >-\n    A zoo\n    of two"
    ),
    "a literal text": f"---\n{MODULE}...\n".replace(
        "description: A zoo of two", "description: |\n    A zoo of two\n\n\n"
    ),
    "quoted keys": f"---\n{MODULE}...\n".replace("name:", '"name":').replace("arch:", "'arch':"),
    "a tab after": f"---\n{MODULE}...\n".replace("arch: noarch", "arch: noarch\t"),
    "a mark in a text": f"---\n{MODULE}...\n".replace("A zoo of two", '"--- a zoo\\n...\\n--- of two"'),
    "no newline at the end": f"---\n{MODULE}...",
    "a document of another kind": f"---\ndocument: zoo\nversion: 1\ndata: {{a: b}}\n...\n---\n{MODULE}...\n",
    "an empty document": f"---\n...\n---\n{MODULE}...\n",
}


@pytest.mark.parametrize("how", SPELLINGS)
def test_a5_every_spelling_of_modules_is_published_as_dnf_reads_it(
    how: str, here: YumMirror, upstream: Upstream, rpms: list[Path]
) -> None:
    serve(upstream, listed(packages(rpms), modules=SPELLINGS[how]), rpms)
    here.create("zoo", upstream.url)
    outcome = here.sync("zoo")
    assert (outcome.result, outcome.error_message) == ("success", None)

    seen = seen_by_dnf(here)

    assert seen.error == ""
    assert seen.found["modules"] == ["zoo:1.10:20240101:deadbeef:noarch"]
    (module,) = here.held("zoo", "modulemd")
    told = "--- a zoo ... --- of two" if how == "a mark in a text" else "A zoo of two"
    assert " ".join(module.unit.metadata["description"].split()) == told


@pytest.mark.parametrize("order", [1, -1])
def test_a5_the_newer_defaults_of_a_module_win(
    order: int, here: YumMirror, upstream: Upstream, rpms: list[Path]
) -> None:
    newer = DEFAULTS.replace("202401010000", "202402010000").replace("1.10", "2.0")
    both = "".join(f"---\n{text}...\n" for text in (DEFAULTS, newer)[::order])
    serve(upstream, listed(packages(rpms), modules=f"---\n{MODULE}...\n{both}"), rpms)
    here.create("zoo", upstream.url)
    assert here.sync("zoo").result == "success"

    assert [held.unit.metadata["stream"] for held in here.held("zoo", "modulemd_defaults")] == ["2.0"]


def test_a5_one_document_that_is_no_module_is_left_out(here: YumMirror, upstream: Upstream, rpms: list[Path]) -> None:
    nameless = MODULE.replace("name: zoo", "title: zoo")
    serve(upstream, listed(packages(rpms), modules=f"---\n{nameless}...\n---\n{MODULE}...\n"), rpms)
    here.create("zoo", upstream.url)

    outcome = here.sync("zoo")

    assert outcome.result == "success"
    assert outcome.details is not None
    assert outcome.details["left_out_count"] == 1
    assert seen_by_dnf(here).found["modules"] == ["zoo:1.10:20240101:deadbeef:noarch"]


def test_groups_are_seen(here: YumMirror, upstream: Upstream, rpms: list[Path]) -> None:
    serve(upstream, listed(packages(rpms), group=COMPS), rpms)
    here.create("zoo", upstream.url)
    assert here.sync("zoo").result == "success"

    assert seen_by_dnf(here).groups == [["animals", "Animals", ["bear", "camel"]]]
