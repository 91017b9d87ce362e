"""basic.publish and the content that follows it."""

from typing import Final

from pulpit.broker.refusals import frame_error

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
            self.exchange = payload[_ADDRESS_START + 1 : middle].decode()
            self.routing_key = payload[middle + 1 : end].decode()
        except IndexError as error:
            raise frame_error("basic.publish is cut off") from error
        except UnicodeDecodeError as error:
            raise frame_error("Malformed UTF-8 in shortstr") from error
        self.address = payload[_ADDRESS_START:end]
        self.mandatory = bool(bits & _MANDATORY)
        self.immediate = bool(bits & _IMMEDIATE)
