"""Valid but odd folders with a PULP_MANIFEST, made at random: what curl can get from one, it can get from its mirror.

A few in the suite; `PULPIT_ODD_UPSTREAMS=200` makes so many, and `PULPIT_ODD_SEED=7` begins with that one.
"""

import gzip
import hashlib
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, unquote

import pytest

from support import mirror
from support import upstream as serving
from support.asgi import published_app, served
from support.mirror import Mirror
from support.upstream import MANIFEST

FIRST = int(os.environ.get("PULPIT_ODD_SEED", "0"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("PULPIT_ODD_UPSTREAMS", "5")))
PIECES = (
    "a",
    "B",
    "é",
    "日本",
    " ",
    ",",
    "%",
    "%20",
    "%2F",
    "+",
    "&",
    "#",
    "?",
    "=",
    ";",
    "'",
    '"',
    "~",
    "(",
    "[",
    "\\",
    "-",
    ".iso",
)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[tuple[Mirror, Callable[[str], str]]]:
    folder = tmp_path / "here"
    folder.mkdir()
    with mirror.mirror(folder) as made, served(published_app(made.context, "isos")) as port:
        yield made, lambda name: f"http://127.0.0.1:{port}/pulp/isos/zoo/{quote(name)}"


def curl(url: str) -> bytes:
    return subprocess.run(["curl", "-sSf", "--path-as-is", url], capture_output=True, check=True, timeout=60).stdout


def named(chance: random.Random) -> str:
    parts = ["".join(chance.choices(PIECES, k=chance.randint(1, 6))) for _ in range(chance.randint(1, 3))]
    return "/".join(f"{part.strip(' .') or 'x'}{number}" for number, part in enumerate(parts))


def line(name: str, content: bytes, chance: random.Random) -> str:
    digest, size = hashlib.sha256(content).hexdigest(), str(len(content))
    if chance.random() < 0.3:
        digest, size = f" {digest.upper()} ", f" {size} "
    quoted = '"' + name.replace('"', '""') + '"'
    plain = name if not name.startswith(('"', "#")) and chance.random() < 0.7 else quoted
    return f"{'./' if plain == name and chance.random() < 0.2 else ''}{plain},{digest},{size}"


@pytest.mark.parametrize("seed", SEEDS)
def test_what_curl_gets_from_an_odd_folder_it_gets_from_its_mirror(
    seed: int, here: tuple[Mirror, Callable[[str], str]]
) -> None:
    made, url = here
    chance = random.Random(seed)  # noqa: S311 - no secret
    names = {named(chance) for _ in range(6)}
    names -= {name for name in names if any(other.startswith(f"{name}/") for other in names)}  # no folder has both
    with serving.running() as upstream:
        lines = []
        for name in sorted(names):
            content = name.encode() * chance.randint(1, 3)
            upstream.put(unquote(quote(name)), content)
            lines.append(line(name, content, chance))
            lines += [lines[-1]] if chance.random() < 0.1 else []
            lines += ["", "# a comment", "   "][: chance.randint(0, 3)]
        end = chance.choice(["\n", "\r\n"])
        text = (chance.choice(["", "\ufeff"]) + end.join(lines) + chance.choice(["", end])).encode()
        upstream.put(MANIFEST, gzip.compress(text) if chance.random() < 0.2 else text)
        made.create("zoo", upstream.url)

        assert made.sync("zoo").error_message is None, f"seed {seed}"
        assert made.publish("zoo").result == "success"

        for name in names:
            assert curl(url(name)) == curl(upstream.url + quote(name)), f"seed {seed}: {name!r}"
        assert curl(url(MANIFEST)).count(b"\n") == len(names)
