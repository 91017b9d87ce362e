"""Signed metadata: `repomd.xml.asc`, made by the administrator's program, or by gpg with a key file.

The program gets the path of a file as its last argument. It writes the armoured detached signature to its output, or to
a file of that name with `.asc`, as signing scripts of Pulp 2 and Pulp 3 do. The result is verified before it is
published: a signature that does not match the published keys fails the publish, and the old publication stays.
"""

import contextlib
import hashlib
import logging
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pulpit.content.limits import KIB
from pulpit.content.rpm.signatures import dearmored, verified_by
from pulpit.errors import ConfigurationError, WorkFailed
from pulpit.net.config_files import read_secret, read_trusted
from pulpit.settings import SigningSettings

MOST_OUTPUT: Final = 64 * KIB
"""Bytes that a program may write to its output, to its error output and to the signature's file."""
_MOST_LOGGED: Final = 1000
_PUBLIC: Final = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
_SECRET: Final = "-----BEGIN PGP PRIVATE KEY BLOCK-----"  # noqa: S105 - how such a file begins
_SIGNATURE: Final = "-----BEGIN PGP SIGNATURE-----"
_FOLDER: Final = "pulpit-signing-"
_LOOK: Final = 0.05
"""Seconds between checks of how much a program has written."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Signed:
    """A signature and the public keys that verify it, both armoured."""

    signature: bytes
    public_keys: bytes


class Signer:
    """Signs as configured in `[signing]`; the key files are read again for every signature."""

    def __init__(self, settings: SigningSettings) -> None:
        self._settings: Final = settings
        self._exported: tuple[str, str] | None = None
        """The digest of the key file and its exported public keys."""

    def check(self) -> None:
        """Validate the settings.

        Raises:
            ConfigurationError: they are invalid.
        """
        if self._settings.command:
            program = self._command()[0]
            if shutil.which(program) is None:
                raise ConfigurationError("[signing] command", f"{program} is no program that can be run.")
        elif shutil.which("gpg") is None:
            raise ConfigurationError("[signing] key_file", "it needs the program gpg (Debian: apt install gnupg).")
        if shutil.which("gpgv") is None:
            sentence = "signatures are proven by the program gpgv, which is missing (Debian: apt install gpgv)."
            raise ConfigurationError("[signing]", sentence)
        try:
            dearmored(self._public_keys())
        except WorkFailed as error:
            raise ConfigurationError("[signing]", str(error)) from None

    def identity(self, key_id: str | None) -> str:
        """Return what a published signature depends on: it changes with the command, the key and the choice of key.

        Raises:
            ConfigurationError: the key files cannot be read.
            WorkFailed: gpg finds no key in them.
        """
        parts = (self._settings.command, self._public_keys(), key_id or "")
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def sign(self, document: bytes, name: str, key_id: str | None) -> Signed:
        """Sign a list; `key_id` selects one of several keys.

        Raises:
            ConfigurationError: the key files cannot be read.
            WorkFailed: the program fails, or its output is not a signature of the list by the right key.
        """
        public_keys = self._public_keys()
        with _private_folder() as folder:
            path = folder / name
            path.write_bytes(document)
            signature = self._by_command(path, key_id) if self._settings.command else self._by_gpg(path, key_id)
        signers = verified_by(signature, document, dearmored(public_keys), in_force=True)
        wanted = (key_id or "").lower().removeprefix("0x")
        if not any(signer.endswith(wanted) for signer in signers):
            which = f"the key {key_id}" if wanted and signers else "one of the published keys that is in force"
            raise WorkFailed(f"The signature of {name} is not published: it is none of that list by {which}.")
        return Signed(signature=signature, public_keys=public_keys.encode())

    def _public_keys(self) -> str:
        if self._settings.public_key:
            text = read_trusted(Path(self._settings.public_key), "[signing] public_key")
            if _PUBLIC not in text:
                raise ConfigurationError("[signing] public_key", "it holds no armoured OpenPGP public key.")
            return text
        secret = self._secret()
        digest = hashlib.sha256(secret.encode()).hexdigest()
        if self._exported is None or self._exported[0] != digest:
            with _private_folder() as folder, _keyring(folder, secret, self._run) as gpg:
                exported = self._run([*gpg, "--armor", "--export"], folder).decode("ascii", "replace")
            self._exported = digest, exported
        return self._exported[1]

    def _secret(self) -> str:
        text = read_secret(Path(self._settings.key_file), "[signing] key_file")
        if _SECRET not in text:
            raise ConfigurationError("[signing] key_file", "it holds no armoured OpenPGP secret key.")
        return text

    def _command(self) -> list[str]:
        try:
            words = shlex.split(self._settings.command)
        except ValueError as error:
            raise ConfigurationError("[signing] command", f"it cannot be read as words ({error}).") from None
        if not words:
            raise ConfigurationError("[signing] command", "it names no program.")
        return words

    def _by_command(self, path: Path, key_id: str | None) -> bytes:
        environment = {name: text for name, text in os.environ.items() if not name.startswith("PULP")}
        if key_id:
            environment |= {"GPG_KEY_ID": key_id, "PULP_SIGNING_KEY_FINGERPRINT": key_id}
        output = self._run([*self._command(), str(path)], path.parent, environment=environment)
        if not output.lstrip().startswith(_SIGNATURE.encode()):
            with contextlib.suppress(OSError), path.with_name(f"{path.name}.asc").open("rb") as written:
                output = written.read(MOST_OUTPUT + 1)
        if not output.lstrip().startswith(_SIGNATURE.encode()) or len(output) > MOST_OUTPUT:
            raise WorkFailed("The program of [signing] command ended well and made no armoured signature.")
        return output

    def _by_gpg(self, path: Path, key_id: str | None) -> bytes:
        chosen = ["--local-user", key_id] if key_id else []
        with _keyring(path.parent, self._secret(), self._run) as gpg:
            return self._run([*gpg, *chosen, "--armor", "--detach-sign", "--output", "-", str(path)], path.parent)

    def _run(
        self, command: Sequence[str], folder: Path, *, given: bytes = b"", environment: Mapping[str, str] | None = None
    ) -> bytes:
        """Run a program, without a shell, and return its output.

        Raises:
            WorkFailed: it cannot be run, fails, writes too much, or times out.
        """
        (folder / "input").write_bytes(given)
        written = [folder / "output", folder / "errors"]
        with contextlib.ExitStack() as stack:
            # Files instead of pipes: a child process that outlives the program cannot block the reader.
            source = stack.enter_context((folder / "input").open("rb"))
            output, errors = (stack.enter_context(path.open("w+b")) for path in written)
            try:
                process = subprocess.Popen(  # noqa: S603 - the administrator's own command
                    command,
                    stdin=source,
                    stdout=output,
                    stderr=errors,
                    cwd=folder,
                    env=environment,
                    start_new_session=True,
                )
            except OSError as error:
                raise WorkFailed(f"The program that signs cannot be run ({error.strerror}).") from None
            trouble = self._wait(process, written)
            said = errors.read(_MOST_LOGGED).decode(errors="replace") if not errors.seek(0) else ""
            if trouble is None and process.returncode:
                trouble = f"ended with code {process.returncode}"
            if trouble is not None:
                extra = {"action": "signing_failed", "said": said}
                _log.warning("the program that signs %s; it said: %s", trouble, said, extra=extra)
                raise WorkFailed(f"The program that signs {trouble}; what it said stands in the server's log.")
            output.seek(0)
            return output.read()

    def _wait(self, process: "subprocess.Popen[bytes]", written: Sequence[Path]) -> str | None:
        """Wait for a program and return what it did wrong; then it is killed."""
        deadline = time.monotonic() + self._settings.timeout
        trouble = None
        while trouble is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LOOK)
            if any(path.stat().st_size > MOST_OUTPUT for path in written):
                trouble = f"wrote more than {MOST_OUTPUT // KIB} KiB"
            elif process.returncode is not None:
                break
            elif time.monotonic() > deadline:
                trouble = f"did not end within {self._settings.timeout} seconds"
        if trouble is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return trouble


@contextlib.contextmanager
def _keyring(folder: Path, secret: str, run: Callable[..., bytes]) -> Iterator[list[str]]:
    """Yield gpg's arguments for a temporary GNUPGHOME with one file's keys."""
    home = folder / "home"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
    try:
        run([*gpg, "--import"], folder, given=secret.encode())
        (folder / "input").unlink()
        yield gpg
    finally:
        ending = ["gpgconf", "--homedir", str(home), "--kill", "all"]
        with contextlib.suppress(WorkFailed):
            run(ending, folder)


@contextlib.contextmanager
def _private_folder() -> Iterator[Path]:
    """Yield a private temporary folder; those left by killed processes are removed first.

    It is outside the data folder, because the path of a socket in it must be short.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        owner = left.name.removeprefix(_FOLDER).partition("-")[0]
        if owner.isdecimal() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{_FOLDER}{os.getpid()}-", ignore_cleanup_errors=True) as name:
        yield Path(name)
