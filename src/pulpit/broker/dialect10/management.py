"""The node /management of RabbitMQ 4: queues, exchanges and bindings are declared by messages that look like HTTP.

A request has a verb as its subject, a path in `to` and a map as its body; the answer has a status as subject. What is
asked for is done by the handlers of AMQP 0-9-1, so that both dialects have the same rules, rights and texts.

    PUT | GET | DELETE /queues/NAME         DELETE /queues/NAME/messages
    PUT | DELETE /exchanges/NAME            POST /bindings    DELETE /bindings/src=S;dstq=Q;key=K;args=
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import unquote

from pamqp import commands
from pamqp.base import Frame

from pulpit.amqp.amqp10 import message
from pulpit.amqp.amqp10.codec import Uint, Ulong
from pulpit.amqp.amqp10.message import Message, Value
from pulpit.broker import tables
from pulpit.broker.channel import Channel, Link
from pulpit.broker.dialect10.addresses import MAX_LENGTH
from pulpit.broker.dialect10.fields import from_field, to_entries
from pulpit.broker.handlers import exchange as exchanges
from pulpit.broker.handlers import queue as queues
from pulpit.broker.handlers.lookup import find_queue
from pulpit.broker.methods import Arguments
from pulpit.broker.queue import Queue
from pulpit.broker.refusals import Refusal

M = TypeVar("M", bound=Frame)
NODE: Final = "/management"
OK, CREATED, DONE, BAD_REQUEST, NOT_FOUND = 200, 201, 204, 400, 404
_STATUS: Final = {403: 403, 404: NOT_FOUND, 405: 409, 406: 409}
"""Of what the handlers refuse, by the reply code of AMQP 0-9-1."""

Answer = tuple[int, Any]


class BadRequest(ValueError):
    """A request that cannot be understood."""


class Desk(Channel):
    """A channel on which nobody listens: the handlers' answers are kept instead of being sent."""

    def __init__(self, link: Link) -> None:
        super().__init__(0, link)
        self.answer_method: Any = None

    def reply(self, method: Frame) -> None:
        """Keep it."""
        self.answer_method = method


def answer(link: Link, request: bytes) -> bytes:
    """Do what a request asks for; the answer is a message too.

    Raises:
        DecodeError: the request is no message.
    """
    asked = message.decode(request)
    try:
        status, body = _done(Desk(link), asked)
    except BadRequest as error:
        status, body = BAD_REQUEST, str(error)
    except Refusal as refusal:
        status, body = _STATUS.get(refusal.code, BAD_REQUEST), refusal.text.partition(" - ")[2]
    return message.encode(
        Message(
            body=Value(body),
            to=asked.reply_to,
            subject=str(status),
            correlation_id=asked.message_id,
            application_properties={"http:response": "1.1"},
        )
    )


def _done(desk: Desk, asked: Message) -> Answer:
    path, _, query = (asked.to or "").partition("?")
    kind, *parts = path.removeprefix("/").split("/")
    handler = _HANDLERS.get((asked.subject or "", kind, len(parts)))
    if handler is None or query:
        return NOT_FOUND, f"there is no {asked.subject} {asked.to} here"
    body = asked.body.value if isinstance(asked.body, Value) else {}
    if body is not None and not isinstance(body, dict):
        raise BadRequest("the body is no map")
    return handler(desk, [_text(unquote(part)) for part in parts], body or {})


# -- queues


def _put_queue(desk: Desk, parts: list[str], body: Mapping[str, Any]) -> Answer:
    (name,) = parts
    existed = name in desk.host.queues
    method = _method(
        commands.Queue.Declare,
        queue=name,
        passive=False,
        durable=_flag(body, "durable", otherwise=True),
        exclusive=_flag(body, "exclusive"),
        auto_delete=_flag(body, "auto_delete"),
        arguments=_arguments(body),
    )
    queues.declare(desk, method)
    return (OK if existed else CREATED), _described(desk.host.queues[name])


def _get_queue(desk: Desk, parts: list[str], _body: Mapping[str, Any]) -> Answer:
    return OK, _described(find_queue(desk, parts[0]))


def _delete_queue(desk: Desk, parts: list[str], _body: Mapping[str, Any]) -> Answer:
    queues.delete(desk, _method(commands.Queue.Delete, queue=parts[0], if_unused=False, if_empty=False))
    return OK, {"message_count": Ulong(desk.answer_method.message_count)}


def _purge_queue(desk: Desk, parts: list[str], _body: Mapping[str, Any]) -> Answer:
    if parts[1] != "messages":
        return NOT_FOUND, f"a queue has no {parts[1]}"
    queues.purge(desk, _method(commands.Queue.Purge, queue=parts[0]))
    return OK, {"message_count": Ulong(desk.answer_method.message_count)}


def _described(queue: Queue) -> dict[str, Any]:
    arguments = {name.decode("utf-8", "replace"): from_field(raw) for name, raw in tables.split(queue.arguments)}
    return {
        "name": queue.name,
        "vhost": queue.host.name,
        "durable": queue.durable,
        "auto_delete": queue.auto_delete,
        "exclusive": queue.owner is not None,
        "type": str(arguments.get("x-queue-type", "classic")),
        "arguments": arguments,
        "leader": "pulpit",
        "replicas": ["pulpit"],
        "message_count": Ulong(len(queue)),
        "consumer_count": Uint(len(queue.consumers)),
    }


# -- exchanges and bindings


def _put_exchange(desk: Desk, parts: list[str], body: Mapping[str, Any]) -> Answer:
    method = _method(
        commands.Exchange.Declare,
        exchange=parts[0],
        exchange_type=_word(body, "type", otherwise="direct"),
        passive=False,
        durable=_flag(body, "durable", otherwise=True),
        auto_delete=_flag(body, "auto_delete"),
        internal=_flag(body, "internal"),
        arguments=_arguments(body),
    )
    exchanges.declare(desk, method)
    return DONE, None


def _delete_exchange(desk: Desk, parts: list[str], _body: Mapping[str, Any]) -> Answer:
    exchanges.delete(desk, _method(commands.Exchange.Delete, exchange=parts[0], if_unused=False))
    return DONE, None


def _post_binding(desk: Desk, _parts: list[str], body: Mapping[str, Any]) -> Answer:
    source, key, arguments = _word(body, "source"), _word(body, "binding_key", otherwise=""), _arguments(body)
    if "destination_queue" in body:
        named = {"queue": _word(body, "destination_queue"), "exchange": source}
        queues.bind(desk, _method(commands.Queue.Bind, routing_key=key, arguments=arguments, **named))
    else:
        named = {"destination": _word(body, "destination_exchange"), "source": source}
        exchanges.bind(desk, _method(commands.Exchange.Bind, routing_key=key, arguments=arguments, **named))
    return DONE, None


def _delete_binding(desk: Desk, parts: list[str], _body: Mapping[str, Any]) -> Answer:
    named = dict(part.partition("=")[::2] for part in parts[0].split(";"))
    source, key = named.get("src", ""), named.get("key", "")
    if named.get("args"):
        raise BadRequest("bindings with arguments are taken away over AMQP 0-9-1")
    arguments = _arguments({})
    if "dstq" in named:
        ends = {"queue": named["dstq"], "exchange": source}
        queues.unbind(desk, _method(commands.Queue.Unbind, routing_key=key, arguments=arguments, **ends))
    else:
        ends = {"destination": named.get("dste", ""), "source": source}
        exchanges.unbind(desk, _method(commands.Exchange.Unbind, routing_key=key, arguments=arguments, **ends))
    return DONE, None


_HANDLERS: Final[Mapping[tuple[str, str, int], Callable[[Desk, list[str], Mapping[str, Any]], Answer]]] = {
    ("PUT", "queues", 1): _put_queue,
    ("GET", "queues", 1): _get_queue,
    ("DELETE", "queues", 1): _delete_queue,
    ("DELETE", "queues", 2): _purge_queue,
    ("PUT", "exchanges", 1): _put_exchange,
    ("DELETE", "exchanges", 1): _delete_exchange,
    ("POST", "bindings", 0): _post_binding,
    ("DELETE", "bindings", 1): _delete_binding,
}


# -- values


def _method(kind: type[M], **values: Any) -> M:
    """A method with these arguments, past the constructor, which is stricter than RabbitMQ."""
    method = kind.__new__(kind)
    for name, value in ({"ticket": 0, "nowait": False} | values).items():
        if name in kind.__slots__:
            setattr(method, name, value)
    return method


def _text(text: str) -> str:
    if len(text.encode("utf-8", "surrogateescape")) > MAX_LENGTH:
        raise BadRequest(f"a name or a key has at most {MAX_LENGTH} bytes")
    return text


def _word(body: Mapping[str, Any], name: str, *, otherwise: str | None = None) -> str:
    value = body.get(name, otherwise)
    if not isinstance(value, str):
        raise BadRequest(f"{name} is missing, or no text")
    return _text(str(value))


def _flag(body: Mapping[str, Any], name: str, *, otherwise: bool = False) -> bool:
    value = body.get(name, otherwise)
    if not isinstance(value, bool):
        raise BadRequest(f"{name} is neither true nor false")
    return value


def _arguments(body: Mapping[str, Any]) -> Arguments:
    values = body.get("arguments", {})
    if not isinstance(values, dict):
        raise BadRequest("arguments is no map")
    raw = tables.join(to_entries(values))
    return Arguments(tables.read_table(raw)[0], raw)
