"""basic.publish and the content that follows it."""

from typing import Final

from pulpit.broker.refusals import syntax_error

PUBLISH: Final = b"\x00\x3c\x00\x28"
_ADDRESS_START: Final = 6
"""Behind the method's number and the reserved short."""
_MANDATORY: Final = 1
_IMMEDIATE: Final = 2


class Publish:
    """One decoded basic.publish; `address` are the exchange and the key as they came, ready for basic.deliver."""

    __slots__ = ("address", "exchange", "immediate", "mandatory", "routing_key")

    def __init__(self, payload: bytes) -> None:
        try:
            middle = _ADDRESS_START + 1 + payload[_ADDRESS_START]
            end = middle + 1 + payload[middle]
            bits = payload[end]
        except IndexError as error:
            raise syntax_error("basic.publish is cut off") from error
        self.exchange = payload[_ADDRESS_START + 1 : middle].decode("utf-8", "surrogateescape")
        self.routing_key = payload[middle + 1 : end].decode("utf-8", "surrogateescape")
        self.address = payload[_ADDRESS_START:end]
        self.mandatory = bool(bits & _MANDATORY)
        self.immediate = bool(bits & _IMMEDIATE)
