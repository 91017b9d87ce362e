"""Pulpit: a package-repository server whose every sync and publish becomes an event that reaches every listener."""

from typing import Final

__version__: Final = "0.1.0"
