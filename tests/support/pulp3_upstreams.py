"""Upstreams that a Pulp 3 mirrors: a folder of files, packages of a distribution, an index of Python packages."""

import hashlib
import json
from pathlib import Path
from typing import Any

from support import yum
from support.upstream import Upstream, body, line


def serve_files(upstream: Upstream, under: str, *names: str) -> str:
    """Files and their manifest; returns the feed."""
    contents = {name: f"{under}/{name}".encode() * 20 for name in names}
    for name, content in contents.items():
        upstream.put(f"{under}/{name}", content)
    text = "".join(f"{line(name, content)}\n" for name, content in contents.items())
    upstream.put(f"{under}/PULP_MANIFEST", text.encode())
    return f"{upstream.url}{under}/PULP_MANIFEST"


def serve_packages(upstream: Upstream, under: str, rpms: list[Path]) -> str:
    """Packages and the lists of them; returns the feed."""
    yum.serve(upstream, yum.listed(yum.packages(rpms)), rpms, under=f"{under}/")
    return f"{upstream.url}{under}/"


TREE = """\
[header]
type = productmd.treeinfo
version = 1.2
[release]
name = Zoo
short = Zoo
version = 1
[tree]
arch = x86_64
build_timestamp = 1
platforms = x86_64
variants = AppStream,BaseOS
[general]
family = Zoo
version = 1
arch = x86_64
variant = BaseOS
[variant-BaseOS]
id = BaseOS
uid = BaseOS
name = BaseOS
type = variant
packages = Packages
repository = .
[variant-AppStream]
id = AppStream
uid = AppStream
name = AppStream
type = variant
packages = AppStream/Packages
repository = AppStream
"""


def serve_tree(upstream: Upstream, under: str, rpms: list[Path], appstream: list[Path]) -> str:
    """A distribution as it is installed from, with a second repository inside; returns the feed."""
    serve_packages(upstream, f"{under}/AppStream", appstream)
    upstream.put(f"{under}/.treeinfo", TREE.encode())
    return serve_packages(upstream, under, rpms)


def serve_index(upstream: Upstream, name: str, version: str) -> str:
    """An index of one Python package, by the JSON that PyPI has, which must stand at the root; returns the feed."""
    filename = f"{name}-{version}.tar.gz"
    content = f"{filename} of a test".encode()
    upstream.put(f"files/{filename}", content)
    url = f"{upstream.url}files/{filename}"
    digest = hashlib.sha256(content).hexdigest()
    file = {
        "filename": filename,
        "url": url,
        "digests": {"sha256": digest},
        "packagetype": "sdist",
        "python_version": "source",
        "requires_python": None,
        "size": len(content),
        "yanked": False,
        "yanked_reason": None,
    }
    info: dict[str, Any] = {
        "name": name,
        "version": version,
        "summary": "of a test",
        "classifiers": [],
        "requires_dist": None,
    }
    metadata = {"info": info, "last_serial": 1, "releases": {version: [file]}, "urls": [file]}
    headers = {"Content-Type": "application/json", "X-PYPI-LAST-SERIAL": "1"}
    upstream.misbehave(f"pypi/{name}/json", body(json.dumps(metadata).encode(), headers))
    page = f'<!DOCTYPE html><html><body><a href="{url}#sha256={digest}">{filename}</a></body></html>'
    for path, text in ((f"simple/{name}/", page), ("simple/", f'<a href="{name}/">{name}</a>')):
        upstream.put(path, text.encode())
        upstream.kinds[path] = "text/html"
    return upstream.url
