"""The type system of AMQP 1.0."""

from typing import Any
from uuid import UUID

import pytest

from pulpit.amqp.amqp10 import codec
from pulpit.amqp.amqp10.codec import (
    Byte,
    Char,
    DecodeError,
    Described,
    Float,
    Int,
    Opaque,
    Short,
    Symbol,
    Symbols,
    Timestamp,
    Ubyte,
    Uint,
    Ulong,
    Ushort,
)

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2**63 - 1, -(2**63), 1.5, "", "ä" * 300, b"", b"\xff" * 300,
    Ubyte(255), Ushort(65535), Uint(0), Uint(7), Uint(2**32 - 1), Ulong(0), Ulong(7), Ulong(2**64 - 1),
    Byte(-128), Short(-5), Int(-5), Float(0.5), Char("ä"), Timestamp(1_700_000_000_000), UUID(int=5),
    Symbol("amqp:not-found"), Symbols((Symbol("a"), Symbol("b"))), Opaque(0x74, b"abcd"),
    [], [1, [2, [3]]], list(range(300)), {}, {"a": [1, None], Symbol("b"): {"c": 1}},
    Described(Ulong(0x24), []), Described(Symbol("x:y"), "z"),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_what_is_written_is_read_again_as_what_it_was(value: Any) -> None:
    data = codec.encode(value)
    read, end = codec.decode(b"~" + data + b"~", 1)
    assert (read, end) == (value, 1 + len(data))
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("5601", True), ("5600", False), ("54ff", Int(-1)), ("55ff", -1), ("4520", []),
        ("e0 06 02 a1 01 61 01 62", ["a", "b"]), ("c1 01 00", {}), ("f0 00000006 00000001 54 07", [7]),
        ("0080000000000000002445", Described(Ulong(0x24), [])),
        ("e0 08 02 00 53 05 a1 01 61 00", [Described(Ulong(5), "a"), Described(Ulong(5), "")]),
    ],
)  # fmt: skip
def test_other_spellings_of_the_specification_are_read(data: str, value: Any) -> None:
    assert codec.decode(bytes.fromhex(data))[0] == value


@pytest.mark.parametrize(
    "data",
    ["", "3f", "71 00", "a1 05 61", "a1 01 ff", "a3 01 ff", "5602", "73 ffffffff", "c0 01", "c0 05 01 41",
     "c1 02 01 41", "c1 04 02 c0 01 00 41", "e0 02 ff 40", "d0 00000004 ffffffff", "f0 ffffffff 00000000 40",
     "e0 02 01 00", "00", "98 00"],
)  # fmt: skip
def test_what_is_cut_short_or_lies_about_itself_is_refused(data: str) -> None:
    with pytest.raises(DecodeError):
        codec.decode(bytes.fromhex(data))


def test_values_lie_inside_one_another_only_so_deep() -> None:
    deep: list[Any] = []
    for _ in range(codec.DEEPEST + 1):
        deep = [deep]
    with pytest.raises(DecodeError, match="inside one another"):
        codec.decode(codec.encode(deep))
    with pytest.raises(DecodeError, match="inside one another"):
        codec.decode(b"\x00" * 100_000)


def test_what_amqp_does_not_have_is_no_value() -> None:
    with pytest.raises(TypeError):
        codec.encode(object())
    with pytest.raises(OverflowError):
        codec.encode(2**63)


def test_a_field_may_hold_none_one_or_many_symbols() -> None:
    assert codec.symbols(None) == ()
    assert codec.symbols(Symbol("a")) == ("a",)
    assert codec.symbols(Symbols((Symbol("a"), Symbol("b")))) == ("a", "b")
