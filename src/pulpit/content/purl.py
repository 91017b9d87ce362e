"""Package URLs (purl, ECMA-427): the names by which scanners and advisories know packages, in their canonical form."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

_PLAIN: Final = ":"
"""Not percent-encoded, besides letters, digits and `-._~`."""
_NOTHING_TO_QUOTE: Final = re.compile(r"[A-Za-z0-9._~:-]*")


def of_rpm(name: str, version: str, epoch: str, arch: str) -> str:
    """Of a package, whose `version` has the release; no namespace, as a repository does not say who made it."""
    return _url("rpm", "", name, version, {"arch": arch, "epoch": "" if epoch == "0" else epoch})


def of_python(name: str, version: str, file: str) -> str:
    """Of a distribution; the type's rules write names in lower case with `-`."""
    return _url("pypi", "", name.lower().replace("_", "-"), version, {"file_name": file})


def of_file(path: str, sha256: str) -> str:
    """Of any file, by what is in it."""
    namespace, _, name = path.rpartition("/")
    return _url("generic", namespace, name, "", {"checksum": f"sha256:{sha256}"})


def _url(kind: str, namespace: str, name: str, version: str, qualifiers: Mapping[str, str]) -> str:
    path = [kind, *(_quoted(part) for part in namespace.split("/") if part), _quoted(name)]
    stated = "&".join(f"{key}={_quoted(value)}" for key, value in sorted(qualifiers.items()) if value)
    return f"pkg:{'/'.join(path)}" + (f"@{_quoted(version)}" if version else "") + (f"?{stated}" if stated else "")


def _quoted(text: str) -> str:
    return text if _NOTHING_TO_QUOTE.fullmatch(text) else quote(text, safe=_PLAIN)
