"""What dnf's own library reads of a repository: the system's Python has it, so a process of that is asked."""

import json
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

import pytest

_PYTHON = "/usr/bin/python3"
_SCRIPT = """
import json, os, sys
import dnf, hawkey

def named(package):
    return f"{package.name}-{package.epoch}:{package.version}-{package.release}.{package.arch}"

def described(package):
    return {
        "summary": package.summary, "files": sorted(package.files),
        "requires": sorted(map(str, package.requires)), "provides": sorted(map(str, package.provides)),
        "changelogs": [[entry["author"], entry["text"]] for entry in package.changelogs],
    }

def group(of_comps):
    return [of_comps.id, of_comps.ui_name, sorted(package.name for package in of_comps.packages_iter())]

def read(url, folder, download):
    base = dnf.Base()
    conf = base.conf
    conf.cachedir, conf.persistdir, conf.installroot, conf.logdir = (f"{folder}/{name}" for name in "cprl")
    os.makedirs(conf.logdir)
    conf.reposdir, conf.plugins, conf.gpgcheck, conf.retries, conf.timeout = [], False, False, 1, 10
    conf.substitutions.update(releasever="1", basearch="x86_64", arch="x86_64")
    repo = base.repos.add_new_repo("zoo", conf, baseurl=[url], skip_if_unavailable=False)
    repo.load_metadata_other = True
    base.fill_sack(load_system_repo=False, load_available_repos=True)
    base.read_comps(arch_filter=False)
    chosen = list(base.sack.query(flags=1))
    found = {"packages": {}, "broken": {}, "groups": [], "environments": [], "modules": []}
    for package in chosen:
        found["packages"].setdefault(named(package), []).append(described(package))
    if base.comps:
        found["groups"] = sorted(map(group, base.comps.groups))
        found["environments"] = sorted(environment.id for environment in base.comps.environments)
    every = hawkey.EQ | hawkey.GT | hawkey.LT
    held = {(package.name, package.evr, package.arch) for package in chosen}
    found["advisories"] = sorted(
        advisory.id
        for advisory in {advisory.id: advisory for p in chosen for advisory in p.get_advisories(every)}.values()
        if any((p.name, p.evr.removeprefix("0:"), p.arch) in held for p in advisory.packages)
    )
    if base._moduleContainer:
        found["modules"] = sorted(module.getFullIdentifier() for module in base._moduleContainer.getModulePackages())
    for package in chosen if download else ():
        try:
            base.download_packages([package])
            with open(package.localPkg(), "rb") as file:
                assert file.read(4) == bytes.fromhex("edabeedb")
            found["broken"][named(package)] = False
        except Exception as error:
            found["broken"].setdefault(named(package), str(error))
    return found

for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if not child:
        try:
            result = read(**asked)
        except BaseException as error:
            result = {"error": f"{type(error).__name__}: {error}"}
        with open(asked["folder"] + "/result", "w") as file:
            json.dump(result, file)
        os._exit(0)
    print(os.waitpid(child, 0)[1], flush=True)
"""


_GROUP_SCRIPT = """
import dnf.comps, sys, tempfile
with tempfile.NamedTemporaryFile("w") as file:
    file.write("<comps><group><id>zoo</id><name>Zoo</name></group></comps>")
    file.flush()
    comps = dnf.comps.Comps()
    comps._add_from_xml_filename(file.name)
    sys.exit([group.id for group in comps.groups] != ["zoo"])
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """What dnf sees of a repository; `error` if it cannot be used at all."""

    found: dict[str, Any]
    error: str = ""

    @property
    def installable(self) -> set[str]:
        """The packages that it could download too."""
        return {nevra for nevra, broken in self.found.get("broken", {}).items() if broken is False}

    @property
    def groups(self) -> list[list[Any]]:
        """Id, name and packages of each group; skips the test where dnf loses them."""
        if reason := groups_missing():
            pytest.skip(reason)
        groups: list[list[Any]] = self.found["groups"]
        return groups


@cache
def missing() -> str | None:
    """Why dnf cannot be asked, as a reason to skip."""
    asked = [_PYTHON, "-c", "import dnf"]
    if Path(_PYTHON).exists() and not subprocess.run(asked, capture_output=True, check=False).returncode:
        return None
    return "the system's Python has no dnf (Debian: apt install dnf)"


@cache
def groups_missing() -> str | None:
    """Why dnf reads no groups at all, as a reason to skip."""
    if reason := missing():
        return reason
    read = subprocess.run([_PYTHON, "-c", _GROUP_SCRIPT], capture_output=True, check=False)
    return "dnf's own libcomps loses every group here, or crashes (as Debian 13's does)" if read.returncode else None


class Reader:
    """A process with dnf in it, which reads each repository in a child of its own: dnf may abort."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [_PYTHON, "-c", _SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)

    def read(self, url: str, *, download: bool = False) -> Seen:
        """Have dnf read a repository, and download its packages."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with tempfile.TemporaryDirectory(prefix="dnf-") as folder:
            self._process.stdin.write(json.dumps({"url": url, "folder": folder, "download": download}) + "\n")
            self._process.stdin.flush()
            status = int(self._process.stdout.readline())
            if status:
                if reason := groups_missing():
                    pytest.skip(reason)
                return Seen({}, error=f"dnf ended with {status}")
            found = json.loads((Path(folder) / "result").read_text())
        return Seen(found, error=found.get("error", ""))


def read(url: str, *, download: bool = False) -> Seen:
    with Reader() as reader:
        return reader.read(url, download=download)
