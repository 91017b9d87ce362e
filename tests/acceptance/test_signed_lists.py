"""Signed repository metadata through the whole server: accepted by dnf and zypper, never published if invalid."""

import os
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError

import pytest

from support import upstream as serving
from support import yum
from support.openpgp import Keeper, somebody
from support.server import API, Server, pulpit
from support.yum import listed, packages, serve

REASON = yum.tools("rpmbuild", "dnf", "gpg", "gpgv", "rpmsign")
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))
needs_zypper = pytest.mark.skipif(yum.tools("zypper") is not None, reason=f"{yum.tools('zypper')} (Debian: apt)")


@dataclass
class Signing:
    """A server whose program that signs does what a test wants."""

    server: Server
    script: Path
    public: Path
    keeper: Keeper

    @property
    def url(self) -> str:
        return f"{self.server.url}/pulp/repos/zoo"

    def sign_by(self, keeper: Keeper, then: str = "") -> None:
        """Sign with somebody's key from now on, and end with a command."""
        self.script.write_text(f'gpg --homedir {keeper.home} --batch --quiet --armor --detach-sign "$1"\n{then}\n')
        self.public.write_text(keeper.armoured)

    def publish(self, **override: object) -> str | None:
        """Publish; returns why it failed, or `None`."""
        body = {"id": "yum_distributor", "override_config": override or None}
        answer = self.server.call("POST", f"{API}/repositories/zoo/actions/publish/", body)
        task = self.server.ended(answer["spawned_tasks"][0]["task_id"])
        return str(task["error"]["description"]) if task["error"] else None

    def file(self, name: str) -> bytes:
        with urllib.request.urlopen(f"{self.url}/{name}", timeout=20) as answer:
            return bytes(answer.read())


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keeper]:
    with somebody(tmp_path_factory.mktemp("keeper"), "rsa2048") as one:
        yield one


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keeper]:
    with somebody(tmp_path_factory.mktemp("stranger"), "rsa2048") as one:
        yield one


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, keeper: Keeper) -> Iterator[Signing]:
    """A repository that was synced, in a server that signs by a script."""
    folder = tmp_path_factory.mktemp("signed")
    script, public = folder / "sign", folder / "public.asc"
    public.touch(mode=0o600)
    public.write_text(keeper.armoured)
    conf = f"[signing]\ncommand = sh '{script}'\npublic_key = {public}\n"
    rpms = [yum.build(folder, "bear", "4.1")]
    with serving.running() as upstream, pulpit(folder / "data", conf) as server:
        serve(upstream, listed(packages(rpms)), rpms)
        distributor = {"distributor_id": "yum_distributor", "distributor_type_id": "yum_distributor"}
        distributor |= {"auto_publish": False, "distributor_config": {"http": True, "https": False}}  # type: ignore[dict-item]
        body = {"id": "zoo", "importer_type_id": "yum_importer", "importer_config": {"feed": upstream.url}}
        server.call("POST", f"{API}/repositories/", {**body, "distributors": [distributor]})
        assert server.ended(server.sync("zoo"))["state"] == "finished"
        yield Signing(server, script, public, keeper)


@pytest.fixture
def signing(served: Signing, keeper: Keeper) -> Signing:
    """The same, published with the keeper's signature."""
    served.sign_by(keeper)
    assert served.publish() is None
    return served


def repository_file(folder: Path, url: str, key_url: str) -> None:
    """What administrators of machines write to believe a key and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["[zoo]", "name=zoo", f"baseurl={url}/", "enabled=1", "skip_if_unavailable=0"]
    lines += ["gpgcheck=0", "repo_gpgcheck=1", f"gpgkey={key_url}"]
    (folder / "zoo.repo").write_text("\n".join(lines) + "\n")


def dnf(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    (folder / "log").mkdir(exist_ok=True)
    folders = {"installroot": "root", "setopt=cachedir": "cache", "setopt=logdir": "log", "setopt=persistdir": "lib"}
    command = ["dnf", "-q", "-y", *(f"--{option}={folder}/{name}" for option, name in folders.items())]
    command += [f"--setopt=reposdir={folder}/repos", "--releasever=1", "--noplugins", "--forcearch=x86_64"]
    command += ["--repo=zoo", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def zypper(folder: Path, *arguments: str, key_is_trusted: bool) -> "subprocess.CompletedProcess[str]":
    command = ["zypper", "--root", str(folder / "suse"), "--non-interactive"]
    command += ["--gpg-auto-import-keys"] if key_is_trusted else []
    environment = {**os.environ, "LC_ALL": "C", "ZYPP_LOCKFILE_ROOT": str(folder)}
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=100, check=False, env=environment
    )


def test_dnf_installs_only_what_the_trusted_key_signed(signing: Signing, stranger: Keeper, tmp_path: Path) -> None:
    repository_file(tmp_path / "repos", signing.url, f"{signing.url}/repodata/repomd.xml.key")
    installed = dnf(tmp_path, "install", "bear")
    assert installed.returncode == 0, installed.stdout + installed.stderr
    assert (tmp_path / "root/usr/share/zoo/bear").read_text() == "bear 4.1\n"

    other = tmp_path / "other"
    other.mkdir()
    (tmp_path / "stranger.asc").write_text(stranger.armoured)
    repository_file(other / "repos", signing.url, f"file://{tmp_path}/stranger.asc")
    refused = dnf(other, "makecache")
    assert refused.returncode != 0
    assert "GPG" in refused.stdout + refused.stderr


@needs_zypper
def test_zypper_takes_the_key_beside_the_lists_and_believes_no_other(signing: Signing, tmp_path: Path) -> None:
    repository_file(tmp_path / "suse/etc/zypp/repos.d", signing.url, f"{signing.url}/repodata/repomd.xml.key")

    unknown = zypper(tmp_path, "refresh", key_is_trusted=False)
    assert unknown.returncode != 0, unknown.stdout
    trusted = zypper(tmp_path, "refresh", key_is_trusted=True)
    assert trusted.returncode == 0, trusted.stdout + trusted.stderr
    assert "bear" in zypper(tmp_path, "--no-refresh", "packages", key_is_trusted=False).stdout


def test_a_mirror_of_it_checks_the_signature(signing: Signing, keeper: Keeper, stranger: Keeper) -> None:
    for name, trusted, state in (("copy", keeper, "finished"), ("other", stranger, "error")):
        importer = {"feed": f"{signing.url}/", "repo_gpgcheck": True, "gpgkey": trusted.armoured}
        body = {"id": name, "importer_type_id": "yum_importer", "importer_config": importer}
        signing.server.call("POST", f"{API}/repositories/", body)
        assert signing.server.ended(signing.server.sync(name))["state"] == state


@pytest.mark.parametrize(
    ("then", "sentence"),
    [
        ("exit 7", "The program that signs ended with code 7; what it said stands in the server's log."),
        ("echo 'sesame' >&2; exit 1", "The program that signs ended with code 1"),
        ('rm "$1.asc"', "The program of [signing] command ended well and made no armoured signature."),
        ('sed -i 5s/./x/g "$1.asc"', "it is none of that list by one of the published keys that is in force."),
    ],
)
def test_without_a_right_signature_readers_keep_what_they_had(
    signing: Signing, keeper: Keeper, then: str, sentence: str
) -> None:
    before = [signing.file(f"repodata/repomd.xml{ending}") for ending in ("", ".asc", ".key")]
    signing.sign_by(keeper, then)

    assert sentence in str(signing.publish(force_full=True))

    assert [signing.file(f"repodata/repomd.xml{ending}") for ending in ("", ".asc", ".key")] == before
    history = signing.server.call("GET", f"{API}/repositories/zoo/history/publish/yum_distributor/")
    assert "sesame" not in str(history)


def test_another_key_publishes_anew(signing: Signing, stranger: Keeper) -> None:
    before = signing.file("repodata/repomd.xml.asc")
    assert signing.publish() is None
    assert signing.file("repodata/repomd.xml.asc") == before  # nothing has changed

    signing.sign_by(stranger)
    assert signing.publish() is None

    assert signing.file("repodata/repomd.xml.key").decode() == stranger.armoured
    assert signing.file("repodata/repomd.xml.asc") != before


def test_a_distributor_may_leave_the_signature_out_or_choose_a_key(
    signing: Signing, keeper: Keeper, stranger: Keeper
) -> None:
    assert signing.publish(gpg_sign_metadata=False) is None
    with pytest.raises(HTTPError, match="404"):
        signing.file("repodata/repomd.xml.asc")

    assert signing.publish(gpg_key_id=keeper.fingerprint) is None
    assert f"by the key {stranger.fingerprint}" in str(signing.publish(gpg_key_id=stranger.fingerprint))
