"""The counts of the report about the source."""

from pathlib import Path

from architecture.measure import measure


def test_files_helpers_and_any_are_counted(tmp_path: Path) -> None:
    broker = tmp_path / "broker"
    broker.mkdir()
    (tmp_path / "long.py").write_text("x = 1\n" * 100)
    (broker / "short.py").write_text(
        "def public(a: Any) -> Any:\n    return _once(a) + _twice(a) + _twice(a)\n\n\n"
        "def _once(a):\n    return a\n\n\n"
        "def _twice(a):\n    return a\n"
    )
    found = measure(tmp_path)
    assert (found.lines, found.files, found.short_files) == (110, 2, 1)
    assert (found.short_helpers, found.broker_any) == (1, 2)
    assert "1 helpers of at most 6 lines" in found.report()
