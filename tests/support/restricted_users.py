"""Users with few rights, the same for both brokers: as files of the embedded one, and as RabbitMQ imports them."""

import base64
import hashlib
import json
from pathlib import Path

PASSWORD = "s3cret"
USERS = "guest:guest\n" + "".join(
    f"{login}:{PASSWORD}\n" for login in ("ci", "zoo", "scanner", "asker", "worker", "stranger")
)
PERMISSIONS = """\
guest    all                   *         *
ci       write                 exchange  perm.in
zoo      write                 exchange  perm.in     key=zoo.#
zoo      read                  exchange  perm.in     key=zoo.*
zoo      all                   queue     amq.gen-*
scanner  read                  exchange  perm.in
scanner  all                   queue     scanner.*
asker    write                 exchange  amq.default
asker    configure             *         asker.*
worker   read                  queue     jobs
worker   configure,write,read  queue     worker.*
worker   configure,read        exchange  worker.*
worker   write                 exchange  worker.dead
"""
_FOR_RABBITMQ = {
    "ci": ("", r"^perm\.in$", ""),
    "zoo": (r"^amq\.gen-", r"^(perm\.in|amq\.gen-.*)$", r"^(perm\.in|amq\.gen-.*)$"),
    "scanner": (r"^scanner\.", r"^scanner\.", r"^(perm\.in|scanner\..*)$"),
    "asker": (r"^asker\.", r"^amq\.default$", ""),
    "worker": (r"^worker\.", r"^worker\.", r"^(jobs|worker\..*)$"),
}
_TOPICS = [("zoo", "perm.in", r"^zoo(\.|$)", r"^zoo\.[^.#]*$")]


def write_people(folder: Path) -> dict[str, str]:
    """Write the embedded broker's files and return where they are."""
    files = {"users_file": USERS, "permissions_file": PERMISSIONS}
    for name, text in files.items():
        path = folder / name
        path.write_text(text)
        path.chmod(0o600)
    return {name: str(folder / name) for name in files}


def definitions(folder: Path) -> Path:
    """Write the file for `rabbitmqctl import_definitions`."""
    logins = [line.partition(":")[0] for line in USERS.splitlines()[1:]]
    people = {
        "users": [{"name": login, "password_hash": _hash(PASSWORD), "tags": ""} for login in logins],
        "permissions": [_permission(login, *patterns) for login, patterns in _FOR_RABBITMQ.items()],
        "topic_permissions": [
            {"user": user, "vhost": "/", "exchange": exchange, "write": write, "read": read}
            for user, exchange, write, read in _TOPICS
        ],
    }
    path = folder / "people.json"
    path.write_text(json.dumps(people))
    return path


def _permission(login: str, configure: str, write: str, read: str) -> dict[str, str]:
    return {"user": login, "vhost": "/", "configure": configure, "write": write, "read": read}


def _hash(password: str) -> str:
    salt = b"salt"
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
