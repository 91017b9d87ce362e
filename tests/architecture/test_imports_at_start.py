"""Modules that few requests need are not imported at the start."""

import subprocess
import sys

import pytest

SELDOM = {
    "aiohttp", "aiosmtplib", "alembic", "createrepo_c", "cryptography", "jinja2", "prometheus_client", "proton",
    "psycopg", "pycurl", "regex", "rich", "solv", "sqlalchemy.dialects.postgresql",
}  # fmt: skip
LATER = {
    "pulpit.server.serve": SELDOM
    | {
        "fastapi",
        "packaging",
        "pulpit.server.content_types",
        "pulpit.server.rest",
        "pydantic",
        "starlette",
        "uvicorn",
    },
    "pulpit.server.rest": SELDOM,
    "pulpit.admin.main": {
        "asyncio",
        "hashlib",
        "http.client",
        "pulpit.admin.repo",
        "pulpit.admin.event",
        "rich",
        "ssl",
    },
}


@pytest.mark.parametrize("module", LATER)
def test_a_start_imports_nothing_that_only_some_runs_need(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert LATER[module] & set(done.stdout.split()) == set()
