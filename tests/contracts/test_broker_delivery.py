"""Publishing and consuming: contents, acknowledgements, order, prefetch, consumers, confirms, transactions, replies."""

import re
from typing import Any

import pytest
from pamqp import commands

from support.amqp import Content, Wire, refused
from support.waiting import until


def bodies(wire: Wire, count: int) -> list[bytes]:
    return [wire.content().body for _ in range(count)]


def test_a_message_arrives_as_it_was_sent(port: int) -> None:
    properties: dict[str, Any] = {
        "content_type": "text/plain",
        "content_encoding": "utf-8",
        "headers": {"text": "ü", "number": 5, "nested": {"list": [1, "two", None]}, "flag": True},
        "delivery_mode": 1,
        "priority": 3,
        "correlation_id": "correlation",
        "reply_to": "somewhere",
        "message_id": "message",
        "message_type": "type",
        "user_id": "guest",
        "app_id": "app",
    }
    with Wire(port) as wire:
        queue = wire.queue()
        wire.publish("grüße".encode(), queue, **properties)
        content = wire.get(queue)
        assert content
        assert content.body == "grüße".encode()
        assert {name: getattr(content.properties, name) for name in properties} == properties
        assert (content.method.exchange, content.method.routing_key) == ("", queue)


@pytest.mark.parametrize("size", [0, 1, 131_063, 131_064, 131_065, 1_000_000, 11_000_000])
def test_bodies_of_any_size(port: int, size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    with Wire(port) as wire:
        queue = wire.queue()
        wire.consume(queue, no_ack=True)
        wire.publish(body[:size], queue)
        assert wire.content().body == body[:size]


def test_deliveries_carry_consumer_tag_and_growing_delivery_tags(port: int) -> None:
    with Wire(port) as wire:
        queue = wire.queue()
        for number in range(3):
            wire.publish(b"%d" % number, queue)
        tag = wire.consume(queue, "mine")
        contents = [wire.content() for _ in range(3)]
        assert tag == "mine"
        assert {content.method.consumer_tag for content in contents} == {"mine"}
        assert [content.method.delivery_tag for content in contents] == [1, 2, 3]
        assert [content.method.redelivered for content in contents] == [False] * 3
        assert [content.body for content in contents] == [b"0", b"1", b"2"]


def test_the_broker_names_a_consumer(port: int) -> None:
    with Wire(port) as wire:
        assert wire.consume(wire.queue()).startswith("amq.ctag-")


def test_a_consumer_tag_cannot_be_used_twice(port: int) -> None:
    with Wire(port) as wire:
        wire.consume(wire.queue(), "mine")
        with refused(530, "NOT_ALLOWED - attempt to reuse consumer tag 'mine'", hard=True, cause=(60, 20)):
            wire.consume("", "mine")


def test_get_says_how_many_remain(port: int) -> None:
    with Wire(port) as wire:
        queue = wire.queue()
        assert wire.get(queue) is None
        wire.publish(b"1", queue)
        wire.publish(b"2", queue)
        content = wire.get(queue)
        assert content
        assert content.method.message_count == 1


def test_unacknowledged_messages_return_to_their_places_when_the_channel_closes(port: int) -> None:
    with Wire(port) as wire:
        queue = wire.queue()
        for number in range(5):
            wire.publish(b"%d" % number, queue)
        wire.open(2)
        wire.send(commands.Basic.Qos(0, 3), 2)
        wire.expect(commands.Basic.QosOk)
        wire.consume(queue, channel=2)
        assert bodies(wire, 3) == [b"0", b"1", b"2"]
        wire.send(commands.Basic.Ack(2), 2)
        assert bodies(wire, 1) == [b"3"]
        wire.call(commands.Channel.Close(200, "", 0, 0), 2, answer=commands.Channel.CloseOk)
        until(lambda: wire.ready(queue) == 4)
        contents = [wire.get(queue) for _ in range(4)]
        assert [(content.body, content.method.redelivered) for content in contents if content] == [
            (b"0", True),
            (b"2", True),
            (b"3", True),
            (b"4", False),
        ]


def test_unacknowledged_messages_return_when_the_connection_breaks(port: int) -> None:
    with Wire(port) as wire:
        name = f"broken-{id(wire)}"
        wire.declare(name, exclusive=False)
        wire.publish(b"x", name)
        with Wire(port) as other:
            other.consume(name)
            assert bodies(other, 1) == [b"x"]
        until(lambda: wire.ready(name) == 1)
        content = wire.get(name)
        assert content
        assert content.method.redelivered
        wire.call(commands.Queue.Delete(0, name))


def test_acknowledging_several_at_once(port: int) -> None:
    with Wire(port) as wire:
        queue = wire.queue()
        for number in range(5):
            wire.publish(b"%d" % number, queue)
        wire.consume(queue)
        bodies(wire, 5)
        wire.send(commands.Basic.Ack(3, True))
        wire.call(commands.Basic.Cancel(""), answer=commands.Basic.CancelOk)
        wire.call(commands.Channel.Close(200, "", 0, 0), answer=commands.Channel.CloseOk)
        wire.open(1)
        until(lambda: wire.ready(queue) == 2)
        assert wire.drain(queue) == [b"3", b"4"]


def test_tag_zero_with_multiple_is_everything(port: int) -> None:
    with Wire(port) as wire:
        queue = wire.queue()
        for _ in range(3):
            wire.publish(b"x", queue)
            wire.get(queue, no_ack=False)
        wire.send(commands.Basic.Ack(0, True))
        wire.call(commands.Basic.Recover(True), answer=commands.Basic.RecoverOk)
        assert wire.drain(queue) == []


@pytest.mark.parametrize(
    ("method", "cause"),
    [
        (commands.Basic.Ack(7), (60, 80)),
        (commands.Basic.Ack(7, True), (60, 80)),
        (commands.Basic.Ack(0), (60, 80)),
        (commands.Basic.Nack(7), (60, 120)),
        (commands.Basic.Reject(7), (60, 90)),
    ],
)
def test_an_unknown_delivery_tag_is_refused(port: int, method: object, cause: tuple[int, int]) -> None:
    with Wire(port) as wire, refused(406, "PRECONDITION_FAILED - unknown delivery tag", cause=cause):
        wire.call(method)


def test_a_tag_cannot_be_acknowledged_twice(port: int) -> None:
    with Wire(port) as wire:
        queue = wire.queue()
        wire.publish(b"x", queue)
        wire.get(queue, no_ack=False)
        wire.send(commands.Basic.Ack(1))
        with refused(406, "unknown delivery tag 1"):
            wire.call(commands.Basic.Ack(1))


@pytest.mark.parametrize("method", [commands.Basic.Reject(1, True), commands.Basic.Nack(1, False, True)])
def test_a_requeued_message_comes_again_marked(port: int, method: object) -> None:
    with Wire(port) as wire:
        queue = wire.queue()
        wire.publish(b"1", queue)
        wire.publish(b"2", queue)
        wire.get(queue, no_ack=False)
        wire.send(method)
        contents = [wire.get(queue), wire.get(queue)]
        assert [(content.body, content.method.redelivered) for content in contents if content] == [
            (b"1", True),
            (b"2", False),
        ]


@pytest.mark.parametrize("method", [commands.Basic.Reject(1, False), commands.Basic.Nack(1, False, False)])
def test_a_rejected_message_is_gone(port: int, method: object) -> None:
    with Wire(port) as wire:
        queue = wire.queue()
        wire.publish(b"1", queue)
        wire.get(queue, no_ack=False)
        wire.send(method)
        assert wire.drain(queue) == []


def test_nack_of_several_puts_them_back_in_order(port: int) -> None:
    with Wire(port) as wire:
        queue = wire.queue()
        for number in range(4):
            wire.publish(b"%d" % number, queue)
            wire.get(queue, no_ack=False)
        wire.publish(b"4", queue)
        wire.send(commands.Basic.Nack(3, True, True))
        assert wire.drain(queue) == [b"0", b"1", b"2", b"4"]


def test_recover_puts_everything_back(port: int) -> None:
    with Wire(port) as wire:
        queue = wire.queue()
        for number in range(3):
            wire.publish(b"%d" % number, queue)
            wire.get(queue, no_ack=False)
        wire.call(commands.Basic.Recover(True), answer=commands.Basic.RecoverOk)
        assert wire.drain(queue) == [b"0", b"1", b"2"]


def test_recover_is_answered_before_it_delivers_again(port: int) -> None:
    with Wire(port) as wire:
        queue = wire.queue()
        wire.consume(queue)
        wire.publish(b"x", queue)
        assert bodies(wire, 1) == [b"x"]
        wire.send(commands.Basic.Recover(True))
        wire.expect(commands.Basic.RecoverOk)
        again = wire.content()
        assert (again.method.delivery_tag, again.method.redelivered) == (2, True)


def test_recover_to_the_same_consumer_is_refused(port: int) -> None:
    with Wire(port) as wire, refused(540, "NOT_IMPLEMENTED - requeue=false", hard=True):
        wire.call(commands.Basic.Recover(False))


def test_prefetch_limits_each_consumer(port: int) -> None:
    with Wire(port) as wire:
        queue = wire.queue()
        wire.call(commands.Basic.Qos(0, 2), answer=commands.Basic.QosOk)
        wire.consume(queue, "one")
        for number in range(5):
            wire.publish(b"%d" % number, queue)
        assert bodies(wire, 2) == [b"0", b"1"]
        assert wire.silent()
        wire.send(commands.Basic.Ack(1))
        assert bodies(wire, 1) == [b"2"]
        wire.consume(queue, "two")
        assert bodies(wire, 2) == [b"3", b"4"]


def test_a_global_prefetch_limits_the_channel(port: int) -> None:
    with Wire(port) as wire:
        one, two = wire.queue(), wire.queue()
        wire.call(commands.Basic.Qos(0, 2, True), answer=commands.Basic.QosOk)
        wire.consume(one)
        wire.consume(two)
        for _ in range(3):
            wire.publish(b"x", one)
            wire.publish(b"x", two)
        bodies(wire, 2)
        assert wire.silent()
        wire.send(commands.Basic.Ack(2, True))
        bodies(wire, 2)
        assert wire.silent()


def test_prefetch_does_not_hold_back_those_who_do_not_acknowledge(port: int) -> None:
    with Wire(port) as wire:
        queue = wire.queue()
        wire.call(commands.Basic.Qos(0, 1), answer=commands.Basic.QosOk)
        wire.consume(queue, no_ack=True)
        for _ in range(5):
            wire.publish(b"x", queue)
        bodies(wire, 5)


def test_a_prefetch_in_bytes_is_not_offered(port: int) -> None:
    with Wire(port) as wire, refused(540, "NOT_IMPLEMENTED - prefetch_size!=0 (10)", hard=True, cause=(60, 10)):
        wire.call(commands.Basic.Qos(10, 0))


def test_consumers_take_turns(port: int) -> None:
    with Wire(port) as wire:
        queue = wire.queue()
        wire.consume(queue, "a", no_ack=True)
        wire.consume(queue, "b", no_ack=True)
        for _ in range(6):
            wire.publish(b"x", queue)
        tags = [wire.content().method.consumer_tag for _ in range(6)]
        assert tags in (["a", "b"] * 3, ["b", "a"] * 3)


def test_a_consumer_with_a_higher_priority_comes_first(port: int) -> None:
    with Wire(port) as wire:
        queue = wire.queue()
        wire.call(commands.Basic.Qos(0, 2), answer=commands.Basic.QosOk)
        wire.consume(queue, "low", arguments={"x-priority": -1})
        wire.consume(queue, "high", arguments={"x-priority": 10})
        wire.consume(queue, "normal")
        for _ in range(6):
            wire.publish(b"x", queue)
        assert [wire.content().method.consumer_tag for _ in range(6)] == ["high"] * 2 + ["normal"] * 2 + ["low"] * 2


def test_a_wrong_consumer_priority_is_refused(port: int) -> None:
    with Wire(port) as wire, refused(406, "invalid arg 'x-priority'", cause=(60, 20)):
        wire.consume(wire.queue(), arguments={"x-priority": "high"})


def test_an_exclusive_consumer_is_alone(port: int) -> None:
    with Wire(port) as wire:
        queue = wire.queue()
        wire.consume(queue, exclusive=True)
        wire.open(2)
        with refused(403, f"ACCESS_REFUSED - queue '{queue}' in vhost '/' in exclusive use", cause=(60, 20)):
            wire.consume(queue, channel=2)
    with Wire(port) as wire:
        queue = wire.queue()
        wire.consume(queue)
        with refused(403, "in exclusive use"):
            wire.consume(queue, exclusive=True)


def test_a_cancelled_consumer_gets_nothing_more_but_may_still_acknowledge(port: int) -> None:
    with Wire(port) as wire:
        queue = wire.queue()
        wire.publish(b"1", queue)
        tag = wire.consume(queue)
        bodies(wire, 1)
        assert wire.call(commands.Basic.Cancel(tag), answer=commands.Basic.CancelOk).consumer_tag == tag
        wire.publish(b"2", queue)
        assert wire.silent()
        wire.send(commands.Basic.Ack(1))
        assert wire.drain(queue) == [b"2"]


def test_cancelling_an_unknown_consumer_is_no_error(port: int) -> None:
    with Wire(port) as wire:
        assert wire.call(commands.Basic.Cancel("none"), answer=commands.Basic.CancelOk).consumer_tag == "none"


def test_an_exclusive_consumer_does_not_fit_to_a_single_active_one(port: int) -> None:
    with Wire(port) as wire:
        queue = wire.queue(arguments={"x-single-active-consumer": True})
        with refused(403, "in exclusive use", cause=(60, 20)):
            wire.consume(queue, exclusive=True)


def test_only_one_consumer_is_active_where_that_was_asked_for(port: int) -> None:
    with Wire(port) as wire:
        queue = wire.queue(arguments={"x-single-active-consumer": True})
        wire.consume(queue, "first", no_ack=True)
        wire.consume(queue, "second", no_ack=True)
        for _ in range(3):
            wire.publish(b"x", queue)
        assert [wire.content().method.consumer_tag for _ in range(3)] == ["first"] * 3
        wire.call(commands.Basic.Cancel("first"), answer=commands.Basic.CancelOk)
        wire.publish(b"x", queue)
        assert wire.content().method.consumer_tag == "second"


def test_an_unroutable_mandatory_message_comes_back(port: int) -> None:
    with Wire(port) as wire:
        wire.publish(b"x", "nowhere", mandatory=True, message_id="5")
        content = wire.content(commands.Basic.Return)
        assert (content.method.reply_code, content.method.reply_text) == (312, "NO_ROUTE")
        assert (content.method.exchange, content.method.routing_key) == ("", "nowhere")
        assert (content.body, content.properties.message_id) == (b"x", "5")


def test_an_immediate_message_is_not_offered(port: int) -> None:
    with Wire(port) as wire:
        wire.publish(b"x", wire.queue(), immediate=True)
        with refused(540, "NOT_IMPLEMENTED - immediate=true", hard=True, cause=(60, 40)):
            wire.expect(commands.Basic.Ack)


def test_somebody_elses_user_id_is_refused(port: int) -> None:
    with Wire(port) as wire:
        wire.publish(b"x", wire.queue(), user_id="somebody")
        with refused(406, "user_id property set to 'somebody' but authenticated user was 'guest'", cause=(60, 40)):
            wire.expect(commands.Basic.Ack)


def confirmed(wire: Wire, up_to: int) -> set[int]:
    """Collect acks until all publishes are answered."""
    seen: set[int] = set()
    while len(seen) < up_to:
        answer = wire.expect(commands.Basic.Ack)
        seen |= set(range(1, answer.delivery_tag + 1)) if answer.multiple else {answer.delivery_tag}
    return seen


@pytest.mark.parametrize("mode", [1, 2])
def test_publishes_are_confirmed(port: int, mode: int) -> None:
    with Wire(port) as wire:
        name = f"confirmed-{mode}-{id(wire)}"
        wire.declare(name, exclusive=False, durable=True)
        wire.call(commands.Confirm.Select(), answer=commands.Confirm.SelectOk)
        wire.call(commands.Confirm.Select(), answer=commands.Confirm.SelectOk)
        for _ in range(100):
            wire.publish(b"x", name, delivery_mode=mode)
        assert confirmed(wire, 100) == set(range(1, 101))
        assert wire.call(commands.Queue.Delete(0, name)).message_count == 100


def test_an_unroutable_publish_is_confirmed_after_its_return(port: int) -> None:
    with Wire(port) as wire:
        wire.call(commands.Confirm.Select(), answer=commands.Confirm.SelectOk)
        wire.publish(b"x", "nowhere", mandatory=True)
        wire.content(commands.Basic.Return)
        assert wire.expect(commands.Basic.Ack).delivery_tag == 1
        wire.publish(b"x", "nowhere")
        assert wire.expect(commands.Basic.Ack).delivery_tag == 2


def test_a_transaction_publishes_and_acknowledges_at_commit(port: int) -> None:
    with Wire(port) as wire:
        queue = wire.queue()
        wire.publish(b"old", queue)
        wire.call(commands.Tx.Select(), answer=commands.Tx.SelectOk)
        wire.get(queue, no_ack=False)
        wire.send(commands.Basic.Ack(1))
        wire.publish(b"new", queue)
        assert wire.ready(queue) == 0
        wire.call(commands.Tx.Commit(), answer=commands.Tx.CommitOk)
        assert wire.drain(queue) == [b"new"]


def test_a_rolled_back_transaction_did_nothing(port: int) -> None:
    with Wire(port) as wire:
        queue = wire.queue()
        wire.publish(b"old", queue)
        wire.call(commands.Tx.Select(), answer=commands.Tx.SelectOk)
        wire.get(queue, no_ack=False)
        wire.send(commands.Basic.Ack(1))
        wire.publish(b"new", queue)
        wire.call(commands.Tx.Rollback(), answer=commands.Tx.RollbackOk)
        wire.call(commands.Tx.Commit(), answer=commands.Tx.CommitOk)
        assert wire.ready(queue) == 0
        wire.send(commands.Basic.Ack(1))
        wire.call(commands.Tx.Commit(), answer=commands.Tx.CommitOk)
        assert wire.drain(queue) == []


def test_a_transaction_returns_mandatory_messages_at_commit(port: int) -> None:
    with Wire(port) as wire:
        wire.call(commands.Tx.Select(), answer=commands.Tx.SelectOk)
        wire.publish(b"x", "nowhere", mandatory=True)
        assert wire.silent()
        wire.send(commands.Tx.Commit())
        assert wire.content(commands.Basic.Return).body == b"x"
        wire.expect(commands.Tx.CommitOk)


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        (None, commands.Tx.Commit(), "channel is not transactional"),
        (None, commands.Tx.Rollback(), "channel is not transactional"),
        (commands.Tx.Select(), commands.Confirm.Select(), "cannot switch from tx to confirm mode"),
        (commands.Confirm.Select(), commands.Tx.Select(), "cannot switch from confirm to tx mode"),
    ],
)
def test_modes_exclude_each_other(port: int, first: object, second: object, text: str) -> None:
    with Wire(port) as wire:
        if first is not None:
            wire.call(first)
        with refused(406, f"PRECONDITION_FAILED - {text}"):
            wire.call(second)


def test_answers_go_straight_back_to_the_asker(port: int) -> None:
    with Wire(port) as asker, Wire(port) as helper:
        asker.consume("amq.rabbitmq.reply-to", no_ack=True)
        queue = helper.queue()
        helper.consume(queue, no_ack=True)
        asker.publish(b"question", queue, reply_to="amq.rabbitmq.reply-to", correlation_id="7")
        question = helper.content()
        address = str(question.properties.reply_to)
        assert re.fullmatch(r"amq\.rabbitmq\.reply-to\.[^.]+\.[^.]+==", address)
        helper.publish(b"answer", address, correlation_id="7", mandatory=True)
        answer: Content = asker.content()
        assert (answer.body, answer.properties.correlation_id) == (b"answer", "7")
        assert (answer.method.exchange, answer.method.routing_key) == ("", address)


def test_an_answer_to_one_who_is_gone_comes_back(port: int) -> None:
    with Wire(port) as wire:
        wire.publish(b"x", "amq.rabbitmq.reply-to.nobody", mandatory=True)
        assert wire.content(commands.Basic.Return).method.reply_code == 312


def test_asking_needs_a_consumer_that_does_not_acknowledge(port: int) -> None:
    with Wire(port) as wire, refused(406, "fast reply consumer does not exist", cause=(60, 40)):
        wire.publish(b"x", wire.queue(), reply_to="amq.rabbitmq.reply-to")
        wire.expect(commands.Basic.Ack)
    with Wire(port) as wire, refused(406, "reply consumer cannot acknowledge", cause=(60, 20)):
        wire.consume("amq.rabbitmq.reply-to")
    with Wire(port) as wire, refused(406, "reply consumer already set", cause=(60, 20)):
        wire.consume("amq.rabbitmq.reply-to", no_ack=True)
        wire.consume("amq.rabbitmq.reply-to", no_ack=True)


def test_the_name_of_direct_replies_can_be_asked_for(port: int) -> None:
    with Wire(port) as wire:
        said = wire.declare("amq.rabbitmq.reply-to", exclusive=False, passive=True)
        assert (said.queue, said.message_count, said.consumer_count) == ("amq.rabbitmq.reply-to", 0, 1)
        with refused(404, "NOT_FOUND - no queue 'amq.rabbitmq.reply-to.nobody' in vhost '/'"):
            wire.declare("amq.rabbitmq.reply-to.nobody", exclusive=False)


def test_a_global_prefetch_does_not_hold_back_those_who_do_not_acknowledge(port: int) -> None:
    with Wire(port) as wire:
        queue = wire.queue()
        wire.call(commands.Basic.Qos(0, 1, True), answer=commands.Basic.QosOk)
        wire.consume(queue, no_ack=True)
        for _ in range(5):
            wire.publish(b"x", queue)
        assert bodies(wire, 5) == [b"x"] * 5


def test_a_publish_to_a_missing_exchange_is_refused_before_the_commit(port: int) -> None:
    with Wire(port) as wire:
        wire.call(commands.Tx.Select(), answer=commands.Tx.SelectOk)
        wire.publish(b"x", "k", exchange="none")
        with refused(404, "no exchange 'none' in vhost '/'", cause=(60, 40)):
            wire.expect(commands.Basic.Ack)
