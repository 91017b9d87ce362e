"""A real nats-server with JetStream in a separate process, which can be killed, frozen and started again."""

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from support.ports import free_port
from support.processes import Process, listens
from support.waiting import until

PROGRAM = shutil.which("nats-server", path="/usr/sbin:/usr/bin:/usr/local/bin")


def why_not() -> str:
    """Why no such server can be started here."""
    if find_spec("nats") is None:
        return "not installed: nats-py, the extra `nats`"
    return "" if PROGRAM else "not installed: nats-server (tests/install-packages, Debian's package of that name)"


needs_nats = pytest.mark.skipif(bool(why_not()), reason=why_not())


class NatsServer(Process):
    def __init__(self, folder: Path, conf: str = "") -> None:
        self.port = free_port()
        self._folder = folder
        self._conf = folder / "nats.conf"
        self._conf.write_text(f'listen: 127.0.0.1:{self.port}\njetstream {{ store_dir: "{folder}/store" }}\n{conf}\n')

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it listens."""
        assert PROGRAM
        log = (self._folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen([PROGRAM, "-c", str(self._conf)], stdout=log, stderr=log)
        until(lambda: listens(self.port), what="nats-server to listen")


@contextlib.contextmanager
def nats_server(folder: Path, conf: str = "") -> Iterator[NatsServer]:
    folder.mkdir(parents=True, exist_ok=True)
    server = NatsServer(folder, conf)
    server.start()
    try:
        yield server
    finally:
        server.kill()


async def stored(url: str, stream: str, **login: Any) -> list[Any]:
    """Every message of a stream, in order, as somebody else's client reads it."""
    import nats  # noqa: PLC0415 - an extra of the installation
    from nats.js.errors import NotFoundError  # noqa: PLC0415 - as above

    client = await nats.connect(url, **login)
    try:
        context = client.jetstream()
        try:
            state = (await context.stream_info(stream)).state
        except NotFoundError:
            return []
        numbers = range(state.first_seq, state.last_seq + 1) if state.messages else range(0)
        return [await context.get_msg(stream, number) for number in numbers]
    finally:
        await client.close()


class Operator:
    """An operator with an account of his, as `nsc` makes them: for a server that wants credentials."""

    def __init__(self) -> None:
        import nkeys  # noqa: PLC0415 - an extra of the installation

        limits = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1)
        storage = ("mem_storage", "disk_storage", "streams", "consumer")
        self._operator, _ = _pair(nkeys.PREFIX_BYTE_OPERATOR)
        self._account, _ = _pair(nkeys.PREFIX_BYTE_ACCOUNT)
        system, _ = _pair(nkeys.PREFIX_BYTE_ACCOUNT)
        own = _jwt(self._operator, self._operator, {"type": "operator"})
        used = _jwt(self._operator, self._account, {"type": "account", "limits": limits | dict.fromkeys(storage, -1)})
        idle = _jwt(self._operator, system, {"type": "account", "limits": limits | dict.fromkeys(storage, 0)})
        self.conf = f"operator: {own}\nresolver: MEMORY\nsystem_account: {_name(system)}\n"
        self.conf += f"resolver_preload: {{ {_name(self._account)}: {used}, {_name(system)}: {idle} }}\n"

    def credentials(self, path: Path) -> Path:
        """A file with a new user's credentials."""
        import nkeys  # noqa: PLC0415 - an extra of the installation

        user, seed = _pair(nkeys.PREFIX_BYTE_USER)
        everything = {"type": "user", "subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {}}
        jwt = _jwt(self._account, user, everything)
        path.write_text(
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
        path.chmod(0o600)
        return path


def _pair(prefix: int) -> tuple[Any, str]:
    import nkeys  # noqa: PLC0415 - an extra of the installation

    seed = bytes(nkeys.encode_seed(os.urandom(32), prefix))
    return nkeys.from_seed(bytearray(seed)), seed.decode()


def _name(pair: Any) -> str:
    return str(pair.public_key.decode())


def _jwt(issuer: Any, subject: Any, claims: dict[str, Any]) -> str:
    said = {"iat": 1_700_000_000, "iss": _name(issuer), "sub": _name(subject), "nats": {**claims, "version": 2}}
    said["jti"] = base64.b32encode(hashlib.sha256(json.dumps(said).encode()).digest()).decode().rstrip("=")
    parts = [_base64(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "ed25519-nkey"}, said)]
    return ".".join([*parts, _base64(issuer.sign(".".join(parts).encode()))])


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def stored_now(url: str, stream: str, **login: Any) -> list[Any]:
    """The same for who has no loop."""
    return asyncio.run(stored(url, stream, **login))
