"""The headers that accompany an event's body.

CloudEvents 1.0 attributes (binary mode), and webhook signatures by Standard Webhooks 1.0, scheme `v1` (HMAC-SHA256).
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from urllib.parse import quote

from pulpit.clock import iso_micro
from pulpit.events import Event

_KEPT = "".join(map(chr, range(0x21, 0x7F))).translate({ord('"'): None, ord("%"): None})
_PLAIN: Final = re.compile(r"[A-Za-z0-9._~:/-]*")
"""Text that needs no check of each character."""
PREFIX: Final = "whsec_"
SHORTEST: Final = 24
LONGEST: Final = 64
"""Bytes of a secret (Standard Webhooks, "Signature scheme")."""


def attributes(event: Event, source: str) -> dict[str, str]:
    """Return the attributes by name, without a prefix; `subject` is the repository, if there is one."""
    context = {
        "specversion": "1.0",
        "id": event.id,
        "source": source,
        "type": event.event_type,
        "time": iso_micro(event.occurred_at),
    }
    return context if event.repo_id is None else {**context, "subject": event.repo_id}


def http_headers(event: Event, source: str) -> dict[str, str]:
    return as_http(attributes(event, source))


def as_http(context: Mapping[str, str]) -> dict[str, str]:
    """Write attributes as HTTP headers.

    Non-printable and non-ASCII characters are percent-encoded (HTTP binding, 3.1.3.2).
    """
    return {f"ce-{name}": text if _PLAIN.fullmatch(text) else quote(text, safe=_KEPT) for name, text in context.items()}


def new_secret() -> str:
    """Make a secret of 32 random bytes, in its text form."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def key_of(secret: str) -> bytes:
    """Decode the key from a secret; the prefix and the padding may be missing.

    Raises:
        ValueError: the text is not base64 of 24 to 64 bytes; the message is fit for users and does not quote it.
    """
    text = secret.removeprefix(PREFIX).rstrip("=")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not SHORTEST <= len(key) <= LONGEST:
        raise ValueError(
            f"must be {PREFIX} and base64 of {SHORTEST} to {LONGEST} bytes, "
            f"as `echo {PREFIX}$(openssl rand -base64 32)` writes it"
        )
    return key


def plain_signatures(body: bytes, key: bytes) -> dict[str, str]:
    """Return the headers for receivers that check an HMAC of the body alone: those of GitHub and of Flux."""
    signature = f"sha256={hmac.new(key, body, hashlib.sha256).hexdigest()}"
    return {"X-Hub-Signature-256": signature, "X-Signature": signature}


def signature_headers(message_id: str, body: bytes, keys: Sequence[bytes], now: datetime) -> dict[str, str]:
    """Return the three headers of one attempt, signed with each key, so that the receiver may know either."""
    timestamp = str(int(now.timestamp()))
    signed = b".".join((message_id.encode(), timestamp.encode(), body))
    signatures = (base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
