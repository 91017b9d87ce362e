"""Requests generated from both OpenAPI documents get the documented responses, and never a 5xx."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support import postgresql as pg
from support.server import API, Server, pulpit

PROGRAM = Path(sys.executable).with_name("schemathesis")
CHECKS = "not_a_server_error,response_schema_conformance,status_code_conformance,content_type_conformance"
EXAMPLES = os.environ.get("PULPIT_OPENAPI_EXAMPLES", "5")
WAITING = "read_events"
"""It would wait as long as it is asked to; tests of its own ask it random questions."""


@pytest.fixture(scope="module", params=["SQLite", "PostgreSQL"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """On either database: what one takes in a name or a number, the other may refuse."""
    with ExitStack() as stack:
        conf = ""
        if request.param == "PostgreSQL":
            if pg.why_not():
                pytest.skip(str(pg.why_not()))
            conf = f"[database]\nurl: {stack.enter_context(pg.postgresql()).fresh()}\n"
        running = stack.enter_context(pulpit(tmp_path_factory.mktemp("server") / "data", conf))
        running.listen("pulp", "ci.#")
        running.create_iso("zoo", "http://127.0.0.1:1/")
        yield running


@pytest.mark.timeout(150 + 20 * int(EXAMPLES))
@pytest.mark.parametrize("document", [f"{API}/openapi.json", "/pulpit/v1/openapi.json"])
def test_requests_made_from_the_description_are_answered_as_described(
    server: Server, document: str, tmp_path: Path
) -> None:
    command = [
        str(PROGRAM),
        "run",
        f"{server.url}{document}",
        "--url",
        server.url,
        "--auth",
        f"admin:{server.password}",
    ]
    command += ["--checks", CHECKS, "--max-examples", EXAMPLES, "--phases", "examples,coverage,fuzzing"]
    command += ["--generation-deterministic", "--no-color", "--exclude-operation-id", WAITING]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60 + 20 * int(EXAMPLES), check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
