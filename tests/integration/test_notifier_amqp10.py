"""The amqp notifier over AMQP 1.0 with a scripted broker: outcomes, lost connections, and every kind of broker."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any

import pytest

from pulpit.amqp.address import BrokerAddress
from pulpit.amqp.amqp10.client import ClientSettings
from pulpit.amqp.amqp10.message import Message
from pulpit.amqp.amqp10.publisher import Publisher
from pulpit.amqp.amqp10.types import (
    ACCEPTED,
    NOT_FOUND,
    RELEASED,
    TOO_LARGE,
    Condition,
    Modified,
    Outcome,
    Rejected,
    Terminus,
)
from pulpit.delivery.notifiers.amqp10 import Amqp10
from pulpit.delivery.notifiers.port import DELIVERED, Delivered, Notifier, Refused, Retry
from support.amqp10 import needs_amqp10
from support.amqp10_peer import HANG_UP, SILENT, peer
from support.made_events import event
from support.ports import free_port

pytestmark = needs_amqp10
SETTINGS = ClientSettings(name="test", connect_timeout=5)
TOPIC = {"exchange-type": "topic", "durable": True}
ON_DEMAND = ("create-on-demand", "topic")


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 60))


def address(port: int) -> BrokerAddress:
    return BrokerAddress(host="127.0.0.1", port=port, user="guest", password="guest")


@contextlib.asynccontextmanager
async def notifier(
    *ports: int,
    config: Mapping[str, Any] | None = None,
    accept_timeout: float = 20,
    reading: Mapping[str, str] | None = None,
) -> AsyncIterator[Notifier]:
    publisher = Publisher([address(port) for port in ports], SETTINGS, **(reading or {}))
    kind = Amqp10(publisher, "pulp", source="/pulpit/test", accept_timeout=accept_timeout)
    kind.check_config(config or {})
    opened = kind.open(config or {})
    try:
        yield opened
    finally:
        await opened.close()
        await kind.close()


def events(count: int, first: int = 1) -> list[Any]:
    return [event(number) for number in range(first, first + count)]


def numbers(messages: list[Message]) -> list[int]:
    return [one.application_properties["pulpit-number"] for one in messages]


def test_a_message_says_everything_about_its_event() -> None:
    async def story() -> None:
        async with peer() as broker, notifier(broker.port) as opened:
            fired = event()
            assert await opened.deliver([fired]) == [DELIVERED]
            (said,) = broker.messages
            assert said.body == fired.body.encode()
            assert said.subject == "pulp.server.repo.sync.finish"
            assert (said.message_id, said.content_type, said.durable) == (fired.id, "application/json", True)
            assert said.creation_time == round(fired.occurred_at.timestamp() * 1000)
            assert said.correlation_id is None or said.correlation_id.replace("-", "") in fired.traceparent
            own = said.application_properties
            assert (own["pulpit-number"], own["pulpit-repo-id"], own["pulpit-repo-number"]) == (1, "zoo", 1)
            assert own["traceparent"] == fired.traceparent
            assert (own["cloudEvents:id"], own["cloudEvents:source"]) == (fired.id, "/pulpit/test")
            assert (own["cloudEvents:type"], own["cloudEvents:specversion"]) == ("repo.sync.finish", "1.0")
            shown = opened.describe(fired)
            assert (shown["address"], shown["body"]) == ("pulp", fired.body)
            assert shown["properties"]["subject"] == "pulp.server.repo.sync.finish"

    run(story)


NOT_TAKEN = "The broker did not take the message"


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (ACCEPTED, Delivered, ""),
        (RELEASED, Retry, f"{NOT_TAKEN} (released)."),
        (Modified(failed=True), Retry, f"{NOT_TAKEN} (modified)."),
        (Rejected(), Retry, "The broker rejected the message."),
        (Rejected(Condition("amqp:resource-limit-exceeded", "full")), Retry, "full (amqp:resource-limit-exceeded)"),
        (Rejected(Condition("amqp:unauthorized-access")), Retry, "unauthorized-access"),
        (Rejected(Condition("amqp:precondition-failed")), Retry, "precondition-failed"),
        (Rejected(Condition(TOO_LARGE)), Refused, "message-size-exceeded"),
        (Rejected(Condition("amqp:decode-error")), Refused, "decode-error"),
        (Rejected(Condition("amqp:invalid-field", "no such")), Refused, "no such"),
    ],
    ids=repr,
)
def test_what_a_broker_answers_is_delivered_tried_again_or_put_aside(answer: Outcome, kind: type, words: str) -> None:
    def judge(number: int, _message: Message) -> Outcome:
        return answer if number == 2 else ACCEPTED

    async def story() -> None:
        async with peer(judge=judge) as broker, notifier(broker.port) as opened:
            outcomes = await opened.deliver(events(3))
            assert [type(one) for one in outcomes] == (
                [Delivered, kind] if kind is Retry else [Delivered, kind, Delivered]
            )
            assert words in getattr(outcomes[1], "reason", "")

    run(story)


@pytest.mark.parametrize("require", [True, False])
def test_released_means_no_queue_where_a_broker_is_known_to_mean_that(require: bool) -> None:
    async def story() -> None:
        config = {"exchange": "amq.topic", "require_route": require}  # of the broker, so it is not made over 0-9-1
        async with (
            peer(properties={"product": "RabbitMQ", "version": "4.1"}, judge=lambda *_: RELEASED) as broker,
            notifier(broker.port, config=config) as opened,
        ):
            (outcome,) = await opened.deliver(events(1))
            if require:
                assert outcome == Retry(reason="No queue is bound to amq.topic for pulp.server.repo.sync.finish.")
            else:
                assert outcome == DELIVERED

    run(story)


def test_a_route_cannot_be_required_of_a_broker_that_does_not_tell() -> None:
    async def story() -> None:
        async with peer() as broker, notifier(broker.port, config={"require_route": True}) as opened:
            (outcome,) = await opened.deliver(events(1))
            assert isinstance(outcome, Retry)
            assert "does not say over AMQP 1.0 whether a queue took a message" in outcome.reason
            assert broker.messages == []

    run(story)


@pytest.mark.parametrize(
    ("properties", "reading", "target", "to"),
    [
        ({"product": "qpid-cpp"}, {}, Terminus(address="a/b", capabilities=ON_DEMAND, properties=TOPIC), None),
        ({"product": "RabbitMQ", "version": "3.10.8"}, {}, Terminus(address="/exchange/a%2Fb"), None),
        ({}, {}, Terminus(address="a/b"), None),
        ({"product": "ActiveMQ"}, {"template": "topic://{exchange}"}, Terminus(address="topic://a/b"), None),
        ({}, {"template": "{exchange}.{subject}"}, Terminus(), "a/b.pulp.server.repo.sync.finish"),
        ({}, {"profile": "rabbitmq3"}, Terminus(address="/exchange/a%2Fb"), None),
    ],
    ids=repr,
)  # fmt: skip
def test_a_broker_is_addressed_as_it_understands_it(
    properties: dict[str, Any], reading: dict[str, str], target: Terminus, to: str | None
) -> None:
    async def story() -> None:
        config = {"exchange": "a/b"}
        async with (
            peer(properties=properties) as broker,
            notifier(broker.port, config=config, reading=reading) as opened,
        ):
            assert await opened.deliver(events(1)) == [DELIVERED]
            assert broker.targets == [target]
            assert broker.messages[0].to == to

    run(story)


def test_an_exchange_of_a_broker_is_not_asked_to_be_created() -> None:
    async def story() -> None:
        config = {"exchange": "amq.topic"}
        async with peer(properties={"product": "qpid-cpp"}) as broker, notifier(broker.port, config=config) as opened:
            await opened.prepare()
            assert broker.targets == [Terminus(address="amq.topic")]

    run(story)


def test_what_cannot_be_created_over_0_9_1_is_a_sentence_that_says_what_to_do() -> None:
    def attach(_target: Terminus) -> Condition:
        return Condition(NOT_FOUND, "no exchange")

    async def story() -> None:
        properties = {"product": "RabbitMQ", "version": "3.10.8"}
        async with peer(properties=properties, attach=attach) as broker, notifier(broker.port) as opened:
            (outcome,) = await opened.deliver(events(1))
            assert isinstance(outcome, Retry)
            assert f"The exchange pulp cannot be created at 127.0.0.1:{broker.port} over AMQP 0-9-1" in outcome.reason
            assert outcome.reason.endswith("; create it there, durable and of type topic.")

    run(story)


def test_a_link_that_is_refused_is_tried_again_and_says_why() -> None:
    async def story() -> None:
        refusal = Condition("amqp:unauthorized-access", "not you")
        async with peer(attach=lambda _: refusal) as broker, notifier(broker.port) as opened:
            (outcome,) = await opened.deliver(events(1))
            assert isinstance(outcome, Retry)
            assert "closed the link: not you (amqp:unauthorized-access)" in outcome.reason
            broker.attach = lambda _: None
            assert await opened.deliver(events(1)) == [DELIVERED]

    run(story)


@pytest.mark.parametrize("verdict", [HANG_UP, Condition("amqp:internal-error", "oops")], ids=["hang up", "detach"])
def test_a_broker_that_dies_or_detaches_in_mid_window_loses_nothing_and_keeps_the_order(verdict: Any) -> None:
    def judge(number: int, _message: Message) -> Any:
        return verdict if number == 301 else ACCEPTED

    async def story() -> None:
        async with peer(judge=judge) as broker, notifier(broker.port) as opened:
            waiting = [asyncio.create_task(opened.deliver(events(250, first))) for first in (1, 251)]
            outcomes = [one for answer in await asyncio.gather(*waiting) for one in answer]
            delivered = outcomes.count(DELIVERED)
            assert {type(one) for one in outcomes} <= {Delivered, Retry}
            assert delivered <= len(broker.taken) == 300
            rest = events(500 - delivered, delivered + 1)
            assert await opened.deliver(rest) == [DELIVERED] * len(rest)
            assert numbers(broker.taken[300:]) == [one.number for one in rest]
            assert sorted(set(numbers(broker.taken))) == list(range(1, 501))

    run(story)


def test_nothing_overtakes_a_message_whose_call_failed() -> None:
    def judge(number: int, _message: Message) -> Outcome | str:
        return HANG_UP if number == 1 else ACCEPTED

    async def story() -> None:
        async with peer(judge=judge, credit=1) as broker, notifier(broker.port) as opened:
            first = asyncio.create_task(opened.deliver(events(3)))
            second = asyncio.create_task(opened.deliver(events(3, 4)))
            (outcome,) = await first
            assert isinstance(outcome, Retry)
            assert await second == []
            assert numbers(broker.messages) == [1]

    run(story)


def test_a_broker_that_hangs_is_a_retry_and_the_next_one_is_tried() -> None:
    async def story() -> None:
        async with (
            peer(judge=lambda *_: SILENT) as hanging,
            peer() as working,
            notifier(hanging.port, working.port, accept_timeout=0.5) as opened,
        ):
            (outcome,) = await opened.deliver(events(3))
            assert isinstance(outcome, Retry)
            assert outcome.reason.endswith(f"127.0.0.1:{hanging.port} accepted nothing in time.")
            assert await opened.deliver(events(3)) == [DELIVERED] * 3
            assert numbers(working.taken) == [1, 2, 3]

    run(story)


def test_a_broker_that_gives_no_credit_delays_within_a_bounded_time() -> None:
    async def story() -> None:
        async with peer(credit=0) as broker, notifier(broker.port, accept_timeout=0.3) as opened:
            (outcome,) = await opened.deliver(events(3))
            assert isinstance(outcome, Retry)
            assert broker.messages == []

    run(story)


def test_of_several_brokers_the_next_is_tried() -> None:
    async def story() -> None:
        async with peer() as broker, notifier(free_port(), broker.port) as opened:
            (outcome,) = await opened.deliver(events(1))
            assert isinstance(outcome, Retry)
            assert "cannot be reached: Connection refused." in outcome.reason
            assert await opened.deliver(events(1)) == [DELIVERED]

    run(story)


def test_a_window_smaller_than_a_batch_is_filled_again_and_again() -> None:
    async def story() -> None:
        async with peer(credit=7) as broker, notifier(broker.port) as opened:
            assert await opened.deliver(events(100)) == [DELIVERED] * 100
            assert numbers(broker.taken) == list(range(1, 101))

    run(story)


def test_what_a_broker_is_known_not_to_take_is_put_aside_and_the_rest_delivered() -> None:
    async def story() -> None:
        async with peer(largest_message=3000) as broker, notifier(broker.port) as opened:
            big = event(2, body="x" * 5000)
            outcomes = await opened.deliver([event(1), big, event(3)])
            assert [type(one) for one in outcomes] == [Delivered, Refused, Delivered]
            assert numbers(broker.taken) == [1, 3]

    run(story)


def test_a_message_for_which_a_broker_detaches_is_found_and_put_aside() -> None:
    def judge(_number: int, message: Message) -> Outcome | Condition:
        too_large = message.application_properties["pulpit-number"] == 3
        return Condition(TOO_LARGE, "too large") if too_large else ACCEPTED

    async def story() -> None:
        async with peer(judge=judge) as broker, notifier(broker.port) as opened:
            left, refused = events(5), []
            for _ in range(20):
                outcomes = await opened.deliver(left)
                refused += [one.number for one, what in zip(left, outcomes, strict=False) if isinstance(what, Refused)]
                left = left[sum(not isinstance(what, Retry) for what in outcomes) :]
                if not left:
                    break
            assert refused == [3]
            assert list(dict.fromkeys(numbers(broker.taken))) == [1, 2, 4, 5]

    run(story)


def test_a_log_in_that_is_refused_is_said_without_the_password() -> None:
    async def story() -> None:
        async with peer(users={}) as broker, notifier(broker.port) as opened:
            (outcome,) = await opened.deliver(events(1))
            assert isinstance(outcome, Retry)
            assert outcome.reason == f"The broker at 127.0.0.1:{broker.port} cannot be used: The login was refused."

    run(story)


def test_an_idle_notifier_makes_the_exchange_again_when_a_broker_that_keeps_nothing_comes_back() -> None:
    """Subscribers can bind before the next event."""

    async def story() -> None:
        qpid: dict[str, Any] = {"properties": {"product": "qpid-cpp"}, "port": free_port()}
        async with peer(**qpid) as broker, notifier(broker.port) as opened:
            await opened.prepare()
            wanted = Terminus(address="pulp", capabilities=ON_DEMAND, properties=TOPIC)
            assert broker.targets == [wanted]
            await broker.stop()
            async with peer(**qpid) as again:
                while not again.targets:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.05)
                assert again.targets == [wanted]

    run(story)


def test_one_that_began_before_the_broker_makes_the_exchange_too() -> None:
    async def story() -> None:
        port = free_port()
        async with notifier(port) as opened:
            await opened.prepare()
            async with peer(port=port) as broker:
                while not broker.targets:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.05)

    run(story)
