"""The first account: an administrator whose password is generated at the first start."""

import secrets
from pathlib import Path

from pulpit.api.auth.rights import ADMIN
from pulpit.clock import Clock
from pulpit.net.config_files import ADMIN_PASSWORD_FILE, ADMINISTRATOR
from pulpit.net.passwords import hash_password
from pulpit.server import data_folder
from pulpit.store import users
from pulpit.store.database import Database


def ensure_admin(database: Database, data_dir: Path, clock: Clock) -> str | None:
    """Create the administrator if there is no user yet, and return the new password, to be shown once.

    The file is written before the row is committed: there is never an administrator whose password is unknown.
    """
    with database.write() as tx:
        if users.every(tx.connection):
            return None
        password = secrets.token_urlsafe(18)
        data_folder.write_secret(data_dir / ADMIN_PASSWORD_FILE, password + "\n")
        digest = hash_password(password)
        users.add(tx, ADMINISTRATOR, name="Administrator", password_hash=digest, role=ADMIN, now=clock())
    return password
