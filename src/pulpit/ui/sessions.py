"""Login sessions of the page: signed cookies, so that viewing a page writes nothing, even on a full disk.

A token names its user and is signed by a key of this server together with the user's password hash. So it ends when the
password changes or the user is deleted, after some idle hours, after a week, and at logout. The keys are rotated daily;
they are in one file of mode 0600, with the sessions that were ended early. Servers that share a PostgreSQL keep both
there, so that a login counts at each of them.
"""

import base64
import binascii
import contextlib
import hmac
import json
import logging
import os
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from threading import Lock
from typing import Any, Final

from pulpit.clock import Clock
from pulpit.errors import ConfigurationError, StorageFull
from pulpit.net.config_files import read_secret
from pulpit.store import servers
from pulpit.store.database import Database, database_time

FILE: Final = "page-sessions"
"""In the data folder; also the name of the secret that several servers share."""
IDLE_S: Final = 12 * 3600
"""Idle seconds after which a session ends."""
LONGEST_S: Final = 7 * 24 * 3600
RENEWED_AFTER_S: Final = 600
KEY_AGE_S: Final = 24 * 3600
"""Age at which a key is replaced; it stays valid for what it has signed until that expires."""
MOST_ENDED: Final = 10_000
LONGEST_TOKEN: Final = 2_000
EMPTY: Final = '{"keys": [], "ended": {}}'
NOBODY: Final = ""
"""The login of an unauthenticated visitor."""

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """One login in one browser; times are seconds since 1970."""

    login: str
    nonce: str
    began: int
    seen: int


class Sessions:
    """Creates, verifies and ends sessions; thread-safe."""

    def __init__(self, data_dir: Path, clock: Clock, shared: Database | None = None) -> None:
        self._path: Final = data_dir / FILE
        self._clock: Final = clock
        self._shared: Final = shared
        """The database of several servers, if there are several: all of them have its keys, and go by its time."""
        self._ahead = timedelta(0)
        """By how much the shared database's clock is ahead of this machine's."""
        self._lock: Final = Lock()
        self._keys: list[tuple[int, bytes]] = []
        """With their creation times, newest first."""
        self._ended: dict[str, int] = {}
        """Nonces of ended sessions, with the time after which they can be forgotten."""
        if shared is None and self._path.exists():
            self._take(self._read_file)

    def begin(self, login: str = NOBODY) -> Session:
        now = self._now()
        return Session(login=login, nonce=secrets.token_urlsafe(16), began=now, seen=now)

    def token(self, session: Session, password_hash: str) -> str:
        """Return the cookie's value."""
        payload = json.dumps(asdict(session), separators=(",", ":")).encode()
        return f"{_text(payload)}.{_text(_signature(self._key(), payload, password_hash))}"

    def read(self, token: str) -> Session | None:
        """Parse a token that has not expired, without verifying it.

        Raises:
            DatabaseUnavailable: the shared database does not respond.
        """
        if self._shared is not None:
            self._refresh(self._shared)
        try:
            claims: dict[str, Any] = json.loads(_bytes(token.partition(".")[0]))
            session = Session(
                login=str(claims["login"]),
                nonce=str(claims["nonce"]),
                began=int(claims["began"]),
                seen=int(claims["seen"]),
            )
            now = self._now()
            in_time = now - session.seen <= IDLE_S and now - session.began <= LONGEST_S
            is_known = session.nonce not in self._ended
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        return session if in_time and is_known and len(token) <= LONGEST_TOKEN else None

    def proves(self, token: str, password_hash: str) -> bool:
        """Whether this server signed a token, and the user's password has not changed since."""
        payload, _, signature = token.partition(".")
        try:
            signed, given = _bytes(payload), _bytes(signature)
        except ValueError:
            return False
        return any(hmac.compare_digest(_signature(key, signed, password_hash), given) for _, key in self._keys)

    def renewed(self, session: Session) -> Session | None:
        """Return the session with its last use updated, if it is time to send the browser a new cookie."""
        now = self._now()
        return replace(session, seen=now) if now - session.seen >= RENEWED_AFTER_S else None

    def end(self, session: Session) -> None:
        """End a session, whatever copies of its cookie exist.

        Raises:
            DatabaseUnavailable, StorageFull: it could not be stored for the other servers.
        """

        def end() -> None:
            now = self._now()
            kept = {nonce: until for nonce, until in self._ended.items() if until > now}
            if len(kept) >= MOST_ENDED:
                del kept[min(kept, key=kept.__getitem__)]
            self._ended = {**kept, session.nonce: session.began + LONGEST_S + 1}

        self._change(end)

    def form_token(self, session: Session) -> str:
        """Return the CSRF token for forms."""
        return _text(_form_digest(self._key(), session))

    def is_form_token(self, session: Session, given: str) -> bool:
        try:
            digest = _bytes(given)
        except ValueError:
            return False
        return any(hmac.compare_digest(_form_digest(key, session), digest) for _, key in self._keys)

    def _now(self) -> int:
        return int((self._clock() + self._ahead).timestamp())

    def _key(self) -> bytes:
        """Return the current signing key; on several servers the one that `read` has just seen or made."""
        if not self._keys or (self._shared is None and not self._has_current_key()):
            self._change(self._add_key)
        return self._keys[0][1]

    def _has_current_key(self) -> bool:
        return bool(self._keys) and 0 <= self._now() - self._keys[0][0] < KEY_AGE_S

    def _add_key(self) -> None:
        if self._has_current_key():
            return  # another thread or server was first
        now = self._now()
        still_good = [(made, key) for made, key in self._keys if now - made < KEY_AGE_S + IDLE_S]
        self._keys = [(now, secrets.token_bytes(32)), *still_good]

    def _refresh(self, shared: Database) -> None:
        """Read what the servers of a database share, and replace a key that is too old."""
        with shared.read() as connection:
            self._ahead = database_time(connection) - self._clock()
            kept = servers.known_secret(connection, FILE)
        self._take(lambda: kept or EMPTY)
        if not self._has_current_key():
            with contextlib.suppress(StorageFull):
                self._change(self._add_key)

    def _change(self, change: Callable[[], None]) -> None:
        """Change keys or ended sessions, and store them."""
        with self._lock:
            if self._shared is None:
                change()
                self._write_file()
                return
            with self._shared.write() as tx:
                kept = servers.shared_secret(tx, FILE, EMPTY)
                self._take(lambda: kept)
                change()
                servers.change_secret(tx, FILE, self._kept())

    def _take(self, read: Callable[[], str]) -> None:
        try:
            kept = json.loads(read())
            self._keys = [(int(made), bytes.fromhex(key)) for made, key in kept["keys"]]
            self._ended = {str(nonce): int(until) for nonce, until in kept["ended"].items()}
        except (ConfigurationError, ValueError, TypeError, KeyError, AttributeError):
            _log.warning("all must log in on the page again", extra={"action": "page_sessions_lost"})

    def _kept(self) -> str:
        return json.dumps({"keys": [(made, key.hex()) for made, key in self._keys], "ended": self._ended})

    def _read_file(self) -> str:
        return read_secret(self._path, FILE)

    def _write_file(self) -> None:
        """Write keys and ended sessions; if that fails, they last until the server stops."""
        written = self._path.with_name(f"{FILE}.new")
        try:
            with os.fdopen(os.open(written, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
                file.write(self._kept())
            written.replace(self._path)
        except OSError as error:
            extra = {"action": "page_sessions_not_kept"}
            _log.warning("%s cannot be written: %s", self._path, error.strerror, extra=extra)


def _signature(key: bytes, payload: bytes, password_hash: str) -> bytes:
    return hmac.digest(key, b"session\0" + password_hash.encode() + b"\0" + payload, "sha256")


def _form_digest(key: bytes, session: Session) -> bytes:
    return hmac.digest(key, f"form\0{session.login}\0{session.nonce}".encode(), "sha256")


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    """Raise ValueError for what `_text` has not written."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError(str(error)) from None
