"""`pulpit install-service`: the server as a systemd service."""

from pathlib import Path

import click


@click.command("install-service")
@click.option("--user", "for_user", is_flag=True, help="Install a service of this user instead of a system service.")
@click.option("--dry-run", is_flag=True, help="Show files and commands, and change nothing.")
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default="/",
    help="Write below this folder, such as the root of an image, and run nothing.",
)
def install_service(*, for_user: bool, dry_run: bool, root: Path) -> None:
    """Install the server as a systemd service.

    Writes a hardened unit with a watchdog that starts this installation's program, lets systemd create the user pulpit,
    and reloads systemd. Configuration keys go into /etc/pulp/server.conf, or as PULPIT_… variables into
    /etc/default/pulpit (with --user: ~/.config/pulpit/environment). It starts nothing: the last line says how.
    """
    from pulpit.server.service import install  # noqa: PLC0415 - other commands do not need the server

    install(for_user=for_user, root=root, dry_run=dry_run)
