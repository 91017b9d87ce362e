"""Valid but odd yum repositories, generated from a seed, and what dnf takes from them."""

import bz2
import gzip
import hashlib
import lzma
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

import createrepo_c as cr
import zstandard

from support import upstream as serving
from support.upstream import Upstream
from support.yum import COMPS, DUMPS, HEADS, MODULES, REPOMD, UPDATEINFO

_ZSTD = zstandard.ZstdCompressor().compress
_PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": _ZSTD,
}
_KINDS = ("sha256", "sha1", "sha512", "md5", "sha384", "sha224")
_ODDITIES = 0.25
"""How likely each oddity is."""


_SPELLINGS: dict[str, Callable[[str], str]] = {
    "without spaces": lambda body: re.sub(r">\s+<", "><", body),
    "with comments": lambda body: body.replace(
        "</package>", "<!-- </package> <package> -->\n</package><?x </package>?>", 1
    ),
    "in upper-case ids": lambda body: re.sub(r'(?<=pkgid=")[0-9a-f]{32,}', lambda digest: digest[0].upper(), body),
}
_OF_PRIMARY: dict[str, Callable[[str], str]] = {
    "in single quotes": lambda body: re.sub(r'"([^"\'<>]*)"(?=[^<]*>)', r"'\1'", body),
    "with sections": lambda body: re.sub(
        r"<description>([^<&]*)</description>", r"<description><![CDATA[\1]]></description>", body
    ),
    "with elements of others": lambda body: body.replace("<format>", "<format><rpm:zoo keeper='x'/>").replace(
        "</package>", "<zoo/></package>"
    ),
    "without header-range": lambda body: re.sub(r"<rpm:header-range[^>]*/>", "", body),
    "with empty elements": lambda body: re.sub(r"<(packager|url|rpm:vendor|rpm:group)></\1>", r"<\1/>", body),
    "with elements in another order": lambda body: re.sub(
        r"(<checksum.*?</checksum>)\s*(<summary>.*?</summary>)", r"\2\1", body, flags=re.DOTALL
    ),
    "without epochs": lambda body: body.replace(' epoch="0"', ""),
}


@dataclass
class OddRepository:
    """What a seed made, in words too; `put` has laid it out on two servers."""

    seed: int
    notes: list[str] = field(default_factory=list)


def put(seed: int, rpms: Sequence[Path], upstream: Upstream, elsewhere: Upstream) -> OddRepository:
    """Lay out the repository of a seed below `zoo/` of an upstream; some of it may be elsewhere."""
    return _Making(seed, upstream, elsewhere).repository(rpms)


class _Making:
    def __init__(self, seed: int, upstream: Upstream, elsewhere: Upstream) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a seed is to be repeated
        self.made = OddRepository(seed)
        self.upstream, self.elsewhere = upstream, elsewhere
        self.root = f"{upstream.url}zoo/"
        self.kind = self.choose("checksums of lists by", _KINDS, of="sha256")

    def odd(self, note: str, likely: float = _ODDITIES) -> bool:
        chosen = self.random.random() < likely
        if chosen:
            self.made.notes.append(note)
        return chosen

    def choose(self, note: str, values: Sequence[str], of: str, likely: float = 2 * _ODDITIES) -> str:
        """One of the values; mostly the usual one."""
        value = self.random.choice(values) if self.random.random() < likely else of
        if value != of:
            self.made.notes.append(f"{note} {value!r}")
        return value

    def repository(self, rpms: Sequence[Path]) -> OddRepository:
        packages = [self.package(rpm) for rpm in self.random.sample(list(rpms), self.random.randint(1, len(rpms)))]
        if self.odd("a stale entry before", 0.15):
            packages.insert(0, self.stale(rpms))
        if self.odd("a package twice", 0.15):
            again = cr.package_from_rpm(str(rpms[0]), location_href=rpms[0].name)
            self.place(again, rpms[0])
            packages.append(again)
        texts: dict[str, bytes] = {kind: self.list_of(kind, packages) for kind in HEADS}
        for kind in ("filelists", "other"):
            if self.odd(f"no {kind}", 0.08):
                del texts[kind]
        self.further(texts)
        self.repomd(texts)
        return self.made

    def package(self, rpm: Path) -> Any:
        package = cr.package_from_rpm(str(rpm), location_href=rpm.name)
        if self.odd("another checksum of a package"):
            kind = self.random.choice(_KINDS)
            package.checksum_type = kind
            package.pkgId = hashlib.new(kind, rpm.read_bytes()).hexdigest()
        if self.odd("no size of a package", 0.1):
            package.size_package = 0
        if self.odd("odd words"):
            package.summary = self.random.choice(["Bär & Söhne", "<b>", "\U0001f43b", "a\tb", "]]>", "日本語", ""])
        self.place(package, rpm)
        return package

    def stale(self, rpms: Sequence[Path]) -> Any:
        package = cr.package_from_rpm(str(rpms[-1]), location_href=f"gone/{rpms[-1].name}")
        package.time_file = 1
        if self.odd("with another checksum", 0.5):
            package.pkgId = "0" * 64
        return package

    def place(self, package: Any, rpm: Path) -> None:
        """Give a package a location, and put its file where that leads."""
        name = rpm.name
        hrefs = [
            f"Packages/{name}",
            f"./{name}",
            f"a/./b/{name}",
            f"a//{name}",
            f"../blob/{name}",
            f"x/../{name}",
            quote(f"a b/{name}"),
            f"c++/~1/{name}",
            f"é/{name}",
            f"{hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()}/{name}",  # Amazon Linux
            f"{self.elsewhere.url}abs/{name}",
            f"getPackage/{name}",
            f"a/{name.replace('.noarch', '-r1.noarch')}",
        ]
        package.location_href = self.choose("a location", hrefs, of=f"{name}")
        base = self.choose(
            "a base",
            [f"{self.elsewhere.url}deep/", f"{self.elsewhere.url}deep", self.root, f"{self.root}sub/", "sub/", "./"],
            of="",
        )
        if base and "://" not in package.location_href:
            package.location_base = base
        folder = urljoin(self.root, f"{base.rstrip('/')}/") if package.location_base else self.root
        url = package.location_href if "://" in package.location_href else _joined(folder, package.location_href)
        server = self.elsewhere if url.startswith(self.elsewhere.url) else self.upstream
        path = unquote(urlsplit(url).path.lstrip("/"))
        server.put(path, rpm.read_bytes())
        server.behaviours.pop(path, None)
        if self.odd("a redirected package", 0.1):
            self.elsewhere.put(f"cdn/{name}", rpm.read_bytes())
            server.misbehave(path, serving.redirect(f"{self.elsewhere.url}cdn/{name}"))

    def list_of(self, kind: str, packages: Sequence[Any]) -> bytes:
        """A list of packages, in the hand of some tool."""
        chosen = list(packages)
        if kind != "primary":
            chosen = self.another_choice(kind, chosen)
        head, body = HEADS[kind], "".join(map(DUMPS[kind], chosen))
        root = head.split()[0][1:]
        count = f' packages="{len(chosen)}"'
        if kind != "primary" and self.odd(f"{kind} counts wrong", 0.1):
            count = f' packages="{len(packages) + 3}"'
        elif self.odd(f"{kind} does not count", 0.1):
            count = ""
        for note, spell in (_SPELLINGS | (_OF_PRIMARY if kind == "primary" else {})).items():
            if self.odd(f"{kind} {note}"):
                body = spell(body)
        declarations = ['<?xml version="1.0"?>\n', "", "<?xml version='1.0' encoding='utf-8' standalone='yes'?>"]
        usual = '<?xml version="1.0" encoding="UTF-8"?>\n'
        declaration = self.choose(f"{kind} begins", declarations, of=usual)
        text = f"{declaration}{head}{count}>\n{body}</{root}>"
        if self.odd(f"{kind} ends with comments", 0.1):
            text += "\n<!-- made by hand -->\n\n"
        data = text.encode()
        if self.odd(f"{kind} in Latin-1", 0.1):
            data = re.sub(r"<\?xml.*?\?>", "", text).encode("ascii", "xmlcharrefreplace")
            data = b'<?xml version="1.0" encoding="ISO-8859-1"?>' + data
        if declaration and self.odd(f"{kind} with a BOM", 0.1):
            data = b"\xef\xbb\xbf" + data
        return data

    def another_choice(self, kind: str, packages: list[Any]) -> list[Any]:
        if self.odd(f"{kind} in another order"):
            self.random.shuffle(packages)
        if self.odd(f"{kind} lacks some", 0.12):
            packages = self.random.sample(packages, self.random.randrange(len(packages)))
        return packages + packages[:1] if self.odd(f"{kind} has one twice", 0.12) else packages

    def further(self, texts: dict[str, bytes]) -> None:
        if self.odd("groups", 0.4):
            texts["group"] = COMPS.encode()
        if self.odd("errata", 0.4):
            text = UPDATEINFO
            if self.odd("of an odd kind"):
                text = re.sub(r"<(severity|issued)[^/]*(/>|</severity>)", "", text).replace(' version="1"', "")
            texts["updateinfo"] = text.encode()
        if self.odd("modules", 0.4):
            text = MODULES
            if self.odd("in an odd hand"):
                text = f"# all\n--- # {text.removeprefix('---')}".replace("...\n", "... # end\n")
            texts["modules"] = text.encode()
        if self.odd("kept lists", 0.3):
            texts["productid"] = b"-----BEGIN CERTIFICATE-----\n"
            texts["license-agreement"] = b"x"
        if self.odd("lists that nobody needs", 0.3):
            texts |= {"prestodelta": b"<prestodelta/>", "primary_zck": b"\0ZCK1", "filelists-ext": b"<filelists-ext/>"}

    def repomd(self, texts: dict[str, bytes]) -> None:
        kinds = list(texts)
        if self.odd("lists in another order"):
            self.random.shuffle(kinds)
        records = "".join(self.record(kind, texts[kind]) for kind in kinds)
        further = "<tags><content>binary-x86_64</content></tags>\n" if self.odd("tags") else ""
        revision = self.choose("revision", ["", "<revision/>", "<revision>x</revision>"], of="<revision>1</revision>")
        text = f'<repomd xmlns="http://linux.duke.edu/metadata/repo">{revision}{further}{records}</repomd>'
        self.upstream.put(f"zoo/{REPOMD}", f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode())

    def record(self, kind: str, plain: bytes) -> str:
        packing = self.choose(f"{kind} packed as", list(_PACKERS), of=".gz", likely=0.15)
        packed = _PACKERS[packing](plain)
        if packing != "" and self.odd(f"{kind} in two streams", 0.1):
            packed = _PACKERS[packing](plain[:200]) + _PACKERS[packing](plain[200:])
        if packing == ".gz" and self.odd(f"{kind} with zeros behind", 0.05):
            packed += b"\0" * 512
        digest = hashlib.new(self.kind, packed).hexdigest()
        path = f"repodata/{kind}.{'yaml' if kind == 'modules' else 'xml'}{packing}"
        if self.odd(f"{kind} named by its checksum"):
            path = f"repodata/{digest}-{path.rpartition('/')[2]}"
        href, place, base = path, f"zoo/{path}", ""
        match self.choose(f"{kind} at", ["elsewhere", "dots", "up"], of="home", likely=0.1):
            case "elsewhere":
                base, place = f' xml:base="{self.elsewhere.url}lists/"', f"lists/{path}"
            case "dots":
                href = f"./{path}"
            case "up":
                href, place = f"../meta/{path}", f"meta/{path}"
        server = self.elsewhere if base else self.upstream
        server.put(place, packed)
        server.behaviours.pop(place, None)
        if self.odd(f"{kind} redirected", 0.05):
            self.elsewhere.put(f"cdn/{path}", packed)
            server.misbehave(place, serving.redirect(f"{self.elsewhere.url}cdn/{path}"))
        size = self.choose("size", ["", "<size>0</size>", "<size/>"], of=f"<size>{len(packed)}</size>")
        open_size = self.choose(
            "open size", ["", "<open-size>0</open-size>"], of=f"<open-size>{len(plain)}</open-size>"
        )
        name = "sha" if self.kind == "sha1" and self.odd("sha for sha1") else self.kind
        opened = f'<open-checksum type="{name}">{hashlib.new(self.kind, plain).hexdigest()}</open-checksum>'
        return (
            f'<data type="{kind}"><checksum type="{name}">{digest}</checksum>'
            f'{"" if self.odd("no open checksum") else opened}<location{base} href="{href}"/>'
            f"{'' if self.odd('no time') else '<timestamp>1</timestamp>'}{size}{open_size}</data>\n"
        )


def _joined(folder: str, href: str) -> str:
    """Where RFC 3986 leads, but a doubled slash stays."""
    return urljoin(folder, href.replace("//", "/\0/")).replace("/\0/", "//")
