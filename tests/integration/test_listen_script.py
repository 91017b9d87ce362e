"""`playpen/listen.py` from a checkout, with any Python."""

import os
import subprocess
import sys

from support.listen_script import SCRIPT


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*arguments], capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environment}
    )


def test_help_shows_the_flags_of_the_original() -> None:
    shown = run(sys.executable, str(SCRIPT), "-h")
    assert shown.returncode == 0
    for flag in ("-h", "-e, --exchange", "-s, --subject", "-a, --address", "-p, --port", "-q, --quiet"):
        assert flag in shown.stdout


def test_a_python_without_pulpit_is_told_what_to_do() -> None:
    bare = run(sys.executable, "-S", "-E", str(SCRIPT), PULPIT_LISTEN_STARTED_AGAIN="1")
    assert bare.returncode == 1
    assert "make demo" in bare.stderr


def test_it_can_be_run_by_its_name() -> None:
    assert os.access(SCRIPT, os.X_OK)


def test_a_wrong_option_is_2() -> None:
    assert run(sys.executable, str(SCRIPT), "--nonsense").returncode == 2
    assert run(sys.executable, str(SCRIPT), "-p", "x").returncode == 2
