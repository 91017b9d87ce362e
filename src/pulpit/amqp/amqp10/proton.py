# SPDX-License-Identifier: Apache-2.0
"""The interface to Apache Qpid Proton's C engine: imported at first use, and exchanging only plain bytes and numbers.

The C functions are those of Proton's documented C API, under their own names. Their pointers are valid only while the
engine that owns them lives, so everything is copied here and no pointer leaves `engine` and `links`.
"""

import importlib
import importlib.util
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from pulpit.amqp.amqp10 import codec
from pulpit.amqp.amqp10.codec import DecodeError, Symbol, Symbols
from pulpit.amqp.amqp10.types import (
    ACCEPTED,
    RELEASED,
    Accepted,
    Condition,
    Modified,
    Outcome,
    Rejected,
    Released,
    Terminus,
)
from pulpit.errors import ConfigurationError

MODULE: Final = "cproton"
MISSING: Final = "it needs the package python-qpid-proton, which pip install 'pulpit[amqp10]' installs."
_LARGEST_DATA: Final = 1 << 20


def available() -> bool:
    """Whether the extra `amqp10` is installed."""
    return importlib.util.find_spec(MODULE) is not None


@cache
def load() -> Any:
    """Import Proton's functions.

    Raises:
        ConfigurationError: the extra `amqp10` is not installed.
    """
    try:
        return importlib.import_module(MODULE)
    except ImportError:
        raise ConfigurationError("AMQP 1.0", MISSING) from None


def text(raw: Any) -> str:
    """Decode a C string from the peer, whatever bytes it contains."""
    ffi = load().ffi
    return "" if raw == ffi.NULL else ffi.string(raw).decode(errors="replace")


def put(data: Any, value: Any) -> None:
    pn = load()
    pn.pn_data_clear(data)
    if value is not None:
        pn.pn_data_decode(data, codec.encode(value))


def get(data: Any) -> Any:
    """Read the value of a `pn_data_t`, which may be null; an invalid value is `None`."""
    pn = load()
    if pn.isnull(data):
        return None
    size = pn.pn_data_encoded_size(data)
    if not 0 < size <= _LARGEST_DATA:
        return None
    pn.pn_data_rewind(data)
    length, raw = pn.pn_data_encode(data, size)
    try:
        return codec.decode(bytes(raw))[0] if length > 0 else None
    except DecodeError:
        return None


def symbol_map(values: Mapping[str, Any]) -> dict[Symbol, Any] | None:
    """Convert a map for properties and filters: keys become symbols; nothing if it is empty."""
    return {Symbol(name): value for name, value in values.items()} or None


def text_map(value: Any) -> dict[str, Any]:
    """Convert such a map back."""
    return {str(name): inner for name, inner in value.items()} if isinstance(value, dict) else {}


def set_condition(pointer: Any, condition: Condition | None) -> None:
    pn = load()
    pn.pn_condition_clear(pointer)
    if condition:
        pn.pn_condition_set_name(pointer, condition.name)
        pn.pn_condition_set_description(pointer, condition.description or None)


def get_condition(pointer: Any) -> Condition | None:
    pn = load()
    if not pn.pn_condition_is_set(pointer):
        return None
    lib = pn.lib
    return Condition(text(lib.pn_condition_get_name(pointer)), text(lib.pn_condition_get_description(pointer)))


def get_outcome(delivery: Any) -> Outcome | None:
    """Return the peer's outcome of a delivery; nothing as long as it has none."""
    pn = load()
    state = pn.pn_delivery_remote_state(delivery)
    if state == pn.PN_ACCEPTED:
        return ACCEPTED
    if state == pn.PN_RELEASED:
        return RELEASED
    disposition = pn.pn_delivery_remote(delivery)
    if state == pn.PN_REJECTED:
        return Rejected(get_condition(pn.pn_disposition_condition(disposition)))
    if state == pn.PN_MODIFIED:
        failed = bool(pn.pn_disposition_is_failed(disposition))
        return Modified(failed=failed, undeliverable=bool(pn.pn_disposition_is_undeliverable(disposition)))
    return None


def set_outcome(delivery: Any, outcome: Outcome) -> None:
    pn = load()
    disposition = pn.pn_delivery_local(delivery)
    match outcome:
        case Accepted():
            state = pn.PN_ACCEPTED
        case Released():
            state = pn.PN_RELEASED
        case Rejected(condition):
            state = pn.PN_REJECTED
            set_condition(pn.pn_disposition_condition(disposition), condition)
        case Modified(failed, undeliverable):
            state = pn.PN_MODIFIED
            pn.pn_disposition_set_failed(disposition, failed)
            pn.pn_disposition_set_undeliverable(disposition, undeliverable)
    pn.pn_delivery_update(delivery, state)


def set_terminus(pointer: Any, terminus: Terminus, kind: int) -> None:
    """Write a source or a target."""
    pn = load()
    pn.pn_terminus_set_type(pointer, pn.PN_COORDINATOR if terminus.coordinator else kind)
    pn.pn_terminus_set_address(pointer, terminus.address)
    pn.pn_terminus_set_dynamic(pointer, terminus.dynamic)
    pn.pn_terminus_set_durability(pointer, terminus.durability)
    pn.pn_terminus_set_expiry_policy(pointer, _expiries()[terminus.expiry])
    pn.pn_terminus_set_timeout(pointer, terminus.timeout)
    pn.pn_terminus_set_distribution_mode(pointer, _modes()[terminus.copies])
    capabilities = Symbols(map(Symbol, terminus.capabilities)) or None
    put(pn.pn_terminus_capabilities(pointer), capabilities)
    put(pn.pn_terminus_properties(pointer), symbol_map(terminus.properties))
    put(pn.pn_terminus_filter(pointer), symbol_map(terminus.filters))


def get_terminus(pointer: Any) -> Terminus | None:
    """Read a source or a target; nothing if the peer named none."""
    pn = load()
    kind = pn.pn_terminus_get_type(pointer)
    if kind == pn.PN_UNSPECIFIED:
        return None
    address = pn.lib.pn_terminus_get_address(pointer)
    return Terminus(
        address=None if address == pn.ffi.NULL else text(address),
        dynamic=bool(pn.pn_terminus_is_dynamic(pointer)),
        durability=int(pn.pn_terminus_get_durability(pointer)),
        expiry=_by_number(_expiries(), pn.pn_terminus_get_expiry_policy(pointer), "session-end"),
        timeout=int(pn.pn_terminus_get_timeout(pointer)),
        copies=_by_number(_modes(), pn.pn_terminus_get_distribution_mode(pointer), None),
        capabilities=codec.symbols(get(pn.pn_terminus_capabilities(pointer))),
        properties=text_map(get(pn.pn_terminus_properties(pointer))),
        filters=text_map(get(pn.pn_terminus_filter(pointer))),
        coordinator=kind == pn.PN_COORDINATOR,
    )


def _by_number(table: Mapping[Any, int], number: int, otherwise: Any) -> Any:
    return next((name for name, known in table.items() if known == number), otherwise)


@cache
def _expiries() -> Mapping[str, int]:
    pn = load()
    return {
        "link-detach": pn.PN_EXPIRE_WITH_LINK,
        "session-end": pn.PN_EXPIRE_WITH_SESSION,
        "connection-close": pn.PN_EXPIRE_WITH_CONNECTION,
        "never": pn.PN_EXPIRE_NEVER,
    }


@cache
def _modes() -> Mapping[bool | None, int]:
    pn = load()
    return {None: pn.PN_DIST_MODE_UNSPECIFIED, True: pn.PN_DIST_MODE_COPY, False: pn.PN_DIST_MODE_MOVE}
