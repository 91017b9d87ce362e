"""Every benchmark, one after the other: `make bench`, or `make bench ARGS="events"` for some."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
NOT_BENCHMARKS: Final = {"run", "peers"}


def main() -> None:
    """Run the named benchmarks, or all; the exit code says whether each came to its end."""
    known = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in NOT_BENCHMARKS)
    wanted = sys.argv[1:] or known
    strangers = sorted(set(wanted) - set(known))
    if strangers:
        sys.exit(f"bench: there is no {', '.join(strangers)}; there are {', '.join(known)}.")
    failed = [name for name in wanted if not run(name)]
    if failed:
        sys.exit(f"bench: {', '.join(failed)} did not come to an end.")


def run(name: str) -> bool:
    """Run one in a separate process."""
    print(f"\n== {name} ==", flush=True)
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False, cwd=HERE.parent)
    print(f"({time.monotonic() - started:.0f} s)", flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    main()
