"""Writes docs/configuration.md and docs/asyncapi.json, so that they cannot drift from the code (`make docs`)."""

import json
from pathlib import Path
from typing import Final

from pulpit import __version__
from pulpit.catalogue import asyncapi
from pulpit.configuration import Key, default_of, keys
from pulpit.settings import SECTIONS

PAGE: Final = Path(__file__).parent / "configuration.md"
ASYNCAPI: Final = Path(__file__).parent / "asyncapi.json"
HEAD: Final = """\
# Configuration

Pulpit needs no configuration. Settings are in `/etc/pulp/server.conf`, an INI file as in Pulp 2; `pulpit serve
--config FILE` or the environment variable `PULP_SERVER_CONF` names another file. Each key is also an environment
variable, which overrides the file; an option of `pulpit serve` (`--data-dir`, `--host`, `--port`, `--broker-port`,
`--log-format`) overrides both. One pair of quotes around a value is removed, and `true` may also be written `yes`, `on`
or `1`. An invalid value ends the start with a message that names the key, and exit code 78; unknown keys, of which a
file of Pulp 2 has many, are logged, with the similar key that exists, and ignored.
So is a port of the form `tcp://…`, which Kubernetes sets
in `PULPIT_PORT` beside a service called `pulpit`.

This page is generated from the code by `make docs`.
"""
TABLE: Final = "\n| key | default | unit | meaning | variable |\n|---|---|---|---|---|\n"


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for section, kind in SECTIONS.items():
        title = (kind.__doc__ or "").partition(": ")[2]
        parts.append(f"\n## `[{section}]`\n\n{title[:1].upper()}{title[1:]}\n{TABLE}")
        parts += [_row(key) for key in keys() if key.section == section]
    return "".join(parts)


def _row(key: Key) -> str:
    meta = key.field.metadata
    cells = [f"`{key.name}`", _default(key), _unit(key), meta["meaning"], f"`{key.variable}`"]
    return f"| {' | '.join(cells)} |\n"


def _default(key: Key) -> str:
    value = default_of(key.field)
    if value is None:
        return "absent"
    if value == "":
        return "empty"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _unit(key: Key) -> str:
    meta = key.field.metadata
    if key.field.type is bool:
        return "true or false"
    if key.field.type is int:
        return f"{meta['unit']}, {meta['least']} to {meta['most']}"
    return str(meta["unit"])


def asyncapi_text() -> str:
    """The AsyncAPI document as it stands in docs/."""
    return json.dumps(asyncapi(__version__), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    ASYNCAPI.write_text(asyncapi_text(), encoding="utf-8")
