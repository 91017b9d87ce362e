"""`pulpit install-service`: writes or shows systemd units for this installation."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

from pulpit.client.streams import write_line
from pulpit.errors import PulpitError
from pulpit.net.config_files import home_dir

_PROGRAM: Final = "/usr/bin/pulpit"
"""What the shipped units start."""
_BOOTED: Final = Path("/run/systemd/system")
"""Exists if systemd is running (sd_booted(3))."""
_HIDDEN: Final = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 - compared with, not written to
"""What `ProtectHome=` and `PrivateTmp=` hide from the service."""


class NotInstallable(PulpitError):
    """The service could not start the program from its location, or the unit cannot be written.

    The text says what to do.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    files: dict[Path, str]
    commands: Sequence[Sequence[str]]
    start: str
    """The command that starts the service, for the user."""


def install(*, for_user: bool, root: Path, dry_run: bool) -> None:
    """Write the units below a root folder, and reload a running systemd.

    Raises:
        NotInstallable: it is impossible.
    """
    program, interpreter = Path(sys.executable).with_name("pulpit"), Path(sys.executable).resolve()
    if not program.exists():
        raise NotInstallable(f"{program} is not there; install Pulpit by pip, pipx or uv first.")
    plan = _for_user(program) if for_user else for_machine(program, interpreter)
    for path, text in plan.files.items():
        target = root / path.relative_to("/")
        if dry_run:
            write_line(f"# {target}\n{text}")
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
            target.chmod(0o644)
        except OSError as error:
            hint = "" if for_user else " Do this as root, or use --user."
            raise NotInstallable(f"{target} cannot be written ({error.strerror}).{hint}") from None
        write_line(f"written: {target}")
    is_here = root == Path("/") and _BOOTED.is_dir()
    for command in plan.commands:
        if dry_run or not is_here:
            write_line(f"to run: {' '.join(command)}")
        else:
            _run(command)
    write_line(f"Start it now and at every boot: {plan.start}")


def for_machine(program: Path, interpreter: Path) -> Plan:
    """Plan a system service with a user of its own.

    Raises:
        NotInstallable: program or interpreter is hidden from services.
    """
    for place in (program, interpreter):
        if any(place.is_relative_to(folder) for folder in _HIDDEN):
            raise NotInstallable(
                f"{place} is where a service cannot see it; install Pulpit for everybody, such as by "
                "`python3 -m venv /opt/pulpit` and pip from there, with a python3 of the system; or use --user."
            )
    return Plan(
        files={
            Path("/etc/systemd/system/pulpit.service"): _unit("pulpit.service", program),
            Path("/etc/systemd/system/pulpit-worker@.service"): _unit("pulpit-worker@.service", program),
            Path("/etc/sysusers.d/pulpit.conf"): _unit("pulpit.sysusers", program),
        },
        commands=(("systemd-sysusers", "/etc/sysusers.d/pulpit.conf"), ("systemctl", "daemon-reload")),
        start="systemctl enable --now pulpit",
    )


def _for_user(program: Path) -> Plan:
    configuration = Path(os.environ.get("XDG_CONFIG_HOME") or home_dir() / ".config").absolute()
    return Plan(
        files={configuration / "systemd/user/pulpit.service": _unit("pulpit-user.service", program)},
        commands=(("systemctl", "--user", "daemon-reload"),),
        start="systemctl --user enable --now pulpit (and, to keep it without a session: loginctl enable-linger)",
    )


def _unit(name: str, program: Path) -> str:
    text = resources.files("pulpit.server").joinpath("units", name).read_text(encoding="utf-8")
    return text.replace(f"ExecStart={_PROGRAM} ", f"ExecStart={quoted(program)} ")


def quoted(program: Path) -> str:
    """Quote a path as the first word of `ExecStart=`: quotes, backslashes and specifiers are escaped."""
    text = str(program)
    if any(not character.isprintable() for character in text):
        raise NotInstallable("The path of this installation holds a control character; install Pulpit elsewhere.")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if escaped != text or " " in text or "'" in text else text


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - ours
    except (OSError, subprocess.TimeoutExpired):
        raise NotInstallable(f"`{' '.join(command)}` could not be run; run it by hand.") from None
    if done.returncode:
        raise NotInstallable(f"`{' '.join(command)}` failed: {done.stderr.strip() or done.returncode}")
