#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Print messages sent to a topic exchange, as Pulp 2's utility of this name did.

It runs from a checkout: where Pulpit is not installed for this Python, it goes on in the checkout's own environment.
"""

import os
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
ENVIRONMENT_PYTHON = CHECKOUT / ".venv" / "bin" / "python"
MARK = "PULPIT_LISTEN_STARTED_AGAIN"


def start_again() -> None:
    """Replace this process by the same one under the environment's Python, at most once."""
    if MARK in os.environ or not os.access(ENVIRONMENT_PYTHON, os.X_OK):
        sys.exit(f"listen.py: Pulpit is not installed; run `make demo` once in {CHECKOUT}")
    os.environ[MARK] = "1"
    os.execv(ENVIRONMENT_PYTHON, [str(ENVIRONMENT_PYTHON), __file__, *sys.argv[1:]])  # noqa: S606 - our own interpreter


try:
    from pulpit.cli.listen import main
except ImportError:
    start_again()

if __name__ == "__main__":
    main()
