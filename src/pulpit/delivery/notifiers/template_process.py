"""Renders webhook templates in a process of its own, which may be killed: a line of JSON in, a line of JSON out.

Administrators write templates, and jinja2's sandbox gives them access to the event only; but nested loops need no
permission. So this process may use little memory and processor time and write no files, and its parent kills it when
it takes too long by the clock.
"""

import json
import resource
import sys
from functools import lru_cache
from typing import Any, Final

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import SandboxedEnvironment

MOST_MEMORY: Final = 256 * 1024 * 1024
"""Bytes of address space beyond what the process starts with."""
MOST_CPU: Final = 3
"""Seconds of CPU time per rendering; then the kernel ends the process, even if its parent is gone."""
LONGEST_OUTPUT: Final = 256 * 1024
"""Characters."""

_environment: Final = SandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=False)


def main() -> None:
    """Serve requests until standard input ends."""
    pages = int(open("/proc/self/statm").read().split()[0]) if sys.platform == "linux" else 0  # noqa: PTH123, SIM115
    limit = pages * resource.getpagesize() + MOST_MEMORY
    if pages:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    _say({"ready": True})
    for line in sys.stdin:
        used = resource.getrusage(resource.RUSAGE_SELF)
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + MOST_CPU, hard))
        asked = json.loads(line)
        _say(_answer(asked["template"], asked["variables"]))


def _answer(template: str, variables: dict[str, Any]) -> dict[str, Any]:
    try:
        parts, length = [], 0
        for part in _compiled(template).generate(variables):
            parts.append(part)
            length += len(part)
            if length > LONGEST_OUTPUT:
                return {"error": f"it makes more than {LONGEST_OUTPUT // 1024} KiB"}
        return {"text": "".join(parts)}
    except MemoryError:
        return {"error": "it needs more memory than it may have"}
    except RecursionError:
        return {"error": "it calls itself too deeply"}
    except TemplateError as error:
        return {"error": str(error.message or type(error).__name__)[:300]}
    except Exception as error:  # noqa: BLE001 - whatever a filter raises for a value
        return {"error": f"{type(error).__name__}: {error}"[:300]}


@lru_cache(32)
def _compiled(template: str) -> Template:
    return _environment.from_string(template)


def _say(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
