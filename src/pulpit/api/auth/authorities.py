"""Which client certificates TLS accepts: those of the server's own authority, and those of protected repositories.

OpenSSL refuses a certificate whose signer it does not know before any request is read. So the signers of all
repositories are made known to it, and who may have what is judged request by request. A repository that is protected
now lets its clients in within `FRESH_FOR`; what is not trusted any more is judged at once, and forgotten at the next
start.
"""

import logging
import ssl
import time
from typing import Any, Final

from pulpit.content.access import Access
from pulpit.errors import PulpitError
from pulpit.store import repositories
from pulpit.store.database import Database

FRESH_FOR: Final = 1.0
"""Seconds between two looks at the repositories."""

_log = logging.getLogger(__name__)


class Authorities:
    """Keeps a TLS context up to date with the authorities of protected repositories."""

    def __init__(self, database: Database) -> None:
        self._database: Final = database
        self._known: Final[set[str]] = set()
        self._looked_at = -FRESH_FOR

    def keep(self, context: ssl.SSLContext) -> None:
        """Look now, and again when clients connect."""
        self._refresh(context)
        context.sni_callback = self._hear

    def _hear(self, connection: Any, name: str | None, context: ssl.SSLContext) -> None:
        """Called by OpenSSL when a client has said hello; whatever it raised would end the connection."""
        del connection, name
        self._refresh(context)

    def _refresh(self, context: ssl.SSLContext) -> None:
        if time.monotonic() - self._looked_at < FRESH_FOR:
            return
        self._looked_at = time.monotonic()
        try:
            for authorities in self._wanted() - self._known:
                self._known.add(authorities)
                context.load_verify_locations(cadata=authorities)
        except (PulpitError, ssl.SSLError):
            _log.exception("an authority cannot be trusted", extra={"action": "authority_refused"})

    def _wanted(self) -> set[str]:
        with self._database.read() as connection:
            configs = repositories.authorities(connection)
        return {found for config in configs if (found := Access.of(config).authorities)}
