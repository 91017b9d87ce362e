"""Yum upstreams of real packages: built by rpmbuild, listed with createrepo_c, in every packing."""

import asyncio
import bz2
import contextlib
import functools
import gzip
import hashlib
import lzma
import os
import shutil
import subprocess
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import createrepo_c as cr
import zstandard
from sqlalchemy import select, update

from pulpit.content.iso import Iso
from pulpit.content.limits import Limits
from pulpit.content.rpm.yum import Yum
from pulpit.repositories.context import TaskContext, by_plugin
from pulpit.repositories.publish import PublishOutcome, publish
from pulpit.storage.folder import FolderStorage
from pulpit.store import repositories, schema, units
from pulpit.store.repositories import Distributor
from pulpit.store.units import Held
from support import database, published
from support.mirror import Mirror
from support.upstream import Upstream

DNF_PLUGINS = Path(__file__).parents[2] / ".dnf-plugins"
"""Where `tests/install-packages` unpacks dnf's own plug-ins, if it can."""

IMPORTER = "yum_importer"
DISTRIBUTOR = "yum_distributor"
REPOMD = "repodata/repomd.xml"

PACKINGS: Mapping[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": lambda data: zstandard.ZstdCompressor().compress(data),
}

SPEC = """\
Name: {name}
Version: {version}
Release: {release}
Summary: A {name}
License: GPL-3.0-or-later
BuildArch: noarch
{further}
%description
The {name}, nothing but the {name}.
%install
mkdir -p %{{buildroot}}/usr/share/zoo
echo "{name} {version}" > %{{buildroot}}/usr/share/zoo/{name}
%files
/usr/share/zoo/{name}
%changelog
* Mon Jan 01 2024 Keeper <keeper@example.org> - {version}-{release}
- it grew
"""

COMPS = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE comps PUBLIC "-//Red Hat, Inc.//DTD Comps info//EN" "comps.dtd">
<comps>
  <group><id>animals</id><name>Animals</name><name xml:lang="de">Tiere</name><description>All of them</description>
    <default>true</default><uservisible>true</uservisible>
    <packagelist><packagereq type="mandatory">bear</packagereq>
      <packagereq type="optional">camel</packagereq></packagelist>
  </group>
  <category><id>nature</id><name>Nature</name><grouplist><groupid>animals</groupid></grouplist></category>
  <environment><id>zoo-environment</id><name>A whole zoo</name><description>d</description>
    <display_order>5</display_order><grouplist><groupid>animals</groupid></grouplist><optionlist/></environment>
  <langpacks><match install="bear-%s" name="bear"/></langpacks>
</comps>
"""
UPDATEINFO = """<?xml version="1.0" encoding="UTF-8"?>
<updates>
  <update from="keeper@example.org" status="final" type="security" version="1">
    <id>ZOO-2024:1</id><title>Bears &amp; more</title><issued date="2024-01-02 03:04:05"/><severity>Important</severity>
    <description>The bear escaped.</description>
    <references><reference href="https://example.org/1" id="1" type="bugzilla" title="the fence"/></references>
    <pkglist><collection short="zoo"><name>zoo</name>
      <package name="bear" version="4.2" release="1" epoch="0" arch="noarch" src="bear-4.2-1.src.rpm">
        <filename>bear-4.2-1.noarch.rpm</filename></package>
    </collection></pkglist>
  </update>
</updates>
"""
MODULES = """\
---
document: modulemd
version: 2
data:
  name: zoo
  stream: "1.10"
  version: 20240101
  context: deadbeef
  arch: noarch
  summary: A zoo
  description: A zoo of two
  license: {module: [MIT]}
  profiles:
    default: {rpms: [camel]}
  artifacts:
    rpms: [camel-0:1.0-1.noarch]
...
---
document: modulemd-defaults
version: 1
data:
  module: zoo
  stream: "1.10"
  profiles:
    "1.10": [default]
...
"""


def tools(*names: str) -> str | None:
    """Which of these programs are missing, as a reason to skip."""
    missing = [name for name in names if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


def reposync(folder: Path, url: str) -> tuple[list[str], dict[str, str]]:
    """The command that has dnf mirror a repository into `folder/copy`, and its environment."""
    (folder / "log").mkdir()
    folders = {"installroot": "root", "setopt=cachedir": "cache", "setopt=logdir": "log", "setopt=persistdir": "lib"}
    options = [f"--{option}={folder}/{name}" for option, name in folders.items()]
    options += [
        "--setopt=reposdir=/nonexistent",
        f"--setopt=pluginpath={DNF_PLUGINS / 'dnf-plugins'}",
        "--releasever=1",
    ]
    options += [f"--repofrompath=mirrored,{url}", "--repo=mirrored"]
    command = ["dnf", "-q", *options, "reposync", "--download-metadata", "-p", f"{folder}/copy", "--norepopath"]
    return command, {**os.environ, "PYTHONPATH": str(DNF_PLUGINS)}


def build(
    folder: Path, name: str, version: str, release: str = "1", further: str = "", *, source: bool = False
) -> Path:
    """Build a package, or its source package."""
    spec = folder / f"{name}-{version}.spec"
    spec.write_text(SPEC.format(name=name, version=version, release=release, further=further))
    command = ["rpmbuild", "--quiet", "--define", f"_topdir {folder}/top", "--define", "_build_id_links none"]
    subprocess.run(
        [*command, "-bs" if source else "-bb", str(spec)], check=True, capture_output=True, cwd=folder, timeout=60
    )
    arch = "src" if source else "noarch"
    (built,) = folder.glob(f"top/*RPMS/**/{name}-{version}-{release}.{arch}.rpm")
    return built


def packages(rpms: Sequence[Path]) -> list[Any]:
    """What createrepo_c reads of the files."""
    return [cr.package_from_rpm(str(rpm), location_href=rpm.name) for rpm in rpms]


HEADS = {
    "primary": '<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm"',
    "filelists": '<filelists xmlns="http://linux.duke.edu/metadata/filelists"',
    "other": '<otherdata xmlns="http://linux.duke.edu/metadata/other"',
}
DUMPS = {"primary": cr.xml_dump_primary, "filelists": cr.xml_dump_filelists, "other": cr.xml_dump_other}


def list_of(kind: str, found: Sequence[Any], *, announced: int | None = None) -> str:
    """One of the three lists, of these packages in this order; it may announce another number."""
    head, body = HEADS[kind], "".join(DUMPS[kind](package) for package in found)
    count = len(found) if announced is None else announced
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head} packages="{count}">\n{body}</{head.split()[0][1:]}>\n'


def listed(found: Sequence[Any], packing: str = ".gz", **further: str) -> dict[str, bytes]:
    """The files of `repodata/`: the three lists of these packages, and others of given texts."""
    return repodata({**{kind: list_of(kind, found) for kind in HEADS}, **further}, packing)


def repodata(texts: Mapping[str, str | bytes], packing: str = ".gz") -> dict[str, bytes]:
    """Packed lists of these texts, and the `repomd.xml` that names them."""
    files, records = {}, ""
    for kind, text in texts.items():
        plain = text.encode() if isinstance(text, str) else text
        packed = PACKINGS[packing](plain)
        path = f"repodata/{kind}.{'yaml' if kind == 'modules' else 'xml'}{packing}"
        files[path] = packed
        records += record(kind, path, packed, plain)
    files[REPOMD] = repomd(records)
    return files


def record(kind: str, path: str, packed: bytes, plain: bytes) -> str:
    """An entry of `repomd.xml`."""
    return (
        f'<data type="{kind}"><checksum type="sha256">{hashlib.sha256(packed).hexdigest()}</checksum>'
        f'<open-checksum type="sha256">{hashlib.sha256(plain).hexdigest()}</open-checksum>'
        f'<location href="{path}"/><timestamp>1</timestamp><size>{len(packed)}</size>'
        f"<open-size>{len(plain)}</open-size></data>\n"
    )


def repomd(records: str) -> bytes:
    """A `repomd.xml` of these entries."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<repomd xmlns="http://linux.duke.edu/metadata/repo">'
        f"<revision>1</revision>\n{records}</repomd>\n"
    ).encode()


def serve(upstream: Upstream, files: Mapping[str, bytes], rpms: Sequence[Path] = (), *, under: str = "") -> None:
    """Put lists and packages on an upstream."""
    for path, content in files.items():
        upstream.put(under + path, content)
    for rpm in rpms:
        upstream.put(under + rpm.name, rpm.read_bytes())


class YumMirror(Mirror):
    """A repository of packages that syncs from an upstream, without a server around it."""

    kind: ClassVar[str] = "repos"

    def create(self, repo_id: str, feed: str | None, config: dict[str, Any] | None = None, **distributor: Any) -> None:
        now = self.context.clock()
        self.context.content_type(IMPORTER).check_importer_config({"feed": feed, **(config or {})})
        with self.context.database.write() as tx:
            repositories.add(tx, repo_id, display_name=None, description=None, notes={}, now=now)
            repositories.add_importer(tx, repo_id, IMPORTER, {"feed": feed, **(config or {})}, now=now)
            for kind in (DISTRIBUTOR, "export_distributor"):
                repositories.add_distributor(tx, repo_id, kind, kind, distributor, auto_publish=True, now=now)

    def publish(
        self, repo_id: str, override: dict[str, Any] | None = None, distributor_id: str = DISTRIBUTOR
    ) -> PublishOutcome:
        outcome = asyncio.run(publish(self.context, repo_id, distributor_id, override, self.reports.append))
        return published.show(self.context, outcome)

    def impatient_too(self) -> "YumMirror":
        return YumMirror(self.impatient().context)

    def distributor(self, repo_id: str) -> Distributor:
        with self.context.database.read() as connection:
            return repositories.distributor(connection, repo_id, DISTRIBUTOR)

    def held(self, repo_id: str, *type_ids: str) -> list[Held]:
        with self.context.database.read() as connection:
            return list(units.held(connection, repo_id, type_ids or None))

    def nevras(self, repo_id: str) -> list[str]:
        """The packages that the repository holds."""
        keys = [holding.unit.key for holding in self.held(repo_id, "rpm", "srpm")]
        return sorted(f"{key['name']}-{key['version']}-{key['release']}.{key['arch']}" for key in keys)


@contextlib.contextmanager
def yum_mirror(folder: Path, limits: Limits | None = None) -> Iterator[YumMirror]:
    folder.mkdir(exist_ok=True)
    with database.fresh(folder) as (opened, _):
        limits = limits or Limits(first_pause=0.01, longest_pause=0.05)
        yield YumMirror(
            TaskContext(
                database=opened,
                storage=FolderStorage(folder / "content"),
                data_dir=folder,
                content_types=by_plugin(Iso(), Yum()),
                limits=limits,
            )
        )


def spoil_details(mirror: YumMirror, old: str, new: str) -> None:
    """Put other text into what is kept of every unit, as a bug might have."""
    with mirror.context.database.write() as tx:
        for row in tx.connection.execute(select(schema.units.c.id, schema.units.c.detail)).all():
            detail = zlib.compress(zlib.decompress(row.detail).decode().replace(old, new).encode())
            tx.connection.execute(update(schema.units).where(schema.units.c.id == row.id).values(detail=detail))


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Be quiet."""


@contextlib.contextmanager
def web_server(root: Path) -> Iterator[str]:
    """A published tree on a web server; yields its URL."""
    handler = functools.partial(_Quiet, directory=str(root.resolve()))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
