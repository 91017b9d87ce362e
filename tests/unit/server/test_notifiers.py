"""The kinds of notifiers of an installation, and why some cannot be used."""

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from pulpit.clock import system_clock
from pulpit.delivery.notifiers.port import Surroundings
from pulpit.errors import InvalidValue
from pulpit.server import notifiers
from pulpit.server.notifiers import own_extras, plug_ins
from pulpit.settings import KafkaSettings, NatsSettings, Settings

SURROUNDINGS = Surroundings(source="/pulpit/test", clock=system_clock)


@pytest.mark.parametrize(("extra", "kind"), [("nats", "nats"), ("kafka", "kafka")])
def test_without_the_extra_one_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, extra: str, kind: str
) -> None:
    monkeypatch.setattr(notifiers, "find_spec", lambda _: None)
    configured = Settings(nats=NatsSettings(servers="nats://h"), kafka=KafkaSettings(servers="h"))
    (found,) = [entry for entry in own_extras(configured, "/pulpit/test") if entry.kind.id == kind]
    assert f"pip install 'pulpit[{extra}]'" in found.problem
    with pytest.raises(InvalidValue, match=f"pip install 'pulpit.{extra}.'"):
        found.make().check_config({})


def test_without_servers_the_kinds_say_which_key_is_missing() -> None:
    problems = {entry.kind.id: entry.problem for entry in own_extras(Settings(), "/pulpit/test")}
    assert problems == {
        "kafka": "[kafka] servers names none; set it, and start the server again.",
        "nats": "[nats] servers names none; set it, and start the server again.",
    }


@pytest.mark.parametrize("value", ["nowhere:Nothing", "json:nothing", "json:dumps", "sys:exit", "builtins:len"])
def test_whatever_an_entry_point_names_nothing_is_raised(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    entry = EntryPoint(name="odd", value=value, group=notifiers.GROUP)
    monkeypatch.setattr(notifiers, "installed", lambda _: [entry])
    (found,) = plug_ins(SURROUNDINGS)
    assert found.kind.id == "odd"
    assert found.problem.startswith(f"{value} cannot be loaded (")
    assert found.problem.count("\n") == 0


def test_of_two_that_bring_one_kind_neither_is_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    entries = [EntryPoint(name="odd", value=value, group=notifiers.GROUP) for value in ("one:A", "two:B")]
    own = EntryPoint(name="kafka", value="three:C", group=notifiers.GROUP)
    monkeypatch.setattr(notifiers, "installed", lambda _: [*entries, own])
    (found,) = plug_ins(SURROUNDINGS)
    assert found.problem == "Both one:A and two:B bring it; remove one of them."
    actions: list[Any] = [getattr(record, "action", None) for record in caplog.records]
    assert actions == ["plug_in_broken"] * 3
    assert "one of Pulpit's own" in caplog.text


def test_one_that_takes_too_long_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifiers, "LOAD_PATIENCE_S", 0.05)
    entry = EntryPoint(name="slow", value="time:sleep", group=notifiers.GROUP)
    monkeypatch.setattr(notifiers, "installed", lambda _: [entry])
    monkeypatch.setattr(EntryPoint, "load", lambda _: lambda _: __import__("time").sleep(0.5))
    (found,) = plug_ins(SURROUNDINGS)
    assert "was not loaded within 0.05 seconds" in found.problem
