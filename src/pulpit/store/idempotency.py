"""Requests that were answered, by the key that the client gave, so that a repetition changes nothing."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from pulpit.store.database import Transaction
from pulpit.store.schema import idempotency_keys

KEPT_FOR: Final = timedelta(hours=24)
LONGEST_KEY: Final = 255


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """A request that came before under the same key."""

    request_digest: str
    answer: Any


def begin(tx: Transaction, key: str, request_digest: str, *, now: datetime) -> Answered | None:
    """Take a key for this transaction, or tell what was answered under it; a transaction that holds it is awaited."""
    tx.connection.execute(delete(idempotency_keys).where(idempotency_keys.c.created_at < now - KEPT_FOR))
    row = {"key": key, "request_digest": request_digest, "answer": [], "created_at": now}
    dialect = postgresql if tx.connection.dialect.name == "postgresql" else sqlite
    take = dialect.insert(idempotency_keys).values(row).on_conflict_do_nothing().returning(idempotency_keys.c.key)
    if tx.connection.execute(take).scalar() is not None:
        return None
    wanted = select(idempotency_keys.c.request_digest, idempotency_keys.c.answer)
    found = tx.connection.execute(wanted.where(idempotency_keys.c.key == key)).one()
    return Answered(request_digest=found.request_digest, answer=found.answer)


def finish(tx: Transaction, key: str, answer: Any) -> None:
    """Write down what is answered under a key that this transaction has taken."""
    tx.connection.execute(update(idempotency_keys).where(idempotency_keys.c.key == key).values(answer=answer))
