"""From nothing to the first success: pip install of the wheel into an empty environment, then `pulpit demo`."""

import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
EVENTS = "  pulp.server.repo."


def main() -> None:
    """Measure once; downloads come from pip's cache where it has them."""
    with tempfile.TemporaryDirectory() as folder:
        build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder]
        subprocess.run(build, cwd=CHECKOUT, check=True, capture_output=True)
        [wheel] = Path(folder).glob("*.whl")
        started = time.monotonic()
        venv.create(Path(folder, "environment"), with_pip=False)
        python = Path(folder, "environment/bin/python")
        install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", str(wheel)]
        subprocess.run(install, check=True, capture_output=True)
        installed = time.monotonic()
        home = {"HOME": str(Path(folder, "home")), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        command = [str(python.with_name("pulpit")), "demo"]
        demo = subprocess.run(command, env=home, check=False, capture_output=True, text=True, cwd=folder)
        ended = time.monotonic()
    if demo.returncode:
        sys.exit(f"bench: the demo failed: {demo.stderr.strip()}")
    printed = sum(line.startswith(EVENTS) for line in demo.stdout.splitlines())
    load = os.getloadavg()[0]
    print(f"pip install of {wheel.name}: {installed - started:.1f} s")
    print(f"pulpit demo, {printed} events printed by three subscribers: {ended - installed:.1f} s")
    print(f"from nothing to the first success: {ended - started:.1f} s (load of the machine {load:.1f})")


if __name__ == "__main__":
    main()
