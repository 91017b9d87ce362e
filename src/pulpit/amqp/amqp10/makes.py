"""Which make a broker is, by what it says about itself when the connection is opened."""

from enum import Enum
from typing import Final

from pulpit.amqp.amqp10.events import Opened


class Make(Enum):
    """The brokers whose reading of AMQP 1.0 is known."""

    PULPIT = "pulpit"
    QPID = "qpid"
    RABBITMQ_3 = "rabbitmq3"
    """With its plug-in."""
    RABBITMQ_4 = "rabbitmq4"
    OTHER = "other"


_BY_PRODUCT: Final = {"qpid-cpp": Make.QPID, "rabbitmq": Make.RABBITMQ_4}
_WITH_THE_PLUG_IN: Final = ("2.", "3.")


def make_of(remote: Opened | None) -> Make:
    """The make of a broker; `product` and `version` say it, but for Pulpit's own, which says it by `platform`."""
    properties = remote.properties if remote else {}
    product, version, platform = (str(properties.get(name, "")) for name in ("product", "version", "platform"))
    if platform.startswith("Pulpit"):
        return Make.PULPIT
    make = _BY_PRODUCT.get(product.lower(), Make.OTHER)
    return Make.RABBITMQ_3 if make is Make.RABBITMQ_4 and version.startswith(_WITH_THE_PLUG_IN) else make
