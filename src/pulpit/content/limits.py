"""Limits on the resources that an upstream may use."""

from dataclasses import dataclass
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds; everything that a foreign server could otherwise make unbounded."""

    manifest_bytes: int = 256 * MIB
    """A list of files or packages, as transferred."""
    entries: int = 1_000_000
    """Files or packages of one feed."""
    file_bytes: int = 1024 * GIB
    """One file."""
    name_bytes: int = 1024
    """A file's path, in UTF-8."""
    small_bytes: int = 256 * KIB
    """Files up to this size are downloaded into memory; larger ones go to disk and can be resumed."""
    redirects: int = 5
    connect_timeout: float = 20.0
    """From the start of connecting until connected, including TLS."""
    answer_timeout: float = 60.0
    """From the request until the last response header."""
    stall_timeout: float = 30.0
    """Without receiving a byte."""
    slow_window: float = 60.0
    """Period over which the speed is measured."""
    slow_bytes_per_second: int = 500
    """A download slower than this over a whole window is aborted."""
    tries: int = 4
    """Attempts before a download counts as failed."""
    first_pause: float = 0.25
    longest_pause: float = 10.0
    longest_wait: float = 120.0
    """Upper bound for a server's `Retry-After`."""
    downloads: int = 16
    """Concurrent downloads, unless `max_downloads` says otherwise."""
    failures_in_a_row: int = 40
    """After so many consecutive failed files the rest is not tried."""
    reported_failures: int = 100
    """Failed files that a report lists."""
