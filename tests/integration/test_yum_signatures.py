"""Signatures of repomd.xml and of packages: valid, missing, by another key, or of other content."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pulpit.content.rpm import signatures
from pulpit.content.rpm.yum import Yum
from pulpit.errors import InvalidValue
from support import yum
from support.openpgp import Keeper, somebody
from support.upstream import Upstream
from support.yum import REPOMD, YumMirror, build, listed, packages, serve, yum_mirror


@pytest.fixture(scope="module")
def rpms(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A bear and a camel, not signed."""
    missing = yum.tools("rpmbuild")
    if missing:
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("rpms")
    return [build(folder, "bear", "4.1"), build(folder, "camel", "1.0")]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[YumMirror]:
    with yum_mirror(tmp_path / "data") as here:
        yield here


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keeper]:
    with somebody(tmp_path_factory.mktemp("keeper"), "rsa2048") as one:
        yield one


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keeper]:
    with somebody(tmp_path_factory.mktemp("stranger"), "ed25519") as one:
        yield one


def test_a_signed_repomd_is_taken_and_another_refused(
    rpms: list[Path], upstream: Upstream, here: YumMirror, keeper: Keeper
) -> None:
    files = listed(packages(rpms))
    serve(upstream, files, rpms)
    upstream.put(f"{REPOMD}.asc", keeper.sign_list(files[REPOMD]))
    here.create("zoo", upstream.url, {"repo_gpgcheck": True, "gpgkey": keeper.armoured})

    assert here.sync("zoo").result == "success"

    serve(upstream, listed(packages(rpms[:1])))
    outcome = here.sync("zoo")
    assert outcome.result == "failed"
    assert outcome.error_message == "repomd.xml is refused: none of the keys of gpgkey signed it."
    assert len(here.nevras("zoo")) == 2


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_signatures_one_by_a_known_key_is_enough(  # noqa: PLR0917 - fixtures
    order: int, rpms: list[Path], upstream: Upstream, here: YumMirror, keeper: Keeper, stranger: Keeper
) -> None:
    """As while a distribution replaces its key; dnf takes them too."""
    files = listed(packages(rpms))
    serve(upstream, files, rpms)
    both = [keeper.sign_list(files[REPOMD]), stranger.sign_list(files[REPOMD])][::order]
    upstream.put(f"{REPOMD}.asc", b"".join(both))
    here.create("zoo", upstream.url, {"repo_gpgcheck": True, "gpgkey": keeper.armoured})

    assert here.sync("zoo").error_message is None

    upstream.put(f"{REPOMD}.asc", stranger.sign_list(files[REPOMD]) + keeper.sign_list(b"of yesterday"))
    refused = here.sync("zoo", {"force_full": True})
    assert refused.error_message == "repomd.xml is refused: none of the keys of gpgkey signed it."


def test_keys_may_be_indented_and_unreadable_ones_are_said(
    rpms: list[Path], upstream: Upstream, here: YumMirror, keeper: Keeper
) -> None:
    files = listed(packages(rpms))
    serve(upstream, files, rpms)
    upstream.put(f"{REPOMD}.asc", keeper.sign_list(files[REPOMD]))
    indented = keeper.armoured.replace("\n", "\r\n    ")
    here.create("zoo", upstream.url, {"repo_gpgcheck": True, "gpgkey": f"# of 2024\n    {indented}"})

    assert here.sync("zoo").error_message is None

    here.configure("zoo", gpgkey=keeper.armoured.replace("\n", "\\n"))
    refused = here.sync("zoo", {"force_full": True})
    assert refused.error_message == "The public keys cannot be used: they are no armoured OpenPGP keys."


def test_only_packages_of_the_allowed_keys_are_taken(
    rpms: list[Path], upstream: Upstream, here: YumMirror, keeper: Keeper, tmp_path: Path
) -> None:
    signed = keeper.sign_package(rpms[0], tmp_path / "signed")
    serve(upstream, listed(packages([signed, rpms[1]])), [signed, rpms[1]])
    here.create("zoo", upstream.url, {"require_signature": True, "allowed_keys": [keeper.fingerprint[-8:]]})

    outcome = here.sync("zoo")

    assert (outcome.result, outcome.error_message) == ("success", None)
    assert here.nevras("zoo") == ["bear-4.1-1.noarch"]
    assert outcome.details == {
        "left_out_count": 1,
        "left_out": [{"name": "camel-1.0-1.noarch.rpm", "reason": "is not signed"}],
    }
    assert outcome.summary is not None

    here.configure("zoo", allowed_keys=["0123abcd"])
    refused = here.sync("zoo", {"force_full": True, "remove_missing": True})
    assert refused.details is not None
    assert any("none of the allowed keys" in entry["reason"] for entry in refused.details["left_out"])
    assert here.nevras("zoo") == ["bear-4.1-1.noarch"]


def test_packages_must_be_signed_if_asked_for(rpms: list[Path], upstream: Upstream, here: YumMirror) -> None:
    serve(upstream, listed(packages(rpms)), rpms)
    here.create("zoo", upstream.url, {"require_signature": True})

    outcome = here.sync("zoo")

    assert outcome.result == "success"
    assert here.nevras("zoo") == []
    assert outcome.details is not None
    assert outcome.details["left_out_count"] == 2


def test_with_public_keys_an_unsigned_package_is_a_failure(
    rpms: list[Path], upstream: Upstream, here: YumMirror, keeper: Keeper
) -> None:
    serve(upstream, listed(packages(rpms)), rpms)
    here.create("zoo", upstream.url, {"require_signature": True, "gpgkey": keeper.armoured})

    outcome = here.sync("zoo")

    assert (outcome.result, here.nevras("zoo")) == ("failed", [])
    assert outcome.details is not None
    assert outcome.details["failed_count"] == 2
    assert "is not signed" in outcome.details["errors"][0]["error"]


def test_the_key_that_signed_is_shown_and_stays_when_it_is_synced_again(
    rpms: list[Path], upstream: Upstream, here: YumMirror, keeper: Keeper, tmp_path: Path
) -> None:
    signed = keeper.sign_package(rpms[0], tmp_path / "signed")
    serve(upstream, listed(packages([signed, rpms[1]])), [signed, rpms[1]])
    here.create("zoo", upstream.url)
    for updated in (0, 0):
        assert here.sync("zoo", {"force_full": True}).updated_count == updated
        signers = {held.unit.key["name"]: held.unit.metadata.get("signing_key") for held in here.held("zoo")}
        assert signers == {"bear": keeper.fingerprint[-8:].lower(), "camel": None}


@pytest.mark.parametrize("key_id", ["0123456", "012345678", "0x01234567z", "", 7])
def test_what_is_no_key_id_is_refused(key_id: object) -> None:
    with pytest.raises(InvalidValue) as refused:
        Yum().check_importer_config({"allowed_keys": [key_id]})
    assert refused.value.property_names == ["allowed_keys"]


def altered(rpm: Path, change: Callable[[bytes], bytes]) -> Path:
    """The package with other bytes, signature and all."""
    content = rpm.read_bytes()
    assert change(content) != content
    rpm.write_bytes(change(content))
    return rpm


TAMPERINGS: dict[str, Callable[[bytes], bytes]] = {
    "header": lambda content: content.replace(b"nothing but the", b"nothing and the"),
    "payload": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
}


@pytest.mark.parametrize("options", [(), ("--rpmv3",)], ids=["header", "header and payload"])
def test_a_package_that_one_of_the_keys_signed_is_taken(  # noqa: PLR0917 - fixtures
    rpms: list[Path],
    upstream: Upstream,
    here: YumMirror,
    keeper: Keeper,
    stranger: Keeper,
    tmp_path: Path,
    options: tuple[str, ...],
) -> None:
    signed = [
        keeper.sign_package(rpms[0], tmp_path / "a", *options),
        stranger.sign_package(rpms[1], tmp_path / "b", *options),
    ]
    serve(upstream, listed(packages(signed)), signed)
    keys = keeper.armoured + stranger.armoured
    here.create("zoo", upstream.url, {"require_signature": True, "gpgkey": keys})

    assert here.sync("zoo").result == "success"

    here.configure("zoo", allowed_keys=[keeper.fingerprint])
    refused = here.sync("zoo", {"force_full": True})
    assert f"{stranger.fingerprint.lower()}, which is none of the allowed keys" in str(refused.error_message)


@pytest.mark.parametrize("options", [(), ("--rpmv3",)], ids=["header", "header and payload"])
@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_a_package_that_was_tampered_with_is_refused_though_the_list_agrees(  # noqa: PLR0917 - fixtures
    rpms: list[Path],
    upstream: Upstream,
    here: YumMirror,
    keeper: Keeper,
    tmp_path: Path,
    tampering: str,
    options: tuple[str, ...],
) -> None:
    bear = altered(keeper.sign_package(rpms[0], tmp_path / "a", *options), TAMPERINGS[tampering])
    camel = keeper.sign_package(rpms[1], tmp_path / "a", *options)
    serve(upstream, listed(packages([bear, camel])), [bear, camel])
    here.create("zoo", upstream.url, {"require_signature": True, "gpgkey": keeper.armoured})

    outcome = here.sync("zoo")

    assert outcome.result == "failed"
    assert "bear-4.1-1.noarch.rpm has no signature that is right" in str(outcome.error_message)
    assert here.nevras("zoo") == ["camel-1.0-1.noarch"]


def test_a_package_of_another_key_is_refused(  # noqa: PLR0917 - fixtures
    rpms: list[Path], upstream: Upstream, here: YumMirror, keeper: Keeper, stranger: Keeper, tmp_path: Path
) -> None:
    bear = stranger.sign_package(rpms[0], tmp_path / "a")
    serve(upstream, listed(packages([bear])), [bear])
    here.create("zoo", upstream.url, {"require_signature": True, "gpgkey": keeper.armoured})

    outcome = here.sync("zoo")

    assert outcome.result == "failed"
    assert "made by one of the keys of gpgkey" in str(outcome.error_message)
    assert here.nevras("zoo") == []


def test_a_signature_that_names_an_allowed_key_and_is_none_of_it_is_refused(
    rpms: list[Path], keeper: Keeper, stranger: Keeper, tmp_path: Path
) -> None:
    bear = stranger.sign_package(rpms[0], tmp_path / "a")

    reason = signatures.flaw(bear, [stranger.fingerprint], keeper.armoured, required=True)

    assert reason == "has no signature that is right and made by one of the keys of gpgkey"


def test_unsigned_packages_pass_where_only_the_signers_are_limited(
    rpms: list[Path], keeper: Keeper, tmp_path: Path
) -> None:
    bear = keeper.sign_package(rpms[0], tmp_path / "a")

    assert signatures.flaw(rpms[0], ["0123abcd"], None, required=False) is None
    assert "none of the allowed keys" in str(signatures.flaw(bear, ["0123abcd"], None, required=False))


def test_a_server_without_gpgv_says_what_to_install(  # noqa: PLR0917 - fixtures
    rpms: list[Path],
    upstream: Upstream,
    here: YumMirror,
    keeper: Keeper,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bear = keeper.sign_package(rpms[0], tmp_path / "a")
    serve(upstream, listed(packages([bear])), [bear])
    here.create("zoo", upstream.url, {"require_signature": True, "gpgkey": keeper.armoured})
    monkeypatch.setenv("PATH", str(tmp_path))

    outcome = here.sync("zoo")

    assert outcome.result == "failed"
    assert "the program gpgv, which is missing (Debian: apt install gpgv)" in str(outcome.error_message)
