"""An OpenPGP key in a folder of its own, and what is signed with it."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import yum


@dataclass
class Keeper:
    """Who signs; `armoured` are his public keys."""

    home: Path
    armoured: str
    fingerprint: str

    def sign_list(self, content: bytes) -> bytes:
        path = self.home / "list"
        path.write_bytes(content)
        self.gpg("--yes", "--armor", "--detach-sign", str(path))
        return path.with_name("list.asc").read_bytes()

    def sign_package(self, rpm: Path, folder: Path, *options: str) -> Path:
        folder.mkdir(exist_ok=True)
        signed = Path(shutil.copy(rpm, folder))
        names = [
            "--define",
            f"__gpg {shutil.which('gpg')}",
            "--define",
            f"_gpg_name {self.fingerprint}",
            "--define",
            f"_gpg_path {self.home}",
        ]
        command = ["rpmsign", *names, *options, "--addsign", str(signed)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        return signed

    def secret_file(self, path: Path) -> Path:
        """The secret key in a file that may be named by the configuration."""
        path.touch(mode=0o600)
        path.write_text(self.gpg("--armor", "--export-secret-keys"))
        return path

    def gpg(self, *arguments: str) -> str:
        command = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", "--passphrase", "", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


@contextmanager
def somebody(home: Path, algorithm: str) -> Iterator[Keeper]:
    missing = yum.tools("gpg", "gpgv", "gpgconf", "rpmsign")
    if missing:
        pytest.skip(missing)
    home.chmod(0o700)
    keeper = Keeper(home, "", "")
    keeper.gpg("--quick-gen-key", "keeper@example.org", algorithm, "sign")
    keeper.armoured = keeper.gpg("--armor", "--export")
    listing = keeper.gpg("--with-colons", "--list-keys")
    keeper.fingerprint = next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:"))
    yield keeper
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False, timeout=60)
