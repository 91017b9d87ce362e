"""The keys of units in the results of copies and removals, which Pulp 2's clients print."""

from datetime import UTC, datetime

from pulpit.store.units import Unit
from pulpit.tasks.operations import successful

NOW = datetime(2031, 1, 1, tzinfo=UTC)


def unit(type_id: str, key: dict[str, str], metadata: dict[str, str]) -> Unit:
    return Unit(id="1", type_id=type_id, key=key, metadata=metadata, created_at=NOW, files=())


def test_d8_python_packages_are_named_with_their_versions() -> None:
    found = [unit("python_package", {"filename": "zoo-1.0.tar.gz"}, {"name": "zoo", "version": "1.0", "size": "1"})]
    [package] = successful("zoo", found)["units_successful"]
    assert package == {
        "type_id": "python_package",
        "unit_key": {"name": "zoo", "version": "1.0", "filename": "zoo-1.0.tar.gz"},
    }


def test_others_are_named_by_their_keys() -> None:
    [file] = successful("zoo", [unit("iso", {"name": "a.iso"}, {"version": "7"})])["units_successful"]
    assert file["unit_key"] == {"name": "a.iso"}
