"""What an upstream may cost at most."""

from dataclasses import dataclass
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds; everything that a stranger's server could otherwise make endless."""

    manifest_bytes: int = 256 * MIB
    """A list of files or packages, as transferred."""
    entries: int = 1_000_000
    """Files or packages of one feed."""
    file_bytes: int = 1024 * GIB
    """One file."""
    name_bytes: int = 1024
    """A file's path, in UTF-8."""
    small_bytes: int = 256 * KIB
    """Files up to this size are held in memory while they come; larger ones go to the disk and can be gone on with."""
    redirects: int = 5
    connect_timeout: float = 20.0
    """From asking for a connection until it stands, TLS included."""
    answer_timeout: float = 60.0
    """From the request until the last header of the answer."""
    stall_timeout: float = 30.0
    """Without a single byte."""
    slow_window: float = 60.0
    """Over how long the speed is judged."""
    slow_bytes_per_second: int = 500
    """Slower than this over a whole window is given up."""
    tries: int = 4
    """How often a download is begun before it counts as failed."""
    first_pause: float = 0.25
    longest_pause: float = 10.0
    longest_wait: float = 120.0
    """So long at most a server is left alone that asks for it (`Retry-After`)."""
    downloads: int = 16
    """Downloads at one time, when `max_downloads` does not say."""
    failures_in_a_row: int = 40
    """So many failed files with no good one between them, and the rest is not tried."""
    reported_failures: int = 100
    """Failed files that a report lists."""
