"""Any value that AMQP 0-9-1 allows in headers, by three encoders, is read by a subscriber over one connection.

`PULPIT_FUZZ_ROUNDS` makes it longer, `PULPIT_FUZZ_SEED` repeats a run.
"""

import asyncio
import base64
import json
import math
import os
import random
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pika
import pytest

import pulpit
from pulpit.subscriber.listen import as_json, as_subject, as_text
from support.embedded_broker import broker_process
from support.rabbitmq import needs_rabbitmq, rabbitmq

ROUNDS: Final = int(os.environ.get("PULPIT_FUZZ_ROUNDS", "4"))
SEED: Final = int(os.environ.get("PULPIT_FUZZ_SEED", "0")) or random.SystemRandom().randrange(2**32)
MESSAGES: Final = 50
"""Of a round."""
NODE: Final = Path(__file__).parents[1] / "clients" / "node"
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
LAST_SECOND: Final = 253_402_300_799
"""Of the year 9999."""
ODD_SECONDS: Final = (1_772_000_000_000, 2**64 - 1, 2**64 - 14_256_000, 2**63, LAST_SECOND + 1)
FINITE: Final = (1.75, -0.0, 5e-324, 1.7e308)
NONE_OF_RABBITMQ: Final = (math.nan, math.inf, -math.inf)
"""Erlang has no such numbers: RabbitMQ 3.10 closes the connection of whoever publishes one (541)."""


class Chance(random.Random):
    """What is drawn, and which doubles are among it."""

    doubles: tuple[float, ...] = FINITE


@pytest.fixture(
    scope="module", params=["embedded", pytest.param("rabbitmq", marks=[pytest.mark.needs_rabbitmq, needs_rabbitmq])]
)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp(request.param)
    with broker_process(folder) if request.param == "embedded" else rabbitmq(folder) as broker:
        yield broker.url


# Bytes of our own: every type there is -------------------------------------------------------------------------------


class RawHeaders(pika.BasicProperties):  # type: ignore[misc] # pika has no types
    """Properties whose headers are bytes."""

    def __init__(self, table: bytes) -> None:
        super().__init__()
        self.table = table

    def encode(self) -> list[bytes]:
        return [pika.BasicProperties.FLAG_HEADERS.to_bytes(2, "big"), struct.pack(">I", len(self.table)), self.table]


NUMBERS: Final[Mapping[str, str]] = {
    "b": ">b", "B": ">B", "s": ">h", "u": ">H", "I": ">i", "i": ">I", "l": ">q", "L": ">q", "f": ">f", "d": ">d",
}  # fmt: skip


def raw_value(chance: Chance, depth: int = 0) -> tuple[bytes, Any]:
    """The bytes of a value with its type, and what they mean."""
    kind = chance.choice([*NUMBERS, *"tDSxTV", *("AF" if depth < 4 else "")])
    meaning: Any
    if kind in NUMBERS:
        packed = struct.Struct(NUMBERS[kind])
        raw = chance.randbytes(packed.size)
        if kind in "fd" and not (chance.doubles is not FINITE and chance.random() < 0.5):
            raw = packed.pack(chance.choice(chance.doubles if kind == "d" else (1.75, -0.0)))
        meaning = packed.unpack(raw)[0]
    elif kind == "t":
        raw = chance.choice([b"\0", b"\1", b"\7"])
        meaning = raw != b"\0"
    elif kind == "D":
        scale, number = chance.randrange(256), chance.randrange(-(2**31), 2**31)
        raw, meaning = struct.pack(">Bi", scale, number), Decimal(number).scaleb(-scale)
    elif kind in "Sx":
        content = chance.choice([chance.randbytes(chance.randrange(40)), "grüße 日本 \0".encode(), b""])
        raw, meaning = struct.pack(">I", len(content)) + content, _text(content) if kind == "S" else content
    elif kind == "T":
        seconds = chance.choice([chance.randrange(2**64), chance.randrange(2**35), *ODD_SECONDS])
        raw, meaning = struct.pack(">Q", seconds), _moment(seconds)
    elif kind == "V":
        raw, meaning = b"", None
    elif kind == "A":
        items = [raw_value(chance, depth + 1) for _ in range(chance.randrange(4))]
        content = b"".join(item for item, _ in items)
        raw, meaning = struct.pack(">I", len(content)) + content, [item for _, item in items]
    else:
        content, meaning = raw_table(chance, depth + 1)
        raw = struct.pack(">I", len(content)) + content
    return kind.encode() + raw, meaning


def raw_table(chance: Chance, depth: int = 0) -> tuple[bytes, dict[str, Any]]:
    content, meanings = b"", {}
    for number in range(chance.randrange(1, 6)):
        name = f"{number}".encode() + chance.choice([b"", b"-header", "-grüße".encode(), b"-\xff", b"x" * 200])
        raw, meanings[name.decode("utf-8", "surrogateescape")] = raw_value(chance, depth)
        content += bytes((len(name),)) + name + raw
    return content, meanings


def _text(content: bytes) -> str | bytes:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


def _moment(seconds: int) -> datetime | int:
    return EPOCH + timedelta(seconds=seconds) if seconds <= LAST_SECOND else seconds


def with_our_bytes(url: str, exchange: str, chance: Chance) -> list[dict[str, Any]]:
    tables = [raw_table(chance) for _ in range(MESSAGES)]
    publish(url, exchange, [RawHeaders(raw) for raw, _ in tables])
    return [meaning for _, meaning in tables]


def publish(url: str, exchange: str, properties: Sequence[pika.BasicProperties]) -> None:
    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for one in properties:
            channel.basic_publish(exchange, "values", b"{}", one)


# What pika and amqplib make of their languages' values ---------------------------------------------------------------


def python_value(chance: Chance, depth: int = 0) -> Any:
    makers: list[Callable[[], Any]] = [
        lambda: chance.choice(["", "grüße", "\0", "x" * 300]),
        lambda: chance.randbytes(chance.randrange(20)),
        lambda: chance.random() < 0.5,
        lambda: chance.randrange(-(2**63), 2**63),
        lambda: Decimal(chance.randrange(-(10**6), 10**6)).scaleb(-chance.randrange(5)),
        lambda: EPOCH + timedelta(seconds=chance.randrange(LAST_SECOND)),
        lambda: None,
    ]
    if depth < 3:
        makers.append(lambda: [python_value(chance, depth + 1) for _ in range(chance.randrange(4))])
        makers.append(lambda: {str(n): python_value(chance, depth + 1) for n in range(chance.randrange(4))})
    return chance.choice(makers)()


def with_pika(url: str, exchange: str, chance: Chance) -> list[dict[str, Any]]:
    headers = [{str(n): python_value(chance) for n in range(chance.randrange(1, 6))} for _ in range(MESSAGES)]
    publish(url, exchange, [pika.BasicProperties(headers=each) for each in headers])
    return headers


def node_value(chance: Chance, depth: int = 0) -> tuple[Any, Any]:
    """A value as `values.js` reads it, and what a subscriber gets."""
    content, number = chance.randbytes(chance.randrange(20)), chance.choice(chance.doubles)
    seconds, whole = chance.choice([0, 1_772_000_000, 1_772_000_000_000]), chance.randrange(-(2**31), 2**31)
    plain = [
        ("grüße", "grüße"),
        (True, True),
        (None, None),
        (whole, whole),
        (2**52, 2**52),
        (1.75, 1.75),
        ({"!": "double", "value": {"number": str(number).replace("inf", "Infinity")}}, number),
        ({"bytes": base64.b64encode(content).decode()}, content),
        ({"!": "float", "value": 0.5}, 0.5),
        ({"!": "timestamp", "value": seconds}, _moment(seconds)),
        ({"!": "decimal", "value": {"digits": 175, "places": 2}}, Decimal("1.75")),
        ({"!": "int16", "value": -7}, -7),
    ]
    if depth < 3 and chance.random() < 0.3:
        items = [node_value(chance, depth + 1) for _ in range(chance.randrange(4))]
        if chance.random() < 0.5:
            return [item for item, _ in items], [item for _, item in items]
        return {f"k{n}": item for n, (item, _) in enumerate(items)}, {
            f"k{n}": item for n, (_, item) in enumerate(items)
        }
    return chance.choice(plain)


def with_amqplib(url: str, exchange: str, chance: Chance) -> list[dict[str, Any]]:
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    if not (NODE / "node_modules" / "amqplib").exists():
        command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"]
        installed = subprocess.run(command, cwd=NODE, capture_output=True, text=True, timeout=100, check=False)
        if installed.returncode:
            pytest.skip(f"npm cannot install amqplib here: {installed.stderr.strip()[-200:]}")
    made = [{f"h{n}": node_value(chance) for n in range(chance.randrange(1, 6))} for _ in range(MESSAGES)]
    lines = [json.dumps({name: value for name, (value, _) in headers.items()}) for headers in made]
    command = ["node", str(NODE / "values.js"), url, exchange]
    given = "".join(base64.b64encode(line.encode()).decode() + "\n" for line in lines)
    subprocess.run(command, input=given, text=True, check=True, timeout=60)
    return [{name: value for name, (_, value) in headers.items()} for headers in made]


# The property ------------------------------------------------------------------------------------------------------


def same(came: Any, meant: Any) -> bool:
    if isinstance(meant, dict):
        return isinstance(came, dict) and came.keys() == meant.keys() and all(same(came[k], meant[k]) for k in meant)
    if isinstance(meant, list):
        return isinstance(came, list) and len(came) == len(meant) and all(map(same, came, meant))
    if isinstance(meant, float) and math.isnan(meant):
        return isinstance(came, float) and math.isnan(came)
    return type(came) is type(meant) and bool(came == meant)


@pytest.mark.timeout(60 + 5 * ROUNDS)
@pytest.mark.parametrize("encoder", [with_our_bytes, with_pika, with_amqplib])
def test_every_value_arrives_as_what_it_is_over_one_connection(
    request: pytest.FixtureRequest, url: str, encoder: Callable[[str, str, Chance], list[dict[str, Any]]]
) -> None:
    chance = Chance(SEED)
    chance.doubles = FINITE if "rabbitmq" in request.node.callspec.id else (*FINITE, *NONE_OF_RABBITMQ)
    exchange = f"values-{encoder.__name__}"
    told: list[str] = []

    async def story() -> None:
        async with pulpit.subscribe(
            url, exchange=exchange, on_news=lambda _, sentence: told.append(sentence)
        ) as events:
            for _ in range(ROUNDS):
                meant = await asyncio.to_thread(encoder, url, exchange, chance)
                for headers in meant:
                    event = await asyncio.wait_for(anext(events), 20)
                    assert same(event.headers, headers), f"seed {SEED}: {event.headers!r} is not {headers!r}"
                    json.loads(as_json(event), parse_constant=pytest.fail)
                    assert as_text(event)
                    assert as_subject(event) == "values"

    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        connection.channel().exchange_declare(exchange, "topic", durable=True)
    asyncio.run(story())
    assert told == [f"listening on exchange {exchange} for #"], f"seed {SEED}"
