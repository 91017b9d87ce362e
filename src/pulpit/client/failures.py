"""What can go wrong in the client, each with the exit code that Pulp 2's client gave it (those of BSD's sysexits.h).

Failure
├── WrongUse        64  the command line is incomplete or unknown
├── WrongData       65  a value is refused, a name is unknown or taken, a certificate is for another host
├── ServerTrouble   70  the server failed or said what nobody understands
│   └── Busy        70  it cannot just now (502, 503, 504): the same request may do later
├── NoConnection    74  nobody answers at the address
├── NotAllowed      77  credentials are missing, wrong or not enough
├── WrongSettings   78  a configuration file or an address cannot be right
└── WorkNotDone      1  the server did as told, and the task failed or was cancelled
"""

from typing import ClassVar, Final

from pulpit.errors import PulpitError

EXIT_INTERRUPTED: Final = 130
"""Of a program that Ctrl-C ended: 128 and the signal, as shells count."""


class Failure(PulpitError):
    """A failure's text is what is printed; it may have several lines."""

    exit_code: ClassVar[int] = 1


class WrongUse(Failure):
    """Look at the usage and write the command again."""

    exit_code = 64


class WrongData(Failure):
    """Give other values."""

    exit_code = 65


class ServerTrouble(Failure):
    """Look into the server's log."""

    exit_code = 70


class Busy(ServerTrouble):
    """Ask again in a while."""


class NoConnection(Failure):
    """Start the server, or mend the network, and try again."""

    exit_code = 74


class NotAllowed(Failure):
    """Log in as somebody else."""

    exit_code = 77


class WrongSettings(Failure):
    """Mend the configuration."""

    exit_code = 78


class WorkNotDone(Failure):
    """Look at the task."""
