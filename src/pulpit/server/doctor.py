"""`pulpit doctor`: checks everything that a server needs, and says in sentences what to do."""

import json
from collections.abc import Callable, Iterator
from typing import Final

from pulpit.client.streams import write_line
from pulpit.clock import system_clock
from pulpit.errors import ConfigurationError
from pulpit.server import data_folder, doctor_machine, doctor_server, doctor_storage
from pulpit.server.doctor_machine import Finding, Installation, State, problem, warning
from pulpit.settings import Settings
from pulpit.text import clean

FOUND: Final = 3
"""Exit code: there is a problem; warnings alone do not count."""

CHECKS: Final[tuple[Callable[[Installation], Iterator[Finding]], ...]] = (
    doctor_machine.check_configuration,
    doctor_server.check_running,
    doctor_machine.check_data_folder,
    doctor_machine.check_disk,
    doctor_storage.check_storage,
    doctor_machine.check_ports,
    doctor_server.check_database,
    doctor_server.check_brokers,
    doctor_server.check_streams,
    doctor_server.check_pulps,
    doctor_machine.check_certificates,
    doctor_machine.check_clock,
    doctor_machine.check_system,
)


def doctor(settings: Settings, warnings: list[str], *, as_json: bool) -> int:
    """Check an installation and return the exit code."""
    findings: list[Finding] = []
    for finding in examine(settings, warnings):
        findings.append(finding)
        if not as_json:
            write_line(_line(finding))
    return _end(findings, as_json=as_json)


def refused(error: ConfigurationError, *, as_json: bool) -> int:
    """Report an invalid configuration, with which nothing else can be checked."""
    finding = problem("configuration", str(error), "Correct it; nothing else can be looked at before.")
    if not as_json:
        write_line(_line(finding))
    return _end([finding], as_json=as_json)


def examine(settings: Settings, warnings: list[str]) -> Iterator[Finding]:
    """Run every check, and yield findings as they come."""
    for sentence in warnings:
        yield warning("configuration", f"{sentence}.", "Correct or remove it.")
    folder = settings.data_dir
    if folder.exists():
        try:
            data_folder.check_own(folder)
        except ConfigurationError as error:
            yield problem("files", str(error), f"Run this as the user of {folder}, or correct its owner.")
            return
    is_served = folder.exists() and data_folder.is_served(folder)
    installation = Installation(settings=settings, is_served=is_served, now=system_clock())
    for look in CHECKS:
        yield from look(installation)


def _line(finding: Finding) -> str:
    return clean(f"{finding.state.value:<8} {finding.part}: {finding.sentence} {finding.remedy}".rstrip())


def _end(findings: list[Finding], *, as_json: bool) -> int:
    problems = sum(finding.state is State.PROBLEM for finding in findings)
    warnings = sum(finding.state is State.WARNING for finding in findings)
    if as_json:
        write_line(
            json.dumps({"well": not problems, "findings": [finding.document() for finding in findings]}, indent=2)
        )
    elif problems or warnings:
        write_line(f"{_counted(problems, 'problem')}, {_counted(warnings, 'warning')}.")
    else:
        write_line("All is well.")
    return FOUND if problems else 0


def _counted(number: int, word: str) -> str:
    return f"{number or 'no'} {word}{'' if number == 1 else 's'}"
