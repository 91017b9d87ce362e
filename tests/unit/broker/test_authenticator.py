"""Logins: from which address, by which proof, into which virtual host, and what a change of users does to them."""

import asyncio
import base64
import hashlib
from collections.abc import Mapping

from pulpit.broker.authenticator import PasswordAuthenticator
from pulpit.broker.config import BrokerConfig, BrokerUser, guest
from pulpit.broker.permissions import Grant
from pulpit.broker.sasl import Attempt
from pulpit.net.passwords import Password


def authenticator(users: Mapping[str, BrokerUser]) -> PasswordAuthenticator:
    return PasswordAuthenticator(BrokerConfig(data_dir=None, users=users, failed_login_delay=0.0))


def attempt(user: str, password: str | None, *, local: bool = True) -> Attempt:
    mechanism = "EXTERNAL" if password is None else "PLAIN"
    return Attempt(mechanism=mechanism, user=user, password=password, address="there", local=local)


async def judged(
    authenticator: PasswordAuthenticator, asked: Attempt, *, meanwhile: Mapping[str, BrokerUser] | None = None
) -> bool:
    answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    authenticator.authenticate(asked, lambda _attempt, accepted: answered.set_result(accepted))
    if meanwhile is not None:
        authenticator.admit(meanwhile)
    return await answered


def accepted(
    users: Mapping[str, BrokerUser], asked: Attempt, meanwhile: Mapping[str, BrokerUser] | None = None
) -> bool:
    return asyncio.run(judged(authenticator(users), asked, meanwhile=meanwhile))


def hashed(password: str) -> Password:
    key = hashlib.scrypt(password.encode(), salt=b"salt", n=1024, r=8, p=1, dklen=32)
    return Password(f"scrypt$1024$8$1${base64.b64encode(b'salt').decode()}${base64.b64encode(key).decode()}")


def test_the_guest_comes_from_this_machine_only() -> None:
    assert accepted(guest(), attempt("guest", "guest"))
    assert not accepted(guest(), attempt("guest", "guest", local=False))
    assert not accepted(guest(), attempt("guest", None, local=False))


def test_a_certificate_does_for_a_password_unless_it_must_not() -> None:
    users = {
        "ann": BrokerUser(password=Password("x")),
        "pulpit": BrokerUser(password=Password("y"), by_certificate=False),
    }
    assert accepted(users, attempt("ann", None))
    assert not accepted(users, attempt("pulpit", None))
    assert accepted(users, attempt("pulpit", "y"))
    assert not accepted(users, attempt("eve", None))


def test_a_password_that_is_changed_while_it_is_judged_counts_no_more() -> None:
    before, after = {"ann": BrokerUser(password=hashed("old"))}, {"ann": BrokerUser(password=hashed("new"))}
    assert accepted(before, attempt("ann", "old"))
    assert not accepted(before, attempt("ann", "old"), meanwhile=after)
    assert not accepted(before, attempt("ann", "old"), meanwhile={})


def test_who_is_gone_or_changed_is_told_and_others_are_not() -> None:
    same, one, other = (BrokerUser(password=Password(text)) for text in ("a", "b", "c"))
    here = authenticator({"same": same, "changed": one, "gone": one})
    assert here.admit({"same": BrokerUser(password=Password("a")), "changed": other, "new": one}) == {"changed", "gone"}
    limited = {"same": BrokerUser(password=Password("a"), grants=()), "changed": other, "new": one}
    assert here.admit(limited) == {"same"}


def test_a_virtual_host_is_for_those_who_may_do_something_there() -> None:
    grants = (Grant(host="blue"),)
    users = {
        "ann": BrokerUser(password=Password("x"), grants=grants),
        "bob": BrokerUser(password=Password("x"), grants=()),
    }
    here = authenticator(users)
    assert here.rights("ann", "blue") is not None
    assert here.rights("ann", "/") is None
    assert here.rights("bob", "/") is None
    assert here.rights("gone", "/") is None
