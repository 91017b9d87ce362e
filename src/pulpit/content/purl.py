"""Package URLs (purl, ECMA-427), by which scanners and advisories name packages, in canonical form."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

_PLAIN: Final = ":"
"""Not percent-encoded, in addition to letters, digits and `-._~`."""
_NOTHING_TO_QUOTE: Final = re.compile(r"[A-Za-z0-9._~:-]*")


def of_rpm(name: str, version: str, epoch: str, arch: str) -> str:
    """Return the purl of an RPM, whose `version` includes the release; no namespace, because the vendor is unknown."""
    return _url("rpm", "", name, version, {"arch": arch, "epoch": "" if epoch == "0" else epoch})


def of_python(name: str, version: str, file: str) -> str:
    """Return the purl of a distribution; the type's rules write names in lower case with `-`."""
    return _url("pypi", "", name.lower().replace("_", "-"), version, {"file_name": file})


def of_file(path: str, sha256: str) -> str:
    """Return the purl of any file, by its content."""
    namespace, _, name = path.rpartition("/")
    return _url("generic", namespace, name, "", {"checksum": f"sha256:{sha256}"})


def _url(kind: str, namespace: str, name: str, version: str, qualifiers: Mapping[str, str]) -> str:
    path = [kind, *(_quoted(part) for part in namespace.split("/") if part), _quoted(name)]
    stated = "&".join(f"{key}={_quoted(value)}" for key, value in sorted(qualifiers.items()) if value)
    return f"pkg:{'/'.join(path)}" + (f"@{_quoted(version)}" if version else "") + (f"?{stated}" if stated else "")


def _quoted(text: str) -> str:
    return text if _NOTHING_TO_QUOTE.fullmatch(text) else quote(text, safe=_PLAIN)
