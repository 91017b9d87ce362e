"""Signing of lists: which results of the signing program are accepted."""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pulpit.content.rpm.signatures import dearmored, verified_by
from pulpit.content.rpm.signing import MOST_OUTPUT, Signer
from pulpit.errors import ConfigurationError, WorkFailed
from pulpit.settings import SigningSettings
from support.openpgp import Keeper, somebody

LIST = b"<repomd/>\n"


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keeper]:
    with somebody(tmp_path_factory.mktemp("keeper"), "ed25519") as one:
        yield one


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keeper]:
    with somebody(tmp_path_factory.mktemp("stranger"), "ed25519") as one:
        yield one


@pytest.fixture(autouse=True)
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Nothing may be left where copies of keys were."""
    with tempfile.TemporaryDirectory(prefix="t-") as name:  # sockets want a short path
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield Path(name)
        monkeypatch.undo()
        assert list(Path(name).iterdir()) == []


def by_script(folder: Path, keeper: Keeper, script: str, *, timeout: int = 60) -> Signer:
    program = folder / "sign"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    public = folder / "public"
    public.touch(mode=0o600)
    public.write_text(keeper.armoured)
    return Signer(SigningSettings(command=f"{program} --for pulpit", public_key=str(public), timeout=timeout))


def gpg(keeper: Keeper, rest: str) -> str:
    return f"gpg --homedir {keeper.home} --batch --quiet --armor --detach-sign {rest}"


@pytest.mark.parametrize(
    "script",
    [
        pytest.param('{to_output} --output - "$3"', id="to its output"),
        pytest.param('{to_output} "$3"', id="to a file beside it"),
        pytest.param(
            'cd "$(dirname "$3")"; {to_output} "$3"; echo "{{\\"file\\": \\"$3\\", \\"signature\\": \\"$3.asc\\"}}"',
            id="as for Pulp 3",
        ),
    ],
)
def test_a_program_signs(tmp_path: Path, keeper: Keeper, script: str) -> None:
    signer = by_script(tmp_path, keeper, script.format(to_output=gpg(keeper, "")))
    signer.check()

    signed = signer.sign(LIST, "repomd.xml", keeper.fingerprint)

    assert keeper.fingerprint.lower() in verified_by(signed.signature, LIST, dearmored(signed.public_keys.decode()))
    assert signed.public_keys.decode() == keeper.armoured


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("exit 3", "ended with code 3; what it said stands in the server's log"),
        ("echo a secret >&2; exit 1", "ended with code 1; what it said stands in the server's log"),
        ("true", "made no armoured signature"),
        ("echo signed", "made no armoured signature"),
        (f"head -c {MOST_OUTPUT * 4} /dev/zero; sleep 600", "wrote more than 64 KiB"),
        (f"head -c {MOST_OUTPUT * 4} /dev/zero >&2", "wrote more than 64 KiB"),
        ("sleep 600 & sleep 600", "did not end within 1 seconds"),
        ("echo -----BEGIN PGP SIGNATURE-----", "is not published"),
    ],
)
def test_a_program_that_fails_is_one_sentence(tmp_path: Path, keeper: Keeper, script: str, sentence: str) -> None:
    signer = by_script(tmp_path, keeper, script, timeout=1)

    with pytest.raises(WorkFailed) as failure:
        signer.sign(LIST, "repomd.xml", None)

    assert sentence in str(failure.value)
    assert "secret" not in str(failure.value)


def test_what_a_program_leaves_running_holds_nobody_up(tmp_path: Path, keeper: Keeper) -> None:
    script = f'sleep 60 & {gpg(keeper, "--output -")} "$3"'

    assert by_script(tmp_path, keeper, script, timeout=30).sign(LIST, "repomd.xml", None).signature


def test_a_signature_of_another_key_or_list_is_not_published(tmp_path: Path, keeper: Keeper, stranger: Keeper) -> None:
    for script in (gpg(stranger, '--output - "$3"'), f'echo more >> "$3"; {gpg(keeper, "--output -")} "$3"'):
        with pytest.raises(WorkFailed, match="one of the published keys that is in force"):
            by_script(tmp_path, keeper, script).sign(LIST, "repomd.xml", None)

    with pytest.raises(WorkFailed, match=f"by the key {stranger.fingerprint}"):
        by_script(tmp_path, keeper, gpg(keeper, '--output - "$3"')).sign(LIST, "repomd.xml", stranger.fingerprint)


def test_an_expired_key_signs_nothing(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as home, somebody(Path(home), "ed25519") as old:
        expired = [
            "--faked-system-time",
            "20200101T000000",
            "--quick-gen-key",
            "old@example.org",
            "ed25519",
            "sign",
            "2d",
        ]
        old.gpg(*expired)
        (tmp_path / "public").write_text(old.gpg("--armor", "--export", "old@example.org"))
        signer = by_script(
            tmp_path,
            old,
            gpg(old, '--faked-system-time 20200101T120000 --local-user old@example.org --output - "$3"'),
        )
        (tmp_path / "public").write_text(old.gpg("--armor", "--export", "old@example.org"))

        with pytest.raises(WorkFailed, match="that is in force"):
            signer.sign(LIST, "repomd.xml", None)


def test_a_key_file_signs_with_its_own_key(tmp_path: Path, keeper: Keeper) -> None:
    signer = Signer(SigningSettings(key_file=str(keeper.secret_file(tmp_path / "key"))))
    signer.check()

    signed = signer.sign(LIST, "repomd.xml", keeper.fingerprint[-16:])

    assert keeper.fingerprint.lower() in verified_by(signed.signature, LIST, dearmored(signed.public_keys.decode()))
    assert b"PRIVATE" not in signed.public_keys


def test_another_key_or_command_is_another_identity(tmp_path: Path, keeper: Keeper, stranger: Keeper) -> None:
    path = tmp_path / "key"
    signer = Signer(SigningSettings(key_file=str(keeper.secret_file(path))))
    first = signer.identity(None)

    assert signer.identity(None) == first != signer.identity(keeper.fingerprint)
    stranger.secret_file(path)
    assert signer.identity(None) != first


def test_a_key_with_a_passphrase_is_refused(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as home, somebody(Path(home), "ed25519"):
        change = ["gpg", "--homedir", home, "--batch", "--quiet", "--pinentry-mode", "loopback"]
        made = [*change, "--passphrase", "sesame", "--quick-gen-key", "locked@example.org", "ed25519", "sign"]
        subprocess.run(made, check=True, timeout=60, capture_output=True)
        export = [*change, "--passphrase", "sesame", "--armor", "--export-secret-keys", "locked@example.org"]
        path = tmp_path / "key"
        path.touch(mode=0o600)
        path.write_bytes(subprocess.run(export, check=True, timeout=60, capture_output=True).stdout)
        signer = Signer(SigningSettings(key_file=str(path)))

        with pytest.raises(WorkFailed, match="The program that signs ended with code 2"):
            signer.sign(LIST, "repomd.xml", None)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"command": "/no/such/program", "public_key": "{public}"}, "no program that can be run"),
        ({"command": "'open", "public_key": "{public}"}, "cannot be read as words"),
        ({"command": "true", "public_key": "/no/such/file"}, "cannot be read"),
        ({"command": "true", "public_key": "{noise}"}, "no armoured OpenPGP public key"),
        ({"key_file": "{public}"}, "no armoured OpenPGP secret key"),
        ({"key_file": "{open}"}, "open to others"),
    ],
)
def test_settings_that_cannot_work_are_found_at_the_start(
    tmp_path: Path, keeper: Keeper, settings: dict[str, Any], sentence: str
) -> None:
    files = {"public": keeper.armoured, "noise": "noise", "open": keeper.armoured}
    for name, text in files.items():
        (tmp_path / name).touch(mode=0o644 if name == "open" else 0o600)
        (tmp_path / name).write_text(text)
    paths = {name: tmp_path / name for name in files}
    signer = Signer(SigningSettings(**{key: text.format(**paths) for key, text in settings.items()}))

    with pytest.raises(ConfigurationError, match=sentence):
        signer.check()


def test_what_a_killed_process_left_of_a_key_is_removed(tmp_path: Path, keeper: Keeper, temporary: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = temporary / f"pulpit-signing-{ended.pid}-abc"
    left.mkdir()
    (left / "input").write_text("a secret")

    Signer(SigningSettings(key_file=str(keeper.secret_file(tmp_path / "key")))).check()

    assert not left.exists()
