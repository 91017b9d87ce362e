"""The users and permissions files."""

from pathlib import Path

import pytest

from pulpit.broker.config import BrokerUser
from pulpit.broker.permissions import CONFIGURE, EXCHANGE, OPERATIONS, QUEUE, READ, WRITE, Grant, GrantedRights
from pulpit.broker.refusals import ChannelRefusal
from pulpit.broker.users import UserFiles
from pulpit.errors import ConfigurationError
from pulpit.net.passwords import Password, hash_password

SECRET = "hunter2"


def user_files(folder: Path, users: str | None = None, permissions: str | None = None) -> UserFiles:
    files = {"users_file": users, "permissions_file": permissions}
    paths = {name: folder / name for name, text in files.items() if text is not None}
    for name, path in paths.items():
        path.write_text(files[name] or "")
        path.chmod(0o600)
    return UserFiles(**paths, virtual_hosts=("/", "blue"))


def test_without_files_there_is_the_guest_of_this_machine() -> None:
    assert UserFiles().read() == {"guest": BrokerUser(password=Password("guest"), anywhere=False)}


def test_users_have_all_rights_until_a_file_says_otherwise(tmp_path: Path) -> None:
    users = user_files(tmp_path, f"# people\n\nann:{SECRET}\n  bob:with:colon \n").read()
    assert users == {"ann": BrokerUser(password=Password(SECRET)), "bob": BrokerUser(password=Password("with:colon"))}
    users = user_files(
        tmp_path, f"ann:{SECRET}\nbob:x\n", "# who\nann read,write queue a.* vhost=blue key=k.#\n"
    ).read()
    grant = Grant(operations=frozenset({READ, WRITE}), kinds=frozenset({QUEUE}), name="a.*", key="k.#", host="blue")
    assert users["ann"].grants == (grant,)
    assert users["bob"].grants == ()


def test_a_star_is_everybody_and_quotes_hold_blanks(tmp_path: Path) -> None:
    users = user_files(tmp_path, "ann:x\nthe builder:y\n", "* all * 'my queue'\n'the builder' read * *\n").read()
    assert users["ann"].grants == (Grant(operations=OPERATIONS, name="my queue"),)
    assert users["the builder"].grants == (Grant(name="my queue"), Grant(operations=frozenset({READ})))


def test_guest_may_be_limited_too(tmp_path: Path) -> None:
    assert user_files(tmp_path, None, "guest read * *\n").read()["guest"].grants


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (SECRET, "is not login:password"),
        (f":{SECRET}", "is not login:password"),
        ("ann:", "is not login:password"),
        (f"first:{SECRET}", "names 'first' again"),
        (f"ann:scrypt${SECRET}", "hashed password that cannot be used: it is not scrypt"),
        ("ann:scrypt$1000$8$1$AAAA$AAAA", "its cost is none"),
        ("ann:scrypt$1048576$8$1$AAAA$AAAA", "its cost is none"),
        ("ann:scrypt$1024$8$1$AAAA$?", "no base64"),
        ("ann:scrypt$1024$8$1$AAAA$AAAA", "no 32 bytes"),
    ],
)
def test_a_wrong_user_is_refused_by_the_number_of_the_line_alone(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"users_file: line 3 of .*{words}") as refused:
        user_files(tmp_path, f"first:x\n\n{line}\n").read()
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ann", "is not: user, operations"),
        ("ann read queue", "is not: user, operations"),
        ("ann consume queue q", "has 'consume' where configure, write, read or all"),
        ("ann read,all queue q", "has 'read,all' where"),
        ("ann read stream q", r"has 'stream' where exchange, queue or \*"),
        ("ann read queue q extra", "has 'extra' at its end"),
        ("ann read queue q key=a key=b", "has 'key=b' at its end"),
        ("ann read queue q vhost=red", "names no virtual host: 'red'"),
        ("bob read queue q", "names 'bob', who is no user"),
        ("ann read queue 'q", "cannot be split into words"),
    ],
)
def test_a_wrong_permission_is_refused_in_a_sentence(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=f"permissions_file: line 2 of .*{words}") as refused:
        user_files(tmp_path, f"ann:{SECRET}\n", f"* read * *\n{line}\n").read()
    assert "\n" not in str(refused.value)


def test_files_that_others_can_open_are_refused(tmp_path: Path) -> None:
    people = user_files(tmp_path, f"ann:{SECRET}\n", "ann all * *\n")
    (tmp_path / "permissions_file").chmod(0o644)
    assert people.read()
    (tmp_path / "permissions_file").chmod(0o664)
    with pytest.raises(ConfigurationError, match="chmod go-w"):
        people.read()
    (tmp_path / "users_file").chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        people.read()
    (tmp_path / "users_file").write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="no text"):
        people.read()
    (tmp_path / "users_file").unlink()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        people.read()
    with pytest.raises(ConfigurationError, match="there is no user"):
        user_files(tmp_path, "# nobody\n").read()


def test_the_hash_that_the_command_makes_is_taken(tmp_path: Path) -> None:
    users = user_files(tmp_path, f"ann:{hash_password(SECRET)}\n").read()
    assert users["ann"].password.fits(SECRET)
    assert not users["ann"].password.fits("wrong")


def test_the_example_of_the_documentation_does_what_it_says(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "broker.md").read_text()
    example = next(block for block in page.split("```")[1::2] if "# who" in block)
    people = user_files(
        tmp_path, "".join(f"{name}:x\n" for name in ("ci", "release", "scanner", "ann", "admin")), example
    )
    users = people.read()

    def may(login: str, *asked: str, host: str = "/") -> bool:
        grants = [grant for grant in users[login].grants or () if grant.host in (None, host)]
        try:
            GrantedRights(user=login, host=host, grants=grants).require(*asked)
        except ChannelRefusal:
            return False
        return True

    assert may("ci", WRITE, EXCHANGE, "ci", "k")
    assert not may("ci", READ, EXCHANGE, "ci", "k")
    assert not may("ci", WRITE, EXCHANGE, "", "k")
    assert may("release", WRITE, EXCHANGE, "amq.topic", "release.1")
    assert not may("release", WRITE, EXCHANGE, "amq.topic", "other")
    assert may("scanner", READ, EXCHANGE, "pulp", "#")
    assert may("scanner", CONFIGURE, QUEUE, "scanner.1")
    assert not may("scanner", WRITE, EXCHANGE, "pulp", "k")
    assert may("ann", READ, EXCHANGE, "pulp", "#", host="blue")
    assert not may("ann", READ, EXCHANGE, "pulp", "#")
    assert may("admin", CONFIGURE, EXCHANGE, "anything")
