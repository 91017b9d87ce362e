"""Several events in one webhook request: gathered, acknowledged together, halved when the receiver refuses them."""

import json
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from standardwebhooks.webhooks import Webhook

from pulpit.clock import system_clock
from pulpit.delivery.notifiers.http import Http
from pulpit.delivery.notifiers.kinds import NotifierTypes
from pulpit.delivery.notifiers.port import Delivered, Later, Refused, Retry
from pulpit.errors import InvalidValue
from pulpit.events import Event
from pulpit.net.addresses import parse_networks
from support.made_events import event
from support.webhooks import Call, delivered_to_sink

SECRET = "whsec_" + "A" * 43 + "="


def events(*numbers: int, age: float = 0) -> list[Event]:
    happened = system_clock() - timedelta(seconds=age)
    return [
        event(number)._replace(occurred_at=happened, body=event(number).body.replace("{", f'{{"n":{number},', 1))
        for number in numbers
    ]


def told(call: Call) -> list[int]:
    return [json.loads(line)["n"] for line in call.body.splitlines()]


def test_several_events_go_in_one_request_that_is_signed_as_a_whole() -> None:
    outcomes, far = delivered_to_sink(events(1, 2, 3, 4, 5), batch="3", secret=SECRET)
    assert [type(outcome) for outcome in outcomes] == [Delivered] * 5
    assert [told(call) for call in far.calls] == [[1, 2, 3], [4, 5]]
    headers = far.calls[0].headers
    assert headers["Content-Type"] == "application/x-ndjson"
    assert [headers[f"pulpit-{name}"] for name in ("first-number", "last-number", "count")] == ["1", "3", "3"]
    assert not [name for name in headers if name.lower().startswith("ce-")]


def test_a_batch_of_cloudevents_is_an_array_and_can_be_verified() -> None:
    sent = events(1, 2)
    _, far = delivered_to_sink(sent, batch="10", format="cloudevents", secret=SECRET)
    (call,) = far.calls
    assert call.headers["Content-Type"] == "application/cloudevents-batch+json"
    found = Webhook(SECRET).verify(call.body, dict(call.headers))
    assert [(one["id"], one["type"], one["data"]["n"]) for one in found] == [
        (one.id, one.event_type, one.number) for one in sent
    ]
    assert {"specversion", "id", "source", "type", "time", "datacontenttype", "data"} <= found[0].keys()
    assert all(name.isalnum() and name.islower() for name in found[0])


def test_a_receiver_that_is_away_gets_the_same_again() -> None:
    sent = events(1, 2, 3)
    outcomes, far = delivered_to_sink(sent, lambda _: web.Response(status=503), batch="10", secret=SECRET)
    assert [type(outcome) for outcome in outcomes] == [Retry]
    _, again = delivered_to_sink(sent, batch="10", secret=SECRET)
    assert far.calls[0].headers["webhook-id"] == again.calls[0].headers["webhook-id"]
    assert far.calls[0].body == again.calls[0].body


def test_a_batch_that_is_refused_is_halved_until_only_what_nobody_wants_is_refused() -> None:
    def answer(call: Call) -> web.Response:
        return web.Response(status=422 if {3, 6} & set(told(call)) else 204)

    outcomes, far = delivered_to_sink(events(*range(1, 9)), answer, batch="8")
    assert [type(outcome) for outcome in outcomes] == [
        Refused if number in (3, 6) else Delivered for number in range(1, 9)
    ]
    taken = [number for call in far.calls for number in told(call) if not {3, 6} & set(told(call))]
    assert taken == [1, 2, 4, 5, 7, 8]


def test_what_is_too_large_for_the_receiver_goes_in_smaller_parts() -> None:
    outcomes, far = delivered_to_sink(
        events(*range(1, 5)), lambda call: web.Response(status=413 if len(told(call)) > 1 else 200), batch="4"
    )
    assert [type(outcome) for outcome in outcomes] == [Delivered] * 4
    assert [told(call) for call in far.calls] == [[1, 2, 3, 4], [1, 2], [1], [2], [3, 4], [3], [4]]


def test_events_are_gathered_for_as_long_as_was_asked_and_not_when_there_are_enough() -> None:
    outcomes, far = delivered_to_sink(events(1, 2), batch="3/1h")
    (outcome,) = outcomes
    assert isinstance(outcome, Later)
    assert outcome.after
    assert timedelta(minutes=59) < outcome.after <= timedelta(hours=1)
    assert not far.calls
    assert [told(call) for call in delivered_to_sink(events(1, 2, age=3601), batch="3/1h")[1].calls] == [[1, 2]]


def test_too_few_after_a_batch_are_looked_at_again_at_once_because_the_log_may_have_more() -> None:
    outcomes, far = delivered_to_sink(events(1, 2, 3, 4), batch="3/1h")
    assert [type(outcome) for outcome in outcomes] == [Delivered] * 3 + [Later]
    assert isinstance(outcomes[-1], Later)
    assert outcomes[-1].after == timedelta(0)
    assert [told(call) for call in far.calls] == [[1, 2, 3]]


def test_each_batch_of_a_call_is_sent_once_whatever_was_refused_before() -> None:
    outcomes, far = delivered_to_sink(
        events(*range(1, 7)), lambda call: web.Response(status=422 if 2 in told(call) else 204), batch="2"
    )
    assert [type(outcome) for outcome in outcomes] == [Delivered, Refused, *[Delivered] * 4]
    assert [told(call) for call in far.calls] == [[1, 2], [1], [2], [3, 4], [5, 6]]


def test_a_batch_has_a_mebibyte_at_most() -> None:
    large = [one._replace(body=one.body[:-1] + f',"x":"{"x" * 600_000}"}}') for one in events(1, 2)]
    _, far = delivered_to_sink([*large, *events(3)], batch="9")
    assert [told(call) for call in far.calls] == [[1], [2, 3]]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"batch": "0"}, "batch must look like 100/2s"),
        ({"batch": "501"}, "batch must look like 100/2s"),
        ({"batch": "10/"}, "batch must look like 100/2s"),
        ({"batch": "10/2h"}, "batch must look like 100/2s"),
        ({"batch": "ten"}, "batch must look like 100/2s"),
        ({"batch": 10}, "batch must look like 100/2s"),
        ({"batch": "10", "format": "slack"}, "slack takes one event at a time"),
        ({"batch": "10", "concurrency": 2}, "leave one of them out"),
    ],
)
def test_a_batch_that_cannot_be_is_refused_with_a_sentence(config: dict[str, Any], said: str) -> None:
    kind = Http(system_clock, allow=parse_networks("127.0.0.0/8"))
    with pytest.raises(InvalidValue) as caught:
        kind.check_config({"url": "http://127.0.0.1:1/", **config})
    assert said in str(caught.value)


def test_the_engine_hands_over_several_batches_at_once() -> None:
    kinds = NotifierTypes({"http": Http(system_clock)})
    assert kinds.pace("http", {"batch": "100/2s"}).batch == 500
    assert kinds.pace("http", {"batch": "100/2s", "lanes": 16}).batch == 100
    assert kinds.pace("http", {}).batch == Http.pace.batch
