"""Uploads shared by several servers: which pieces have arrived, in which order; the bytes are files of the storage."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select, update

from pulpit.store.database import Transaction
from pulpit.store.schema import upload_pieces, uploads


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Bytes of an upload from an offset on; a later piece overwrites earlier ones."""

    start: int
    size: int
    sha256: str


def begin(tx: Transaction, upload_id: str, *, most: int, now: datetime) -> bool:
    """Create an empty upload; false if there are too many already."""
    if tx.connection.execute(select(func.count()).select_from(uploads)).scalar_one() >= most:
        return False
    tx.connection.execute(insert(uploads).values(id=upload_id, touched_at=now))
    return True


def ids(connection: Connection) -> list[str]:
    """All of them, sorted."""
    return list(connection.execute(select(uploads.c.id).order_by(uploads.c.id)).scalars())


def size(connection: Connection, upload_id: str) -> int | None:
    """Return how many bytes have arrived; `None` if there is no such upload."""
    if connection.execute(select(uploads.c.id).where(uploads.c.id == upload_id)).scalar() is None:
        return None
    columns = upload_pieces.c
    found = connection.execute(select(func.max(columns.start + columns.size)).where(columns.upload_id == upload_id))
    return found.scalar() or 0


def add_piece(tx: Transaction, upload_id: str, piece: Piece, *, most: int, now: datetime) -> bool | None:
    """Record a piece whose file is in the storage.

    Returns:
        False if there are too many already or it would leave a gap, `None` if the upload is gone.
    """
    locked = select(uploads.c.id).where(uploads.c.id == upload_id).with_for_update()
    if tx.connection.execute(locked).scalar() is None:
        return None
    columns = upload_pieces.c
    counted = select(func.count()).select_from(upload_pieces).where(columns.upload_id == upload_id)
    count = tx.connection.execute(counted).scalar_one()
    if count >= most or piece.start > (size(tx.connection, upload_id) or 0):
        return False
    values = {"start": piece.start, "size": piece.size, "sha256": piece.sha256}
    tx.connection.execute(insert(upload_pieces).values(upload_id=upload_id, number=count, **values))
    tx.connection.execute(update(uploads).where(uploads.c.id == upload_id).values(touched_at=now))
    return True


def pieces(connection: Connection, upload_id: str) -> list[Piece]:
    """Return the pieces in order of arrival."""
    columns = upload_pieces.c
    wanted = select(columns.start, columns.size, columns.sha256).where(columns.upload_id == upload_id)
    return [Piece(**row) for row in connection.execute(wanted.order_by(columns.number)).mappings()]


def remove(tx: Transaction, upload_id: str) -> bool:
    """Delete an upload; false if there is none. Its files are removed as orphans when nothing else needs them."""
    tx.connection.execute(delete(upload_pieces).where(upload_pieces.c.upload_id == upload_id))
    return bool(tx.connection.execute(delete(uploads).where(uploads.c.id == upload_id)).rowcount)


def forget(tx: Transaction, *, untouched_since: datetime) -> None:
    """Delete abandoned uploads."""
    old = select(uploads.c.id).where(uploads.c.touched_at < untouched_since)
    tx.connection.execute(delete(upload_pieces).where(upload_pieces.c.upload_id.in_(old)))
    tx.connection.execute(delete(uploads).where(uploads.c.touched_at < untouched_since))


def files(connection: Connection) -> set[str]:
    """Return the SHA-256 of every piece, which the storage must keep."""
    return set(connection.execute(select(upload_pieces.c.sha256).distinct()).scalars())
