"""What a container engine does with a Containerfile and an image, as far as root can do it without an engine.

The steps are run in a root folder that debootstrap has made; an image is started in its own namespaces, with a
read-only root, one volume and a temporary file system, without root and as process 1. The network is the machine's.
"""

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from dockerfile_parse import DockerfileParser

from support.waiting import until

CHECKOUT: Final = Path(__file__).parents[2]
_CA: Final = Path("/etc/ssl/certs/ca-certificates.crt")
_START: Final = """
set -e
mount --make-rprivate /
mount --bind "$ROOT" "$MOUNTED"
mount -t proc proc "$MOUNTED/proc"
mount -t tmpfs tmpfs "$MOUNTED$SCRATCH" -o mode=1777
mount -t tmpfs tmpfs "$MOUNTED/var/lib" -o mode=0755
mount -t tmpfs tmpfs "$MOUNTED/dev" -o mode=0755
for device in null zero full random urandom; do
  touch "$MOUNTED/dev/$device"; mount --bind "/dev/$device" "$MOUNTED/dev/$device"
done
mkdir "$MOUNTED$PLACE"
mount --bind "$VOLUME" "$MOUNTED$PLACE"
mount -o remount,bind,ro "$MOUNTED"
mount -o remount,ro "$MOUNTED/var/lib"
exec chroot --userspec="$AS" "$MOUNTED" /usr/bin/setpriv --no-new-privs /usr/bin/env -i "$@"
"""


@dataclass(kw_only=True)
class Image:
    """A root folder, and what the Containerfile says about starting it."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    user: str = "0:0"
    volume: str = "/data"
    scratch: str = "/tmp"  # noqa: S108 - in the container
    """Where a temporary file system is."""
    health: list[str] = field(default_factory=list)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)

    def run(self, command: str) -> None:
        """Run a step in the folder, with the machine's network and its authorities."""
        authorities = self.root / "etc/ca-of-the-machine.pem"
        shutil.copyfile(_CA, authorities)
        variables = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", **self.environment}
        variables |= {"PIP_CERT": "/etc/ca-of-the-machine.pem", "DEBIAN_FRONTEND": "noninteractive"}
        inside = ["chroot", str(self.root), "env", "-i", *_pairs(variables), "sh", "-ec", command]
        done = subprocess.run(inside, capture_output=True, text=True, timeout=900, check=False)
        authorities.unlink()
        assert done.returncode == 0, f"RUN {command}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"

    def number_of(self, user: str) -> str:
        """Numbers of a user and his group by the image's own list."""
        for line in (self.root / "etc/passwd").read_text().splitlines():
            name, _, number, group, *_ = line.split(":")
            if user == name:
                return f"{number}:{group}"
        raise AssertionError(f"the image has no user {user}")


def debian(folder: Path, suite: str) -> Path:
    """A Debian that holds little more than apt."""
    command = ["debootstrap", "--variant=minbase", suite, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode != 0:
        pytest.skip(f"debootstrap cannot make a Debian here: {(done.stdout + done.stderr).strip()[-300:]}")
    return folder


def build(containerfile: Path, base: Path, scratch: Path) -> Image:  # noqa: C901, PLR0912 - a branch for each word
    """Run the steps of a Containerfile, each stage on a copy of the base."""
    with tempfile.TemporaryDirectory() as parsed:
        shutil.copyfile(containerfile, Path(parsed, "Dockerfile"))
        steps = [(step["instruction"], step["value"]) for step in DockerfileParser(parsed).structure]
    stages: dict[str, Image] = {}
    image = Image(root=base)
    for word, value in steps:
        match word:
            case "COMMENT" | "EXPOSE" | "STOPSIGNAL":
                pass
            case "FROM":
                root = scratch / f"stage-{len(stages)}"
                subprocess.run(["cp", "-a", base, root], check=True, timeout=300)
                image = Image(root=root)
                stages[value.partition(" AS ")[2] or str(len(stages))] = image
            case "RUN":
                image.run(value)
            case "COPY":
                _copy(value, image, stages)
            case "ENV":
                image.environment |= dict(pair.split("=", 1) for pair in shlex.split(value))
            case "USER":
                image.user = image.number_of(value)
            case "WORKDIR":
                assert (image.root / value.lstrip("/")).is_dir()
            case "VOLUME":
                image.volume = value
            case "HEALTHCHECK":
                image.health = json.loads(value.partition(" CMD ")[2])
            case "ENTRYPOINT":
                image.entrypoint = json.loads(value)
            case "CMD":
                image.command = json.loads(value)
            case _:
                raise AssertionError(f"{word} is a step that nobody has taught these tests")
    return image


def _copy(value: str, image: Image, stages: Mapping[str, Image]) -> None:
    words = shlex.split(value)
    source = CHECKOUT
    if words[0].startswith("--from="):
        source = stages[words.pop(0).removeprefix("--from=")].root
    *names, target = words
    place = image.root / target.lstrip("/")
    for name in names:
        path = source / name.lstrip("/")
        if target.endswith("/"):
            place.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(
                path, place, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
            )
        else:
            shutil.copy(path, place)


class Container:
    """A container that runs; `init` is its process 1 as the machine counts."""

    def __init__(self, process: "subprocess.Popen[bytes]", environment: Mapping[str, str], user: str) -> None:
        self._process = process
        self._environment = dict(environment)
        self._user, _, self._group = user.partition(":")

    @property
    def init(self) -> int:
        """The process id of process 1."""
        [child] = until(lambda: children(self._process.pid), what="process 1 of the container", seconds=60)
        return child

    def run(self, *command: str, as_root: bool = False) -> "subprocess.CompletedProcess[str]":
        """Run a command in the container, as `podman exec` does."""
        user, group = ("0", "0") if as_root else (self._user, self._group)
        inside = ["nsenter", f"--target={self.init}", "--mount", "--pid", "--root", "--wd=/"]
        inside += [f"--setuid={user}", f"--setgid={group}", "--"]
        inside += ["env", "-i", *_pairs(self._environment), *command]
        return subprocess.run(inside, capture_output=True, text=True, timeout=120, check=False)

    def stop(self, number: int) -> int:
        """Send a signal to process 1, and return its exit code."""
        os.kill(self.init, number)
        return self._process.wait(60)


@contextlib.contextmanager
def running(image: Image, volume: Path, variables: Mapping[str, str]) -> Iterator[Container]:
    environment = {**image.environment, **variables}
    user, _, group = image.user.partition(":")
    os.chown(volume, int(user), int(group))
    command = [*_pairs(environment), *image.entrypoint, *image.command]
    with tempfile.TemporaryDirectory() as mounted:
        places = {"ROOT": str(image.root), "MOUNTED": mounted, "VOLUME": str(volume), "PLACE": image.volume}
        process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _START, "sh", *command],
            env={"PATH": os.environ["PATH"], "SCRATCH": image.scratch, "AS": image.user, **places},
        )
        try:
            yield Container(process, environment, image.user)
        finally:
            for child in children(process.pid) if process.poll() is None else []:
                os.kill(child, signal.SIGKILL)  # process 1, with whom all others go
            process.kill()
            process.wait(30)


def children(pid: int) -> list[int]:
    """The process ids of a process's children."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _pairs(variables: Mapping[str, str]) -> Sequence[str]:
    return [f"{name}={text}" for name, text in variables.items()]


def why_not() -> str | None:
    """Why no container can be started here, as a skip reason; `None` if one can."""
    if os.geteuid() != 0:
        return "mounting needs root"
    missing = [name for name in ("unshare", "nsenter", "setpriv", "tini") if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} are not installed (as root on Debian, `make test` installs them)"
    tried = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "mount", "--make-rprivate", "/"], capture_output=True, check=False
    )
    return None if tried.returncode == 0 else "this machine lets nobody make namespaces"
