"""How documents of the server look on a terminal."""

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulpit.admin.bars import Bars
from pulpit.admin.progress import Lines, ProgressStep, Stage, pace, size, steps
from pulpit.client.screen import WIDTH, document, label
from pulpit.text import clean


def test_a_listener_is_aligned_alphabetical_and_without_hidden_keys() -> None:
    listener = {
        "notifier_type_id": "http",
        "id": "65f0aa0000000000000000a1",
        "_href": "/pulp/api/v2/events/x/",
        "event_types": ["repo.sync.start", "repo.sync.finish"],
        "notifier_config": {"url": "http://h/", "ca_path": "/x.pem", "username": "u"},
    }
    assert document(listener) == [
        "Event Types:       repo.sync.start, repo.sync.finish",
        "Id:                65f0aa0000000000000000a1",
        "Notifier Config:",
        "  CA Path:   /x.pem",
        "  URL:       http://h/",
        "  Username:  u",
        "Notifier Type Id:  http",
    ]


@pytest.mark.parametrize(
    ("key", "expected"), [("ca_path", "CA Path"), ("feed_url", "Feed URL"), ("ssl_validation", "SSL Validation")]
)
def test_some_words_are_upper_case(key: str, expected: str) -> None:
    assert label(key) == expected


def test_null_true_empty_objects_and_lists_of_objects_show() -> None:
    content: dict[str, Any] = {"a": None, "b": True, "c": {}, "d": [{"x": 1}, {"x": 2}], "e": []}
    assert document(content) == ["A:  None", "B:  True", "C:", "D:", "  X:  1", "", "  X:  2", "E:"]


def test_long_values_wrap_at_eighty_columns_and_words_stay_whole() -> None:
    lines = document({"description": " ".join(["several"] * 30)})
    assert max(map(len, lines)) <= WIDTH
    assert lines[1].startswith("              several")
    assert document({"id": "x" * 100}) == ["Id:  " + "x" * 100]


@pytest.mark.parametrize("evil", ["\x1b[31mred", "\u202eabc", "a\x07b", "a\x9b31m", "a\u2028b", "\x7f"])
def test_nothing_can_steer_the_terminal(evil: str) -> None:
    shown = "\n".join(document({evil: {"k": evil}, "list": [evil]}))
    assert not {"\x1b", "\u202e", "\x07", "\x9b", "\u2028", "\x7f"} & set(shown)


def test_line_ends_become_spaces() -> None:
    assert clean("a\nb\tc\r") == "a b c "


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), json_values, max_size=6))
def test_any_document_can_be_shown(content: dict[str, Any]) -> None:
    for line in document(content):
        assert line.isprintable() or not line.isascii()
        assert "\x1b" not in line


@given(json_values)
def test_any_progress_report_can_be_read(report: Any) -> None:
    steps(report)
    steps({"iso_importer": report, "yum_distributor": [report], "x": {"y": report}})


def iso_report(state: str, **more: Any) -> dict[str, Any]:
    known: dict[str, Any] = {
        "state": state,
        "state_times": {},
        "error_message": None,
        "traceback": None,
        "total_bytes": None,
        "finished_bytes": 0,
        "num_isos": None,
        "num_isos_finished": 0,
        "iso_error_messages": [],
    }
    return {"iso_importer": {**known, **more}}


def test_an_iso_sync_is_a_manifest_and_then_files() -> None:
    assert steps(iso_report("not_started")) == []
    [manifest] = steps(iso_report("manifest_in_progress"))
    assert (manifest.title, manifest.stage) == ("Downloading the manifest", Stage.RUNNING)
    manifest, files = steps(
        iso_report("isos_in_progress", total_bytes=4_000_000, finished_bytes=2_500_000, num_isos=3, num_isos_finished=1)
    )
    assert manifest.stage is Stage.DONE
    assert (files.title, files.stage) == ("Downloading 3 files", Stage.RUNNING)
    assert (files.done, files.total, files.detail) == (2_500_000, 4_000_000, "1 of 3")


def test_failures_of_an_iso_sync_are_told() -> None:
    [manifest] = steps(iso_report("manifest_failed", error_message="404"))
    assert (manifest.stage, manifest.failures) == (Stage.FAILED, ("404",))
    errors = [{"name": f"f{number}", "error": "short"} for number in range(7)]
    _, files = steps(iso_report("isos_failed", num_isos=9, iso_error_messages=errors))
    assert files.stage is Stage.FAILED
    assert files.failures[0] == "f0: short"
    assert files.failures[-1] == "and 2 more"


def test_a_publish_is_one_step() -> None:
    [step] = steps({"iso_distributor": {"state": "complete", "state_times": {}, "error_message": None}})
    assert (step.title, step.stage) == ("Publishing", Stage.DONE)


def test_lists_of_steps_and_named_parts_are_known_too() -> None:
    listed = {
        "step_id": "s",
        "description": "Publishing RPMs",
        "state": "IN_PROGRESS",
        "items_total": 32,
        "num_processed": 20,
        "details": "bear.rpm",
    }
    [step] = steps({"yum_distributor": [listed, {"step_id": "t", "state": "NOT_STARTED"}]})
    assert (step.title, step.done, step.total, step.detail) == ("Publishing RPMs", 20, 32, "bear.rpm")
    [part] = steps({"yum_importer": {"metadata": {"state": "FINISHED"}, "errata": {"state": "NOT_STARTED"}}})
    assert (part.title, part.stage) == ("Downloading metadata", Stage.DONE)


def test_lines_say_each_change_once_and_without_control_codes(capsys: pytest.CaptureFixture[str]) -> None:
    running = ProgressStep(key="a", title="Work\x1b[1m", stage=Stage.RUNNING, total=1500, in_bytes=True)
    failed = ProgressStep(key="a", title="Work", stage=Stage.FAILED, failures=("no room",))
    with Lines() as lines:
        for step in (running, running, failed, failed, running):
            lines.show([step])
    assert capsys.readouterr().out.splitlines() == ["Work[1m (1.5 kB)...", "Work... failed", "  no room"]


@pytest.mark.parametrize(
    ("octets", "expected"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (999_950, "1.0 MB"), (5 * 10**12, "5.0 TB")]
)
def test_sizes_are_decimal(octets: int, expected: str) -> None:
    assert size(octets) == expected


def test_bars_draw_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    from pulpit.admin.bars import Bars  # noqa: PLC0415 - imported late in the product too

    output = io.StringIO()
    monkeypatch.setattr("sys.stdout", output)
    with Bars() as bars:
        bars.show(
            [
                ProgressStep(
                    key="a", title="Work [b]", stage=Stage.RUNNING, done=1, total=4, in_bytes=True, detail="1 of 2"
                )
            ]
        )
        bars.show(
            [ProgressStep(key="a", title="Work [b]", stage=Stage.DONE, done=4, total=4, in_bytes=True, detail="2 of 2")]
        )
        bars.line("Task succeeded")
    assert "Work [b]" in output.getvalue()
    assert "Task succeeded" in output.getvalue()
    assert "completed" in output.getvalue()


@pytest.mark.parametrize(
    ("speed", "left", "in_bytes", "words"),
    [
        (1_500_000.0, 42.9, True, "1.5 MB/s, 0:42 left"),
        (12.4, 3_725.0, False, "12/s, 1:02:05 left"),
        (999.0, None, True, "999 B/s"),
    ],
)
def test_pace_in_words(speed: float, left: float | None, words: str, *, in_bytes: bool) -> None:
    assert pace(speed, left, in_bytes=in_bytes) == words


def test_bars_keep_what_went_wrong_for_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    running = ProgressStep(
        key="f", title="Downloading 2 files", stage=Stage.RUNNING, done=500, total=1000, in_bytes=True
    )
    failed = ProgressStep(
        key="f", title="Downloading 2 files", stage=Stage.FAILED, total=1000, failures=("a.iso: gone",)
    )
    with Bars() as bars:
        bars.show([running])
        bars.show([failed])
        bars.show([failed])
    shown = capsys.readouterr().out
    assert "failed" in shown
    assert shown.rstrip().endswith("  a.iso: gone")
    assert shown.count("a.iso") == 1
