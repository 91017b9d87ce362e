"""What holds for every test."""

import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

SLOWEST = (
    "acceptance/test_container.py",
    "integration/test_openapi.py",
    "integration/test_pulp3.py",
    "integration/test_serve.py",
    "acceptance/test_shared_storage.py",
    "acceptance/test_kills.py",
    "acceptance/test_shared_campaign.py",
    "acceptance/test_page.py",
    "acceptance/test_load_balancer.py",
    "acceptance/test_campaign.py",
    "acceptance/test_survival.py",
    "acceptance/test_main_job.py",
    "acceptance/test_rolling_upgrade.py",
    "integration/test_broker_durability.py",
    "integration/test_operator.py",
    "acceptance/test_cluster.py",
    "integration/test_recovery.py",
    "unit/api/test_v1_events.py",
    "contracts/test_api_traps.py",
)
"""Files that take longest come first, so that no process ends long after the others (a file stays in one)."""

# How fast inputs are made depends on what else runs on the machine, and says nothing about them.
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")


def pytest_configure() -> None:
    """Let the programs that tests start hear Ctrl-C, also where a shell runs the tests in its background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slowest files; within a file the order stays."""
    tests = Path(__file__).parent
    rank = {tests / file: place for place, file in enumerate(SLOWEST)}
    items.sort(key=lambda item: rank.get(item.path, len(SLOWEST)))
