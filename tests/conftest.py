"""What holds for every test."""

import signal


def pytest_configure() -> None:
    """Let the programs that tests start hear Ctrl-C, also where a shell runs the tests in its background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
