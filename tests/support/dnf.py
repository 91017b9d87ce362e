"""What dnf's own library reads of a repository: the system's Python has it, so a process of that is asked."""

import json
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_PYTHON = "/usr/bin/python3"
_SCRIPT = """
import json, os, sys
import dnf

url, folder, download = sys.argv[1], sys.argv[2], sys.argv[3] == "download"
base = dnf.Base()
conf = base.conf
conf.cachedir, conf.persistdir, conf.installroot, conf.logdir = (f"{folder}/{name}" for name in ("c", "p", "r", "l"))
os.makedirs(conf.logdir)
conf.reposdir, conf.plugins, conf.gpgcheck, conf.retries, conf.timeout = [], False, False, 1, 10
conf.substitutions.update(releasever="1", basearch="x86_64", arch="x86_64")
conf.optional_metadata_types = ["filelists"] if hasattr(conf, "optional_metadata_types") else None
repo = base.repos.add_new_repo("zoo", conf, baseurl=[url], skip_if_unavailable=False)
repo.load_metadata_other = True
base.fill_sack(load_system_repo=False, load_available_repos=True)
base.read_comps(arch_filter=False)
found = {"packages": {}, "groups": [], "environments": [], "advisories": [], "modules": [], "broken": {}}
chosen = list(base.sack.query(flags=1))

def named(package):
    return f"{package.name}-{package.epoch}:{package.version}-{package.release}.{package.arch}"

for package in chosen:
    found["packages"].setdefault(named(package), []).append({
        "summary": package.summary, "files": sorted(package.files),
        "requires": sorted(map(str, package.requires)), "provides": sorted(map(str, package.provides)),
        "changelogs": [[entry["author"], entry["text"]] for entry in package.changelogs],
    })
if base.comps:
    found["groups"] = sorted((g.id, g.ui_name, sorted(p.name for p in g.packages_iter())) for g in base.comps.groups)
    found["environments"] = sorted(e.id for e in base.comps.environments)
found["advisories"] = sorted({a.id for p in chosen for a in p.get_advisories(7)})
container = base._moduleContainer
if container:
    found["modules"] = sorted(m.getFullIdentifier() for m in container.getModulePackages())
if download:
    for package in chosen:
        key = named(package)
        try:
            base.download_packages([package])
            with open(package.localPkg(), "rb") as file:
                assert file.read(4) == bytes.fromhex("edabeedb")
            found["broken"].setdefault(key, False)
            found["broken"][key] = False
        except Exception as error:
            found["broken"].setdefault(key, str(error))
print(json.dumps(found))
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


@cache
def missing() -> str | None:
    """Why dnf cannot be asked, as a reason to skip."""
    asked = [_PYTHON, "-c", "import dnf"]
    if Path(_PYTHON).exists() and not subprocess.run(asked, capture_output=True, check=False).returncode:
        return None
    return "the system's Python has no dnf (Debian: apt install dnf)"


def read(url: str, *, download: bool = False) -> Seen:
    """Have dnf read a repository, and download its packages."""
    with tempfile.TemporaryDirectory(prefix="dnf-") as folder:
        command = [_PYTHON, "-c", _SCRIPT, url, folder, "download" if download else ""]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    if ended.returncode:
        return Seen({}, error=f"{ended.returncode}: {ended.stderr[-2000:]}")
    return Seen(json.loads(ended.stdout.strip().splitlines()[-1]))
