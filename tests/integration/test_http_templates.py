"""Webhook bodies from an administrator's template: its variables, and templates that loop or grow without end."""

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pulpit.clock import system_clock
from pulpit.delivery.notifiers import templates
from pulpit.delivery.notifiers.http import Http
from pulpit.delivery.notifiers.port import Delivered, Refused
from pulpit.delivery.notifiers.templates import Renderer, RendererTrouble, TemplateTrouble
from pulpit.errors import InvalidValue
from pulpit.events import Event
from pulpit.net.addresses import parse_networks
from support.made_events import event
from support.webhooks import delivered_to_sink

UNITS = [{"change": "added", "name": "bear", "purl": "pkg:rpm/bear@4.1"}, {"change": "removed", "name": "cat"}]


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    made = Renderer()
    yield made
    made.close()


def happened() -> Event:
    return event(7, result="success", changes={"units": UNITS}, note='"quoted" <&> \n')


def test_a_template_makes_the_body_of_what_an_event_says() -> None:
    template = """{
      "type": {{ event_type|tojson }}, "repo": {{ repo_id|tojson }}, "at": {{ occurred_at|tojson }},
      "note": {{ payload.note|tojson }}, "line": {{ headline|tojson }}, "number": {{ number }},
      "new": [{% for unit in units if unit.change == "added" %}{{ unit.name|tojson }}{% endfor %}]
    }"""
    outcomes, far = delivered_to_sink([happened()], template=template)
    assert [type(outcome) for outcome in outcomes] == [Delivered]
    (call,) = far.calls
    assert call.headers["Content-Type"] == "application/json"
    assert call.headers["ce-type"] == "repo.sync.finish"
    found = json.loads(call.body)
    assert found.pop("line")
    assert found == {
        "type": "repo.sync.finish",
        "repo": "zoo",
        "at": "2026-05-04T12:00:00.250000Z",
        "note": '"quoted" <&> \n',
        "number": 7,
        "new": ["bear"],
    }


def test_a_template_may_make_a_form() -> None:
    config = {"template": "ref=main&variables[REPO]={{ repo_id|urlencode }}"}
    _, far = delivered_to_sink([event(repo_id="a b")], **config, content_type="application/x-www-form-urlencoded")
    assert far.calls[0].body == b"ref=main&variables[REPO]=a%20b"
    assert far.calls[0].headers["Content-Type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "more memory or time"),
        ("{% macro m(n) %}{{ m(n + 1) }}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}", "calls itself too deeply"),
        ("{{ 'x' * 999999999 }}", "more memory"),
        ("{% for a in range(99999) %}{{ 'xxxxxxxxxx' }}{% endfor %}", "makes more than 256 KiB"),
        ("{{ range(999999999) }}", "Range too big"),
        ("{{ payload.nothing }}", "has no attribute 'nothing'"),
        ("{{ ().__class__.__base__.__subclasses__() }}", "unsafe"),
        ("{{ 1 // 0 }}", "ZeroDivisionError"),
        ("{{ repo_id }}", "makes no JSON of event 7"),
    ],
)
def test_a_template_that_loops_explodes_or_is_wrong_is_stopped_and_told(template: str, said: str) -> None:
    (outcome,), far = delivered_to_sink([happened()], template=template)
    assert isinstance(outcome, Refused), "trying again cannot help"
    assert outcome.reason.startswith("The template ")
    assert said in outcome.reason
    assert outcome.reason.endswith(".")
    assert not far.calls


def test_others_are_served_after_one_that_had_to_be_killed(renderer: Renderer) -> None:
    values = templates.variables_of(happened(), "/pulpit")
    renderer.render("{{ number }}", values)
    for template in (
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 'x' * 9**12 }}",
    ):
        started = time.monotonic()
        with pytest.raises(TemplateTrouble):
            renderer.render(template, values)
        assert time.monotonic() - started < 60
        assert renderer.render("{{ number }}", values) == "7"


def test_what_is_no_fault_of_the_template_is_tried_again(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    values = templates.variables_of(happened(), "/pulpit")
    renderer.render("{{ number }}", values)
    monkeypatch.setattr(templates, "LONGEST_RENDERING", 0.0)
    with pytest.raises(RendererTrouble, match="the machine is busy"):
        renderer.render("{% for a in range(99999) %}{{ a }}{% endfor %}", values)
    monkeypatch.setattr(templates, "LONGEST_RENDERING", 20.0)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(RendererTrouble, match="no process can be started"):
        renderer.render("{{ number }}", values)
    monkeypatch.undo()
    assert renderer.render("{{ number }}", values) == "7"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"template": "{{ colour }}"}, "the template names colour, which there is not; there are number, id,"),
        ({"template": "{% for %}"}, "the template cannot be read: line 1: "),
        ({"template": "{% include 'x' %}"}, "the template cannot include or import others"),
        ({"template": "x" * 16_385}, "the template has more than 16 KiB"),
        ({"template": "{{ " + "(" * 5_000 + "1" + ")" * 5_000 + " }}"}, "the template cannot be read"),
        ({"template": 7}, "template must be a text"),
        ({"template": "x", "format": "slack"}, "leave one of them out"),
        ({"template": "x", "batch": "5"}, "leave one of them out"),
        ({"content_type": "text/plain"}, "only used beside a template"),
        ({"template": "x", "content_type": "text plain"}, "must look like application/json"),
    ],
)
def test_a_template_that_cannot_be_is_refused_with_a_sentence(config: dict[str, Any], said: str) -> None:
    kind = Http(system_clock, allow=parse_networks("127.0.0.0/8"))
    with pytest.raises(InvalidValue) as caught:
        kind.check_config({"url": "http://127.0.0.1:1/", **config})
    assert said in str(caught.value)


def test_names_that_a_template_makes_itself_are_known() -> None:
    templates.check(
        "{% set a = 1 %}{% macro m(x) %}{{ x }}{% endmacro %}{% for u, v in payload.items() %}{{ m(a) }}{{ u }}"
        "{{ v }}{{ loop.index }}{% endfor %}{{ namespace(x=1).x }}{% with b = 2 %}{{ b }}{% endwith %}"
    )
