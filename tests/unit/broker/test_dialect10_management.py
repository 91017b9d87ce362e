"""The node /management: what is declared by messages, and what is refused."""

from typing import Any

import pytest

from pulpit.amqp.amqp10 import message
from pulpit.amqp.amqp10.links import Receiver
from pulpit.amqp.amqp10.message import Message, Value
from pulpit.amqp.amqp10.words import ACCEPTED, Rejected
from pulpit.broker.dialect10.office import MAX_OPEN
from pulpit.broker.permissions import Grant
from support.amqp10 import needs_amqp10
from support.broker_box import Box
from support.broker_box10 import Box10Client, Restricted

pytestmark = needs_amqp10


class Clerk:
    """A client with both links to the node."""

    def __init__(self, box: Box | None = None, *, credit: int = 100) -> None:
        self.client = Box10Client(box or Box())
        session = self.client.session()
        self.answers: Receiver = self.client.receiver("/management", session=session, credit=credit, name="pair")
        self.requests = self.client.sender("/management", session=session, name="pair")
        self.host = self.client.box.house.hosts["/"]

    def send(self, verb: str, path: str, body: Any = None) -> None:
        asked = Message(body=Value(body), subject=verb, to=path, message_id=f"{verb} {path}", reply_to="$me")
        self.requests.send(message.encode(asked))

    def ask(self, verb: str, path: str, body: Any = None) -> tuple[int, Any]:
        self.send(verb, path, body)
        (data,) = self.client.arrived(self.answers)
        found = message.decode(data)
        assert (found.correlation_id, found.to) == (f"{verb} {path}", "$me")
        assert isinstance(found.body, Value)
        return int(found.subject or 0), found.body.value


def test_a_queue_is_declared_looked_at_emptied_and_deleted() -> None:
    clerk = Clerk()
    wanted = {"durable": True, "exclusive": False, "auto_delete": False, "arguments": {"x-max-length": 5}}
    assert clerk.ask("PUT", "/queues/a%20queue", wanted)[0] == 201
    assert clerk.ask("PUT", "/queues/a%20queue", wanted)[0] == 200
    clerk.client.sender("/queues/a%20queue").send(message.encode(Message(body=b"x")))
    status, found = clerk.ask("GET", "/queues/a%20queue")
    assert status == 200
    assert {name: found[name] for name in ("name", "durable", "type", "message_count", "arguments")} == {
        "name": "a queue", "durable": True, "type": "classic", "message_count": 1, "arguments": {"x-max-length": 5},
    }  # fmt: skip
    assert clerk.ask("DELETE", "/queues/a%20queue/messages") == (200, {"message_count": 1})
    assert clerk.ask("DELETE", "/queues/a%20queue") == (200, {"message_count": 0})
    assert clerk.host.queues == {}


def test_an_exchange_is_declared_bound_unbound_and_deleted() -> None:
    clerk = Clerk()
    assert clerk.ask("PUT", "/exchanges/x", {"type": "topic", "durable": True, "arguments": {}}) == (204, None)
    clerk.ask("PUT", "/queues/q", {})
    binding = {"source": "x", "destination_queue": "q", "binding_key": "a.#", "arguments": {}}
    assert clerk.ask("POST", "/bindings", binding) == (204, None)
    both = {"source": "amq.topic", "destination_exchange": "x", "binding_key": "#", "arguments": {}}
    assert clerk.ask("POST", "/bindings", both) == (204, None)
    sender = clerk.client.sender("/exchanges/amq.topic/a.b")
    sender.send(message.encode(Message(body=b"x")))
    assert clerk.client.outcomes(sender) == [ACCEPTED]
    assert clerk.ask("DELETE", "/bindings/src=x;dstq=q;key=a.%23;args=") == (204, None)
    assert clerk.ask("DELETE", "/bindings/src=amq.topic;dste=x;key=%23;args=") == (204, None)
    assert clerk.host.exchanges["x"].bindings == clerk.host.exchanges["amq.topic"].bindings == {}
    assert clerk.ask("DELETE", "/exchanges/x") == (204, None)
    assert "x" not in clerk.host.exchanges


def test_an_exclusive_queue_is_that_of_the_connection() -> None:
    clerk = Clerk()
    assert clerk.ask("PUT", "/queues/mine", {"exclusive": True})[0] == 201
    assert clerk.client.receiver("/queues/mine").alive
    assert Clerk(clerk.client.box).ask("GET", "/queues/mine")[0] == 409
    clerk.client.engine.close()
    clerk.client.talk()
    assert clerk.host.queues == {}


@pytest.mark.parametrize(
    ("verb", "path", "body", "status", "words"),
    [
        ("GET", "/queues/none", None, 404, "no queue 'none'"),
        ("PUT", "/queues/amq.mine", {}, 403, "reserved prefix"),
        ("PUT", "/queues/q", {"arguments": {"x-max-length": -1}}, 409, "x-max-length"),
        ("PUT", "/queues/q", {"arguments": {"x-queue-type": "stream"}}, 400, "stream"),
        ("PUT", "/queues/q", {"durable": "yes"}, 400, "durable is neither true nor false"),
        ("PUT", "/queues/q", {"arguments": [1]}, 400, "arguments is no map"),
        ("PUT", "/queues/q", [1], 400, "the body is no map"),
        ("PUT", "/queues/" + "x" * 256, {}, 400, "255 bytes"),
        ("PUT", "/exchanges/x", {"type": "none"}, 400, "unknown exchange type 'none'"),
        ("PUT", "/exchanges/amq.topic", {"type": "direct"}, 409, "inequivalent arg 'type'"),
        ("POST", "/bindings", {"source": "amq.topic", "destination_queue": "none"}, 404, "no queue 'none'"),
        ("POST", "/bindings", {"destination_queue": "none"}, 400, "source is missing"),
        ("DELETE", "/bindings/src=amq.topic;dstq=q;key=;args=abc", None, 400, "over AMQP 0-9-1"),
        ("GET", "/bindings?src=amq.topic", None, 404, "there is no"),
        ("PUT", "/auth/tokens", None, 404, "there is no"),
        ("BREW", "/coffee", None, 404, "there is no"),
    ],
)
def test_what_cannot_be_is_answered_in_words(verb: str, path: str, body: Any, status: int, words: str) -> None:
    clerk = Clerk()
    found = clerk.ask(verb, path, body)
    assert found[0] == status
    assert words in found[1]
    assert clerk.ask("PUT", "/queues/good", {})[0] == 201


def test_rights_are_asked_for_here_too() -> None:
    box = Box()
    box.house.logins = Restricted(Grant(name="mine.*"))  # type: ignore[misc]
    clerk = Clerk(box)
    assert clerk.ask("PUT", "/queues/mine.q", {})[0] == 201
    status, words = clerk.ask("PUT", "/queues/other", {})
    assert (status, words) == (403, "access to queue 'other' in vhost '/' refused for user 'guest'")


def test_who_takes_no_answers_is_not_served() -> None:
    client = Box10Client(Box())
    lonely = client.sender("/management")
    lonely.send(message.encode(Message(body=Value(None), subject="GET", to="/queues/q")))
    (outcome,) = client.outcomes(lonely)
    assert isinstance(outcome, Rejected)
    clerk = Clerk(credit=0)
    for number in range(MAX_OPEN + 1):
        clerk.send("PUT", f"/queues/{number}", {})
        clerk.client.talk()
    assert len(clerk.host.queues) == MAX_OPEN
    clerk.answers.grant(100)
    assert len(clerk.client.arrived(clerk.answers)) == MAX_OPEN


def test_what_is_no_message_is_rejected() -> None:
    clerk = Clerk()
    clerk.requests.send(b"\x00\x53\x73\xff")
    (outcome,) = clerk.client.outcomes(clerk.requests)
    assert isinstance(outcome, Rejected)
