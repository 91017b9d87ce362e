"""Links of AMQP 1.0: credit, settlement, outcomes, drain, refusals and ends, as a client's engine sees them."""

from typing import Any

import pytest
from pamqp import commands

from pulpit.amqp.amqp10 import message
from pulpit.amqp.amqp10.codec import Described, Symbol
from pulpit.amqp.amqp10.engine import Engine, Setup
from pulpit.amqp.amqp10.events import SessionEnded
from pulpit.amqp.amqp10.message import Message
from pulpit.amqp.amqp10.words import ACCEPTED, RELEASED, TOPIC_FILTER, Condition, Modified, Outcome, Rejected, Terminus
from pulpit.broker.dialect10.links import MAX_LINKS
from pulpit.broker.dialect10.receiving import WINDOW
from pulpit.broker.permissions import Grant
from support.amqp10 import needs_amqp10
from support.broker_box import Box
from support.broker_box10 import Box10Client, Restricted

pytestmark = needs_amqp10

PATTERN = Described(Symbol(TOPIC_FILTER), "pulp.server.repo.*.finish")


def text(body: bytes, **properties: object) -> bytes:
    """A message, encoded."""
    return message.encode(Message(body=body, **properties))  # type: ignore[arg-type]


def declared(box: Box, name: str = "q", **flags: Any) -> str:
    """Declare a queue by the other dialect, in a connection that stays."""
    box.client().send(commands.Queue.Declare(0, name, **flags))
    return name


def frames(data: bytes) -> list[bytes]:
    """Cut bytes into frames."""
    found = []
    while data:
        size = int.from_bytes(data[:4], "big")
        found.append(data[:size])
        data = data[size:]
    return found


# -- sending to the broker


def test_a_sender_gets_credit_and_a_message_an_outcome() -> None:
    client = Box10Client(Box())
    declared(client.box)
    link = client.sender("q")
    assert link.credit == WINDOW
    link.send(text(b"1"))
    assert client.outcomes(link) == [ACCEPTED]
    assert len(client.box.house.hosts["/"].queues["q"]) == 1


def test_credit_comes_again_when_half_of_it_is_used() -> None:
    client = Box10Client(Box())
    declared(client.box)
    link = client.sender("q")
    for _ in range(WINDOW // 2 - 1):
        link.send(text(b"x"))
    client.talk()
    assert link.credit == WINDOW // 2 + 1
    link.send(text(b"x"))
    client.talk()
    assert link.credit == WINDOW


def test_credit_is_withheld_while_memory_or_disk_are_short() -> None:
    client = Box10Client(Box())
    declared(client.box)
    client.box.house.alarm = "low on disk"
    link = client.sender("q")
    assert link.credit == 0
    client.box.house.alarm = ""
    client.connection.unblock()
    client.talk()
    assert link.credit == WINDOW


def test_large_messages_get_less_credit() -> None:
    client = Box10Client(Box(memory_limit=3_200_000))
    declared(client.box)
    link = client.sender("q")
    assert link.credit == 24
    for _ in range(80):
        link.send(text(b"x" * 60_000))
        client.talk()
    assert link.credit == 1


def test_a_client_that_publishes_when_memory_is_long_gone_is_not_read() -> None:
    client = Box10Client(Box(memory_limit=1_000_000))
    declared(client.box)
    link = client.sender("q")
    client.box.house.alarm = "low on memory"
    blocked = []
    for used in (0, 2_000_000):
        client.box.house.store.memory.used = used
        link.send(text(b"x"))
        client.talk()
        blocked.append(client.connection.blocked)
    assert blocked == [False, True]
    client.box.house.alarm = ""
    client.connection.unblock()
    assert not client.connection.blocked


def test_a_message_that_goes_nowhere_is_released() -> None:
    client = Box10Client(Box())
    link = client.sender("amq.topic")
    link.send(text(b"x", subject="nobody.listens"))
    assert client.outcomes(link) == [RELEASED]


def test_a_message_for_a_full_queue_is_rejected() -> None:
    client = Box10Client(Box())
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
    declared(client.box, arguments=arguments)
    link = client.sender("q")
    for _ in range(2):
        link.send(text(b"x"))
    first, second = client.outcomes(link)
    assert first == ACCEPTED
    assert second == Rejected(Condition("amqp:resource-limit-exceeded", "a queue is full"))


def test_what_is_settled_already_gets_no_answer() -> None:
    client = Box10Client(Box())
    declared(client.box)
    link = client.sender("q")
    link.send(text(b"x"), settled=True)
    assert client.outcomes(link) == []
    assert len(client.box.house.hosts["/"].queues["q"]) == 1


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x00\x53\x75\xa0\xff", b"\x00\x53\x10\xc0\x01\x00", b"\xa1\x01x"])
def test_what_is_no_message_is_rejected_alone(data: bytes) -> None:
    client = Box10Client(Box())
    declared(client.box)
    link = client.sender("q")
    for each in (data, text(b"good")):
        link.send(each or b"\x00")
    bad, good = client.outcomes(link)
    assert isinstance(bad, Rejected)
    assert bad.condition
    assert bad.condition.name == "amqp:decode-error"
    assert good == ACCEPTED


def test_properties_that_are_too_large_are_rejected() -> None:
    client = Box10Client(Box())
    declared(client.box)
    link = client.sender("q")
    link.send(text(b"x", application_properties={"much": "x" * 70_000}))
    (outcome,) = client.outcomes(link)
    assert isinstance(outcome, Rejected)
    assert outcome.condition
    assert outcome.condition.name == "amqp:precondition-failed"


def test_a_message_that_is_too_large_ends_the_link() -> None:
    client = Box10Client(Box(max_message_size=100_000))
    declared(client.box)
    link = client.sender("q")
    assert link.largest_message == 100_000
    link.send(text(b"x" * 100_001))
    condition = client.detached(link)
    assert condition
    assert condition.name == "amqp:link:message-size-exceeded"
    assert not client.is_over


def test_messages_that_never_come_whole_are_counted_and_limited() -> None:
    client = Box10Client(Box(max_message_size=200_000))
    declared(client.box)
    session = client.session()
    links = [client.sender("q", session=session, name=f"out{number}") for number in range(2)]
    memory = client.box.house.store.memory
    for link in links:
        assert memory.used < 200_000
        link.send(text(b"x" * 150_000))
        client.raw(b"".join(frames(client.engine.take_output())[:-1]))
    client.talk()
    assert client.connection.state != "running"
    condition = client.closed()
    assert condition
    assert condition.name == "amqp:resource-limit-exceeded"
    assert memory.used == 0


def test_what_came_of_a_message_is_given_back_however_the_connection_ends() -> None:
    for end in ("shut", "garbage", "both", "lost"):
        client = Box10Client(Box())
        declared(client.box)
        client.sender("q").send(text(b"x" * 150_000))
        client.raw(b"".join(frames(client.engine.take_output())[:-1]))
        assert client.box.house.store.memory.used > 100_000
        if end in ("shut", "both"):
            client.connection.shut(320, "shutdown")
            client.take()
        if end in ("garbage", "both"):
            client.raw(b"\x00\x00\x00\x01garbage")
        client.take()
        client.connection.lost()
        assert client.box.house.store.memory.used == 0, end


def test_somebody_elses_user_id_is_rejected() -> None:
    client = Box10Client(Box())
    declared(client.box)
    link = client.sender("q")
    link.send(text(b"x", user_id=b"guest"))
    link.send(text(b"x", user_id=b"root"))
    first, second = client.outcomes(link)
    assert first == ACCEPTED
    assert isinstance(second, Rejected)
    assert second.condition
    assert second.condition.name == "amqp:unauthorized-access"


def test_a_sender_without_a_target_says_in_each_message_where_it_goes() -> None:
    client = Box10Client(Box())
    declared(client.box)
    link = client.sender(Terminus())
    for to in ("q", "/queues/q", "/exchanges/amq.default/q", "/queues/none", "/nonsense", None):
        link.send(text(b"x", to=to))
    outcomes = client.outcomes(link)
    assert outcomes[:3] == [ACCEPTED] * 3
    names = [one.condition.name for one in outcomes[3:] if isinstance(one, Rejected) and one.condition]
    assert names == ["amqp:not-found", "amqp:invalid-field", "amqp:invalid-field"]


def test_an_exchange_that_goes_away_ends_the_link() -> None:
    client = Box10Client(Box())
    other = client.box.client()
    other.send(commands.Exchange.Declare(0, "x", "topic"))
    link = client.sender("x")
    other.send(commands.Exchange.Delete(0, "x"))
    link.send(text(b"x"))
    assert client.refused(link) == "amqp:not-found"


def test_a_dynamic_target_is_a_queue_of_the_connection() -> None:
    client = Box10Client(Box())
    link = client.sender(Terminus(dynamic=True))
    assert link.target
    link.send(text(b"x"))
    assert client.outcomes(link) == [ACCEPTED]
    assert len(client.box.house.hosts["/"].queues[str(link.target.address)]) == 1
    client.engine.close()
    client.talk()
    assert client.box.house.hosts["/"].queues == {}


# -- receiving from the broker


def filled(client: Box10Client, *bodies: bytes, name: str = "q", **flags: Any) -> None:
    other = client.box.client()
    other.send(commands.Queue.Declare(0, name, **flags))
    for body in bodies:
        other.publish(body, name)


def bodies(messages: list[bytes]) -> list[object]:
    return [message.decode(each).body for each in messages]


def test_no_more_comes_than_there_is_credit_for() -> None:
    client = Box10Client(Box())
    filled(client, b"1", b"2", b"3")
    link = client.receiver("q", credit=2)
    assert bodies(client.arrived(link)) == [b"1", b"2"]
    link.grant(5)
    assert bodies(client.arrived(link)) == [b"3"]


def test_frames_are_no_larger_than_the_client_takes_them() -> None:
    client = Box10Client(Box(), largest_frame=512)
    filled(client, b"x" * 5000)
    client.said = b""
    assert bodies(client.arrived(client.receiver("q", credit=1))) == [b"x" * 5000]
    assert max(map(len, frames(client.said))) <= 512


@pytest.mark.parametrize("single", [False, True])
def test_a_message_that_is_too_large_for_a_client_stays_and_ends_the_link(single: bool) -> None:
    client = Box10Client(Box())
    filled(client, b"x", b"x" * 5000, b"y", arguments={"x-single-active-consumer": single})
    link = client.engine.receiver(client.session(), "small")
    link.attach(source=Terminus(address="q"), target=Terminus(), largest_message=1000)
    link.grant(10)
    client.talk()
    assert len(client.arrived(link)) == 1
    assert client.refused(link) == "amqp:link:message-size-exceeded"
    queue = client.box.house.hosts["/"].queues["q"]
    assert (len(queue), queue.unacknowledged, queue.consumers) == (3, 0, [])
    again = client.receiver("q", credit=5, name="large")
    assert [len(each) for each in map(bytes, bodies(client.arrived(again)))] == [1, 5000, 1]  # type: ignore[arg-type]


def test_drain_gives_credit_back_after_what_there_was() -> None:
    client = Box10Client(Box())
    filled(client, b"1")
    link = client.receiver("q", credit=5)
    assert len(client.arrived(link)) == 1
    link.drain()
    client.talk()
    assert link.credit == 0
    filled(client, b"2")
    assert client.arrived(link) == []
    link.grant(1)
    assert bodies(client.arrived(link)) == [b"2"]


@pytest.mark.parametrize(
    ("outcome", "ready", "redelivered", "failures"),
    [
        (ACCEPTED, 0, None, None),
        (Rejected(), 0, None, None),
        (RELEASED, 1, True, 0),
        (Modified(failed=True), 1, True, 1),
        (Modified(), 1, True, 0),
        (Modified(failed=True, undeliverable=True), 0, None, None),
    ],
    ids=repr,
)
def test_what_a_client_says_of_a_message_is_done(
    outcome: Outcome, ready: int, redelivered: bool | None, failures: int | None
) -> None:
    client = Box10Client(Box())
    filled(client, b"1")
    link = client.receiver("q", credit=1)
    (arrived,) = client.arrived(link)
    first = message.decode(arrived)
    assert (first.first_acquirer, first.delivery_count) == (True, 0)
    link.settle(1, outcome)
    client.talk()
    queue = client.box.house.hosts["/"].queues["q"]
    assert (len(queue), queue.unacknowledged) == (ready, 0)
    if ready:
        link.grant(1)
        again = message.decode(client.arrived(link)[0])
        assert (not again.first_acquirer, again.delivery_count) == (redelivered, failures)


@pytest.mark.parametrize("outcome", [Rejected(), Modified(undeliverable=True)], ids=repr)
def test_what_nobody_wants_goes_to_the_dead_letters(outcome: Outcome) -> None:
    client = Box10Client(Box())
    declared(client.box, "dead")
    declared(client.box, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"})
    sender = client.sender("q")
    sender.send(text(b"bad", application_properties={"a": 1}, ttl=60_000))
    link = client.receiver("q", credit=1)
    client.arrived(link)
    link.settle(1, outcome)
    dead = client.receiver("dead", credit=1, name="dead")
    (arrived,) = client.arrived(dead)
    found = message.decode(arrived)
    assert found.body == b"bad"
    assert found.application_properties == {"a": 1}
    assert found.annotations["x-first-death-reason"] == "rejected"
    assert found.annotations["x-death"][0]["queue"] == "q"
    assert found.ttl is None


def test_messages_that_are_sent_settled_are_gone() -> None:
    client = Box10Client(Box())
    filled(client, b"1")
    link = client.receiver("q", credit=1, settled=True)
    assert bodies(client.arrived(link)) == [b"1"]
    queue = client.box.house.hosts["/"].queues["q"]
    assert (len(queue), queue.unacknowledged, queue.acknowledged) == (0, 0, 1)


def test_what_a_link_holds_comes_back_when_it_ends() -> None:
    client = Box10Client(Box())
    filled(client, b"1", b"2")
    link = client.receiver("q", credit=2)
    assert len(client.arrived(link)) == 2
    link.detach()
    client.talk()
    queue = client.box.house.hosts["/"].queues["q"]
    assert (len(queue), queue.unacknowledged, queue.consumers) == (2, 0, [])
    again = message.decode(client.arrived(client.receiver("q", credit=1, name="again"))[0])
    assert (again.body, again.first_acquirer, again.delivery_count) == (b"1", False, 1)


def test_two_links_take_turns() -> None:
    client = Box10Client(Box())
    filled(client)
    links = [client.receiver("q", credit=10, name=name) for name in ("one", "two")]
    filled(client, b"1", b"2", b"3", b"4")
    client.talk()
    taken = client.take_events(object)
    assert sorted(getattr(event, "link", None) is links[0] for event in taken if hasattr(event, "message")) == [
        False, False, True, True,
    ]  # fmt: skip


def test_a_queue_that_is_deleted_ends_the_link() -> None:
    client = Box10Client(Box())
    filled(client, b"1")
    link = client.receiver("q", credit=1)
    client.arrived(link)
    client.box.client().send(commands.Queue.Delete(0, "q"))
    assert client.refused(link) == "amqp:resource-deleted"
    assert client.box.house.store.memory.used == 0


def test_a_peer_that_opens_no_window_is_not_fed() -> None:
    client = Box10Client(Box())
    filled(client, *[b"x" * 10_000] * 200)
    client.receiver("q", credit=1000)
    queue = client.box.house.hosts["/"].queues["q"]
    assert len(queue) == 0
    client.engine.take_output()
    filled(client, *[b"x" * 10_000] * 200)
    assert queue.unacknowledged < 300  # nothing was fetched by the rim, so only a piece of it was handed to the engine
    client.talk()
    assert (len(queue), queue.unacknowledged) == (0, 400)


def test_a_peer_that_reads_nothing_is_waited_for_without_work() -> None:
    client = Box10Client(Box())
    filled(client, *[b"x" * 1000] * 5)
    client.receiver("q", credit=2)
    client.connection.outbox.peer_reads(reads=False)
    client.engine.tick(1)
    link = client.receiver("q", credit=10, name="stuck")
    woken: list[None] = []
    client.connection.outbox._wake = lambda: woken.append(None)  # type: ignore[misc]
    for _ in range(5):
        client.take()
    assert len(woken) <= 1
    client.connection.outbox.peer_reads(reads=True)
    assert len(client.arrived(link)) == 3


def test_a_dynamic_source_goes_with_its_link() -> None:
    client = Box10Client(Box())
    link = client.receiver(Terminus(dynamic=True))
    assert len(client.box.house.hosts["/"].queues) == 1
    link.detach()
    client.talk()
    assert client.box.house.hosts["/"].queues == {}


def test_a_queue_that_somebody_has_to_himself_is_locked() -> None:
    client = Box10Client(Box())
    other = client.box.client()
    other.send(commands.Queue.Declare(0, "q"))
    other.send(commands.Basic.Consume(0, "q", exclusive=True))
    assert client.refused(client.receiver("q")) == "amqp:resource-locked"


# -- what addresses name


def test_a_topic_filter_decides_what_comes() -> None:
    client = Box10Client(Box())
    link = client.receiver(Terminus(address="amq.topic", filters={"f": PATTERN}), credit=10)
    assert link.source
    assert link.source.filters == {"f": PATTERN}
    sender = client.sender("amq.topic")
    for subject in ("pulp.server.repo.sync.finish", "pulp.server.repo.sync.start", "pulp.server.repo.publish.finish"):
        sender.send(text(subject.encode(), subject=subject))
    assert bodies(client.arrived(link)) == [b"pulp.server.repo.sync.finish", b"pulp.server.repo.publish.finish"]


def test_a_filter_that_is_not_known_is_not_said_to_be_obeyed() -> None:
    client = Box10Client(Box())
    selector = Described(Symbol("apache.org:selector-filter:string"), "a = 1")
    link = client.receiver(Terminus(address="amq.fanout", filters={"s": selector}))
    assert link.source
    assert link.source.filters == {}


def test_a_headers_filter_binds_by_headers() -> None:
    client = Box10Client(Box())
    wanted = Described(Symbol("apache.org:legacy-amqp-headers-binding:map"), {"x-match": "all", "kind": "rpm"})
    link = client.receiver(Terminus(address="amq.headers", filters={"h": wanted}), credit=5)
    sender = client.sender("amq.headers")
    for kind in ("rpm", "iso"):
        sender.send(text(kind.encode(), application_properties={"kind": kind}))
    assert bodies(client.arrived(link)) == [b"rpm"]


def test_a_queue_of_the_links_own_goes_with_it() -> None:
    client = Box10Client(Box())
    link = client.receiver("/exchange/amq.topic/a.*")
    queues = client.box.house.hosts["/"].queues
    assert len(queues) == 1
    link.detach()
    client.talk()
    assert queues == {}


@pytest.mark.parametrize(
    ("address", "condition"),
    [
        ("nothing", "amqp:not-found"),
        ("/queues/nothing", "amqp:not-found"),
        ("/amq/queue/nothing", "amqp:not-found"),
        ("/exchanges/nothing/key", "amqp:not-found"),
        ("/what/is/this", "amqp:invalid-field"),
        ("/queues/", "amqp:invalid-field"),
        ("/queues/%zz", "amqp:invalid-field"),
        ("/queues/%ff", "amqp:invalid-field"),
        ("x" * 300, "amqp:invalid-field"),
    ],
)
def test_what_nothing_is_called_is_refused(address: str, condition: str) -> None:
    client = Box10Client(Box())
    session = client.session()
    assert client.refused(client.sender(address, session=session)) == condition
    assert client.refused(client.receiver(address, session=session)) == condition
    assert session.alive


def test_nobody_publishes_to_an_internal_exchange() -> None:
    client = Box10Client(Box())
    assert client.refused(client.sender("amq.rabbitmq.trace")) == "amqp:unauthorized-access"


def test_transactions_are_not_offered() -> None:
    client = Box10Client(Box())
    assert client.refused(client.sender(Terminus(coordinator=True))) == "amqp:not-implemented"


def test_a_queue_cannot_be_browsed() -> None:
    client = Box10Client(Box())
    declared(client.box)
    assert client.refused(client.receiver(Terminus(address="q", copies=True))) == "amqp:not-implemented"


def test_an_exclusive_queue_of_another_connection_is_locked() -> None:
    client = Box10Client(Box())
    declared(client.box, exclusive=True)
    assert client.refused(client.receiver("q")) == "amqp:resource-locked"


def test_an_exchange_is_created_on_demand() -> None:
    client = Box10Client(Box())
    target = Terminus(
        address="pulp",
        capabilities=("create-on-demand", "topic"),
        properties={"exchange-type": "topic", "durable": True},
    )
    link = client.sender(target)
    exchange = client.box.house.hosts["/"].exchanges["pulp"]
    assert (exchange.type, exchange.durable) == ("topic", True)
    assert link.target == target
    assert client.sender(target, name="again").alive


def test_a_queue_is_created_on_demand() -> None:
    client = Box10Client(Box())
    source = Terminus(
        address="jobs", capabilities=("create-on-demand", "queue"), properties={"durable": False, "x-max-length": 3}
    )
    client.receiver(source)
    queue = client.box.house.hosts["/"].queues["jobs"]
    assert (queue.durable, queue.settings.max_length) == (False, 3)
    client.sender("/queue/made", name="v1")
    assert client.box.house.hosts["/"].queues["made"].durable


@pytest.mark.parametrize(
    ("properties", "condition"),
    [
        ({"x-max-length": -1}, "amqp:precondition-failed"),
        ({"x-queue-type": "stream"}, "amqp:not-implemented"),
    ],
)
def test_a_queue_that_cannot_be_is_not_created(properties: dict[str, object], condition: str) -> None:
    client = Box10Client(Box())
    target = Terminus(address="jobs", capabilities=("create-on-demand", "queue"), properties=properties)
    assert client.refused(client.sender(target)) == condition


def test_reserved_names_are_not_created() -> None:
    client = Box10Client(Box())
    for name in ("amq.mine", "/queue/amq.mine"):
        target = Terminus(address=name, capabilities=("create-on-demand",))
        assert client.refused(client.sender(target)) == "amqp:unauthorized-access"


def test_a_dynamic_source_is_a_queue_to_answer_to() -> None:
    client = Box10Client(Box())
    replies = client.receiver(Terminus(dynamic=True), credit=1)
    assert replies.source
    address = replies.source.address
    assert address
    other = Box10Client(client.box, container="server")
    assert other.refused(other.receiver(address)) == "amqp:resource-locked"
    answers = other.sender(address)
    answers.send(text(b"answer"))
    assert other.outcomes(answers) == [ACCEPTED]
    assert bodies(client.arrived(replies)) == [b"answer"]
    client.engine.close()
    client.talk()
    assert client.box.house.hosts["/"].queues == {}


def test_an_answer_reaches_who_asked_by_the_other_dialect() -> None:
    box = Box()
    asker = box.client()
    asker.send(commands.Basic.Consume(0, "amq.rabbitmq.reply-to", no_ack=True))
    asker.send(commands.Queue.Declare(0, "questions"))
    asker.publish(b"?", "questions", reply_to="amq.rabbitmq.reply-to")
    asker.read()
    client = Box10Client(box)
    link = client.receiver("questions", credit=1)
    question = message.decode(client.arrived(link)[0])
    answers = client.sender(Terminus())
    answers.send(text(b"!", to=question.reply_to))
    assert client.outcomes(answers) == [ACCEPTED]
    assert any(getattr(value, "value", None) == b"!" for _, value in asker.read())


# -- durable subscriptions

SUBSCRIPTION = Terminus(address="amq.topic", durability=2, expiry="never", filters={"f": PATTERN})
FINISH = "pulp.server.repo.sync.finish"


def test_a_durable_subscription_collects_while_its_client_is_away() -> None:
    box = Box()
    client = Box10Client(box, container="me")
    client.receiver(SUBSCRIPTION, name="sub")
    client.connection.lost()
    other = Box10Client(box)
    sender = other.sender("amq.topic")
    sender.send(text(b"missed", subject=FINISH))
    assert other.outcomes(sender) == [ACCEPTED]
    back = Box10Client(box, container="me")
    assert bodies(back.arrived(back.receiver(SUBSCRIPTION, name="sub", credit=1))) == [b"missed"]
    assert [queue.durable for queue in box.house.hosts["/"].queues.values()] == [True]


def test_a_durable_subscription_ends_when_its_link_is_closed() -> None:
    client = Box10Client(Box(), container="me")
    link = client.receiver(SUBSCRIPTION, name="sub")
    link.detach()
    client.talk()
    assert client.box.house.hosts["/"].queues == {}


def test_a_durable_subscription_is_found_by_its_name_alone() -> None:
    box = Box()
    client = Box10Client(box, container="me")
    client.receiver(SUBSCRIPTION, name="sub")
    client.connection.lost()
    back = Box10Client(box, container="me")
    assert back.refused(back.receiver(None, name="other")) == "amqp:not-found"
    link = back.receiver(None, name="sub")
    assert link.source
    assert link.source.address == "amq.topic"
    link.detach()
    back.talk()
    assert box.house.hosts["/"].queues == {}


def test_a_durable_subscription_that_is_used_elsewhere_is_taken_over() -> None:
    box = Box()
    first = Box10Client(box, container="me")
    link = first.receiver(SUBSCRIPTION, name="sub", credit=1)
    second = Box10Client(box, container="me")
    taken = second.receiver(SUBSCRIPTION, name="sub", credit=1)
    assert first.refused(link) == "amqp:link:stolen"
    second.sender("amq.topic").send(text(b"x", subject=FINISH))
    assert len(second.arrived(taken)) == 1


def test_a_durable_subscription_comes_back_with_another_pattern() -> None:
    box = Box()
    client = Box10Client(box, container="me")
    client.receiver(SUBSCRIPTION, name="sub")
    client.connection.lost()
    back = Box10Client(box, container="me")
    other = Described(Symbol(TOPIC_FILTER), "other.#")
    back.receiver(Terminus(address="amq.topic", durability=2, expiry="never", filters={"f": other}), name="sub")
    assert [key for _, _, key, _ in box.house.hosts["/"].exchanges["amq.topic"].bindings] == ["other.#"]


# -- what users may do


def restricted(*grants: Grant) -> Box10Client:
    box = Box()
    box.house.logins = Restricted(*grants)  # type: ignore[misc]
    return Box10Client(box)


def test_who_may_only_read_an_exchange_subscribes_and_does_not_publish() -> None:
    client = restricted(Grant(operations=frozenset({"read"}), kinds=frozenset({"exchange"}), name="amq.topic"))
    assert client.receiver("amq.topic").alive
    assert client.refused(client.receiver("amq.fanout", name="no")) == "amqp:unauthorized-access"
    assert client.refused(client.receiver(SUBSCRIPTION, name="sub")) == "amqp:unauthorized-access"
    link = client.sender("amq.topic")
    link.send(text(b"x", subject="a"))
    assert client.refused(link) == "amqp:unauthorized-access"
    assert client.refused(client.sender("/exchanges/amq.topic/a", name="fixed")) == "amqp:unauthorized-access"


def test_who_may_publish_some_keys_publishes_no_others() -> None:
    grant = Grant(operations=frozenset({"write"}), kinds=frozenset({"exchange"}), name="amq.topic", key="ci.#")
    client = restricted(grant)
    link = client.sender("amq.topic")
    link.send(text(b"x", subject="ci.build"))
    assert client.outcomes(link) == [RELEASED]
    anonymous = client.sender(Terminus(), name="anonymous")
    anonymous.send(text(b"x", to="/exchanges/amq.topic", subject="other"))
    anonymous.send(text(b"x", to="/exchanges/amq.topic", subject="ci.test"))
    first, second = client.outcomes(anonymous)
    assert isinstance(first, Rejected)
    assert second == RELEASED
    link.send(text(b"x", subject="other"))
    assert client.refused(link) == "amqp:unauthorized-access"


def test_who_may_configure_nothing_creates_nothing() -> None:
    client = restricted(Grant(operations=frozenset({"read", "write"})))
    for terminus in (
        Terminus(address="/queue/mine"),
        Terminus(address="mine", capabilities=("create-on-demand", "topic")),
        Terminus(dynamic=True),
    ):
        assert client.refused(client.receiver(terminus)) == "amqp:unauthorized-access"
    assert client.box.house.hosts["/"].queues == {}


def test_who_may_do_nothing_is_not_let_in() -> None:
    client = restricted()
    assert client.connection.state != "running"
    condition = client.closed()
    assert condition
    assert condition.name == "amqp:unauthorized-access"


# -- the connection


def test_a_virtual_host_is_named_by_the_hostname_with_its_prefix_only() -> None:
    box = Box(virtual_hosts=("/", "blue"))
    assert Box10Client(box, hostname="vhost:blue").connection.host.name == "blue"
    assert Box10Client(box, hostname="blue").connection.host.name == "/"
    missing = Box10Client(box, hostname="vhost:none")
    condition = missing.closed()
    assert condition
    assert condition.name == "amqp:not-found"


def test_limits_are_told_and_kept() -> None:
    client = Box10Client(Box(channel_max=3, frame_max=8192))
    sessions = [client.session() for _ in range(3)]
    client.talk()
    assert client.connection.counts[0] == 3
    assert all(session.alive for session in sessions)


def test_a_session_ends_with_all_its_links() -> None:
    client = Box10Client(Box())
    filled(client, b"1")
    session = client.session()
    link = client.receiver("q", credit=1, session=session)
    assert len(client.arrived(link)) == 1
    session.end()
    assert len(client.take_events(SessionEnded)) == 1
    queue = client.box.house.hosts["/"].queues["q"]
    assert (len(queue), queue.consumers) == (1, [])


def test_a_link_too_many_is_refused() -> None:
    client = Box10Client(Box())
    session = client.session()
    for number in range(MAX_LINKS):
        client.engine.sender(session, f"{number}").attach(source=Terminus(), target=Terminus(address="amq.topic"))
    client.talk()
    assert client.refused(client.sender("amq.topic", session=session, name="many")) == "amqp:resource-limit-exceeded"


def test_the_broker_says_good_bye() -> None:
    client = Box10Client(Box())
    client.connection.shut(320, "shutdown")
    condition = client.closed()
    assert condition == Condition("amqp:connection:forced", "shutdown")
    assert client.connection.finished


def test_a_client_that_says_nothing_is_given_up() -> None:
    client = Box10Client(Box(heartbeat=60))
    client.talk()
    for _ in range(6):
        client.box.timers.pass_time(15_000)
    assert client.connection.finished
    assert client.box.house.connections == {}


def test_a_client_that_is_not_read_may_be_silent() -> None:
    client = Box10Client(Box(heartbeat=60))
    client.talk()
    client.connection.blocked = True
    for _ in range(10):
        client.box.timers.pass_time(15_000)
    assert not client.connection.finished


def test_the_broker_speaks_when_it_has_nothing_to_say() -> None:
    box = Box(heartbeat=60)
    client = Box10Client(box, opened=False)
    client.engine = Engine(Setup(container="patient", idle_timeout=10))
    client.engine.open()
    client.talk()
    said = len(client.said)
    box.timers.pass_time(6_000)
    assert client.take() == b"\x00\x00\x00\x08\x02\x00\x00\x00"
    assert len(client.said) > said


def test_a_client_that_bears_no_silence_is_not_spoken_to_all_the_time() -> None:
    box = Box(heartbeat=60)
    client = Box10Client(box, opened=False)
    client.engine = Engine(Setup(container="impatient", idle_timeout=0.002))
    client.engine.open()
    client.talk()
    woken: list[None] = []
    client.connection.outbox._wake = lambda: woken.append(None)  # type: ignore[misc]
    for _ in range(100):
        box.timers.pass_time(10)
        client.take()
    assert len(woken) <= 5


def test_everything_is_given_back_when_the_socket_is_gone() -> None:
    client = Box10Client(Box())
    filled(client, b"1")
    client.arrived(client.receiver("q", credit=1))
    client.connection.lost()
    queue = client.box.house.hosts["/"].queues["q"]
    assert (len(queue), queue.unacknowledged, queue.consumers) == (1, 0, [])
    assert client.connection not in client.box.house.connections


def test_the_status_counts_what_a_client_has() -> None:
    client = Box10Client(Box())
    filled(client, b"1", b"2")
    client.arrived(client.receiver("q", credit=1))
    assert client.connection.counts == (1, 1, 1)
    assert client.connection.dialect == "AMQP 1.0"
    assert client.connection in client.box.house.connections
