"""Checks by mypy that a plug-in keeps the port that it implements."""

import subprocess
import sys
from pathlib import Path

import pytest


def check_types(folder: Path, code: str, plug_in: Path) -> None:
    """Have mypy read a program that uses a plug-in's project, as strictly as it can."""
    (folder / "check.py").write_text(code)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(folder / "cache"), "check.py"]
    path = {"MYPYPATH": str(plug_in / "src"), "PATH": "/usr/bin:/bin"}
    if subprocess.run([*command[:3], "--version"], capture_output=True, timeout=60, check=False).returncode:
        pytest.skip("not installed: mypy")

    ended = subprocess.run(command, cwd=folder, env=path, capture_output=True, text=True, timeout=110, check=False)

    assert ended.returncode == 0, ended.stdout + ended.stderr
