"""The tables of the broker's store (SQLite), and its statements."""

from typing import Final, TypeAlias

SqlValue: TypeAlias = int | str | bytes | bytearray | None

VERSION: Final = 2
"""Stored as `user_version`; version 1 did not store it, so 0 is a new database or version 1."""

WAIT_FOR_DISK: Final = "PRAGMA synchronous = FULL"
"""A commit is durable when it returns, and so are earlier ones that did not wait."""
DO_NOT_WAIT: Final = "PRAGMA synchronous = NORMAL"
PRAGMAS: Final = (
    "PRAGMA journal_mode = WAL",
    WAIT_FOR_DISK,
    "PRAGMA busy_timeout = 5000",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA wal_autocheckpoint = 4000",
    "PRAGMA journal_size_limit = 16777216",  # size to which the WAL file is truncated
    "PRAGMA secure_delete = OFF",  # some builds overwrite deleted data, so that a purge writes everything once more
)

SPARE_PAGES: Final = 4096
"""Free pages of 4 KiB that stay in the file."""
QUICKLY_REWRITTEN: Final = 16_384
"""Used pages up to which the file is vacuumed to release free ones; a larger file keeps them for reuse."""

TABLES: Final = (
    (
        "CREATE TABLE IF NOT EXISTS exchange (vhost TEXT, name TEXT, type TEXT, auto_delete INTEGER, internal INTEGER,"
        " arguments BLOB, PRIMARY KEY (vhost, name)) WITHOUT ROWID"
    ),
    # `touched`: something may have been delivered, so after a crash everything in it counts as redelivered
    (
        "CREATE TABLE IF NOT EXISTS queue (id INTEGER PRIMARY KEY, vhost TEXT, name TEXT, auto_delete INTEGER,"
        " arguments BLOB, touched INTEGER DEFAULT 0, UNIQUE (vhost, name))"
    ),
    (
        "CREATE TABLE IF NOT EXISTS binding (vhost TEXT, source TEXT, to_exchange INTEGER, destination TEXT, key TEXT,"
        " arguments BLOB, PRIMARY KEY (vhost, source, to_exchange, destination, key, arguments)) WITHOUT ROWID"
    ),
    # a message for one queue is in its entry; one for several queues is here once
    "CREATE TABLE IF NOT EXISTS message (id INTEGER PRIMARY KEY, uses INTEGER, address BLOB, header BLOB, body BLOB)",
    (
        "CREATE TABLE IF NOT EXISTS entry (id INTEGER PRIMARY KEY, queue INTEGER, priority INTEGER, durable INTEGER,"
        " redelivered INTEGER, expires_at INTEGER, message INTEGER, size INTEGER, address BLOB, header BLOB, body BLOB)"
    ),
    "CREATE INDEX IF NOT EXISTS entry_in_queue ON entry (queue, priority, id, size)",
    "CREATE INDEX IF NOT EXISTS entry_of_message ON entry (message) WHERE message IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS entry_not_durable ON entry (id) WHERE durable = 0",
)

# each of them uses an index, never the bodies
FORGET_NOT_DURABLE: Final = (
    "DELETE FROM entry WHERE durable = 0",
    "DELETE FROM entry WHERE queue IN (SELECT DISTINCT queue FROM entry EXCEPT SELECT id FROM queue)",
    "DELETE FROM message WHERE id NOT IN (SELECT message FROM entry WHERE message IS NOT NULL)",
    (
        "UPDATE message SET uses = (SELECT count(*) FROM entry WHERE entry.message = message.id)"
        " WHERE uses <> (SELECT count(*) FROM entry WHERE entry.message = message.id)"
    ),
)

# version 1 stored AMQP 1.0 data after the header: a byte 1, the header's length, header, the rest
UNWRAP_HEADERS: Final = tuple(
    f"UPDATE {table} SET header = unwrapped(header) WHERE substr(header, 1, 1) = x'01'"  # noqa: S608 - our own names
    for table in ("message", "entry")
)

LOAD: Final = (
    "SELECT e.id, e.redelivered, e.expires_at, e.message, e.size, coalesce(e.address, m.address),"
    " coalesce(e.header, m.header), coalesce(e.body, m.body)"
    " FROM entry e LEFT JOIN message m ON m.id = e.message"
    " WHERE e.queue = ? AND e.priority = ? AND e.id > ? ORDER BY e.id LIMIT ?"
)
LOAD_LISTED: Final = (
    "SELECT e.id, e.message, coalesce(e.address, m.address), coalesce(e.header, m.header), coalesce(e.body, m.body)"
    " FROM entry e LEFT JOIN message m ON m.id = e.message WHERE e.id IN (SELECT value FROM json_each(?))"
)
COUNTS: Final = "SELECT queue, priority, count(*), sum(size), max(id) FROM entry GROUP BY queue, priority"
LAST_ID: Final = (
    "SELECT max(coalesce((SELECT max(id) FROM entry), 0), coalesce((SELECT max(id) FROM message), 0),"
    " coalesce((SELECT max(id) FROM queue), 0))"
)

INSERT_ENTRIES: Final = "INSERT INTO entry VALUES "
ENTRY: Final = "(?, ?, ?, ?, ?, nullif(?, 0), nullif(?, 0), ?, ?, ?, ?)"
INSERT_MESSAGES: Final = "INSERT INTO message VALUES "
MESSAGE: Final = "(?, ?, ?, ?, ?)"
USED_AGAIN: Final = " ON CONFLICT (id) DO UPDATE SET uses = uses + excluded.uses"

DELETE_RANGE: Final = "DELETE FROM entry WHERE id BETWEEN ? AND ?"
DELETE_LISTED: Final = "DELETE FROM entry WHERE id IN (SELECT value FROM json_each(?))"
USE_LESS: Final = (
    "UPDATE message SET uses = uses - gone.n"
    " FROM (SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS n FROM json_each(?)) AS gone"
    " WHERE message.id = gone.id"
)
DELETE_UNUSED: Final = (
    "DELETE FROM message WHERE uses <= 0 AND id IN (SELECT json_extract(value, '$[0]') FROM json_each(?))"
)

WIPE_USES: Final = (
    "SELECT message, count(*) FROM entry WHERE queue = ? AND priority = ? AND id > ? AND id <= ?"
    " AND message IS NOT NULL GROUP BY message"
)
WIPE: Final = "DELETE FROM entry WHERE queue = ? AND priority = ? AND id > ? AND id <= ?"

SAVE_EXCHANGE: Final = "INSERT OR REPLACE INTO exchange VALUES (?, ?, ?, ?, ?, ?)"
DELETE_EXCHANGE: Final = "DELETE FROM exchange WHERE vhost = ? AND name = ?"
SAVE_QUEUE: Final = "INSERT OR REPLACE INTO queue VALUES (?, ?, ?, ?, ?, 0)"
DELETE_QUEUE: Final = "DELETE FROM queue WHERE id = ?"
TOUCH_QUEUE: Final = "UPDATE queue SET touched = 1 WHERE id = ?"
SAVE_BINDING: Final = "INSERT OR REPLACE INTO binding VALUES (?, ?, ?, ?, ?, ?)"
DELETE_BINDING: Final = (
    "DELETE FROM binding WHERE vhost = ? AND source = ? AND to_exchange = ? AND destination = ? AND key = ?"
    " AND arguments = ?"
)
MARK_REDELIVERED: Final = "UPDATE entry SET redelivered = 1 WHERE id IN (SELECT value FROM json_each(?))"
UNTOUCH_ALL: Final = "UPDATE queue SET touched = 0"
