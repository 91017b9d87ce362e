"""What a publisher may not say, and what the broker changes in a message before it is routed."""

from pulpit.amqp.amqp091 import tables
from pulpit.broker.content import Publish
from pulpit.broker.dead_letters import copy_keys
from pulpit.broker.message import Message
from pulpit.broker.properties import Properties, with_part, with_reply_to
from pulpit.broker.queue_arguments import expiration_problem
from pulpit.broker.refusals import not_implemented, precondition_failed
from pulpit.broker.replies import PSEUDO_QUEUE


def check_message(publish: Publish, properties: Properties, *, user: str) -> None:
    """Refuse what RabbitMQ refuses of a message's flags and properties."""
    if publish.immediate:
        raise not_implemented("immediate=true")
    if properties.user_id is not None and properties.user_id != user:
        raise precondition_failed(f"user_id property set to '{properties.user_id}' but authenticated user was '{user}'")
    if properties.expiration is not None and (problem := expiration_problem(properties.expiration)):
        raise precondition_failed(f"invalid expiration '{properties.expiration}': {problem}")
    if properties.has_copies:
        _check_copies(properties)


def _check_copies(properties: Properties) -> None:
    for name, value in properties.raw_headers():
        if name in (b"CC", b"BCC") and value[:1] != b"A":
            kind = tables.TYPE_NAMES[value[0]]
            problem = f'{{unacceptable_type_in_header,"{name.decode()}",{kind}}}'
            raise precondition_failed(f"invalid message: {problem}")


def further_keys(properties: Properties) -> list[str]:
    """The routing keys of CC and BCC."""
    if not properties.has_copies:
        return []
    headers = properties.headers()
    return copy_keys(headers, "CC") + copy_keys(headers, "BCC")


def rewritten(message: Message, reply_address: str | None) -> None:
    """Replace the name of the pseudo-queue by the address of the asker."""
    properties = message.properties
    if properties.reply_to == PSEUDO_QUEUE:
        if reply_address is None:
            raise precondition_failed("fast reply consumer does not exist")
        message.replace_properties(with_reply_to(properties, reply_address))


def hide_blind_copies(message: Message) -> None:
    """Take the BCC header out of a routed message, so that no receiver sees it."""
    entries = message.properties.raw_headers()
    kept = [(name, value) for name, value in entries if name != b"BCC"]
    if len(kept) < len(entries):
        message.replace_properties(with_part(message.properties, "headers", tables.join(kept)))
